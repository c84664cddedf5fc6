// Maps of single images: one image with all explainers, or several images side by side.

const PAGE = 60, SIDE = 8;
const shown = { block: 0, label: "", right: "", view: "one", target: "predicted", families: "", image: 0, page: 0 };
const sheets = new Map();

// A sprite, read once; `tile` is a canvas that gets its picture when the sprite is there.
function sheet(uri) {
  if (!sheets.has(uri)) {
    const image = new Image();
    sheets.set(uri, new Promise((done) => { image.onload = () => done(image); }));
    image.src = uri;
  }
  return sheets.get(uri);
}

function tile(uri, place, one, label, kind = "tile") {
  const [width, height] = one.size, canvas = el("canvas", { width, height, class: kind, role: "img", "aria-label": label });
  const left = (place % one.columns) * width, top = Math.floor(place / one.columns) * height;
  sheet(uri).then((image) => canvas.getContext("2d").drawImage(image, left, top, width, height, 0, 0, width, height));
  return canvas;
}

const told = (one, row) => `#${one.index[row]}: ${one.classes[one.labels[row]]}, predicted ${one.classes[one.predicted[row]]} (${one.probability[row].toFixed(3)})`;
const rightly = (one, row) => one.labels[row] === one.predicted[row];

function galleryRows(one) {
  return one.index.map((_, row) => row).filter((row) => (shown.label === "" || one.labels[row] === Number(shown.label))
    && (shown.right === "" || rightly(one, row) === (shown.right === "right")));
}

function targetColumn(one, row) {
  const wanted = shown.target === "predicted" ? one.predicted[row] : Number(shown.target), column = one.targets[row].indexOf(wanted);
  return shown.target === "predicted" ? Math.max(0, column) : column;
}

function mapOf(one, row, name) {
  const column = targetColumn(one, row), place = row * one.targets[row].length + column, label = `${name}, image ${one.index[row]}`;
  if (column < 0) return el("span", { class: "tile none" }, "–");
  const blank = one.blank[name][place];
  if (blank) return el("span", { class: "tile none", role: "img", "aria-label": `${label}: ${blank} everywhere` }, blank);
  return tile(one.maps[name], place, one, label);
}

const galleryNames = (one) => data.explainers.map((pair) => pair[0]).filter((name) => name in one.maps)
  .concat(Object.keys(one.maps).filter((name) => !data.explainers.some((pair) => pair[0] === name)));
const familyOf = (name) => (data.explainers.find((pair) => pair[0] === name) || ["", "explainers"])[1];

function oneImage(one, row) {
  const names = galleryNames(one), column = targetColumn(one, row);
  const explained = column < 0 ? "this class was not explained for this image" : `explained: ${one.classes[one.targets[row][column]]}`;
  const families = unique(names.map(familyOf)).map((family) => el("div", { class: "family" }, el("h4", {}, family),
    el("div", { class: "maps" }, ...names.filter((name) => familyOf(name) === family).map((name) => el("figure", {}, mapOf(one, row, name), el("figcaption", {}, breakable(name)))))));
  const verdict = rightly(one, row) ? el("span", { class: "right" }, "right") : el("span", { class: "wrong" }, "wrong");
  return el("div", { class: "oneimage" }, el("figure", { class: "original" }, tile(one.images, row, one, `image ${one.index[row]}`, "tile large"),
    el("figcaption", {}, told(one, row), " ", verdict, el("br"), explained)), el("div", {}, ...families));
}

function manyImages(one, rows) {
  const names = galleryNames(one).filter((name) => !shown.families || familyOf(name) === shown.families);
  const heads = names.map((name) => el("th", { scope: "col", class: "upright" }, el("span", {}, name)));
  const body = rows.map((row) => el("tr", {}, el("th", { scope: "row" }, tile(one.images, row, one, `image ${one.index[row]}`), el("small", {}, told(one, row))),
    ...names.map((name) => el("td", {}, mapOf(one, row, name)))));
  return scroller("Images by explainers", el("table", { class: "tiles" }, el("thead", {}, el("tr", {}, el("td"), ...heads)), el("tbody", {}, ...body)));
}

function thumbnails(one, rows, redraw) {
  const pick = (row) => button("", () => { shown.image = row; redraw(row); }, { class: "thumb", "aria-pressed": String(row === shown.image), "aria-label": told(one, row), title: told(one, row), "data-row": row });
  const strip = rows.map((row) => { const own = pick(row); own.append(tile(one.images, row, one, "")); if (!rightly(one, row)) own.classList.add("missed"); return own; });
  return el("div", { class: "strip", role: "group", "aria-label": "images" }, ...strip);
}

function pager(count, size, redraw) {
  const pages = Math.ceil(count / size);
  if (pages < 2) return null;
  const turn = (step) => () => { shown.page = Math.max(0, Math.min(pages - 1, shown.page + step)); redraw(); };
  return el("div", { class: "pager" }, button("previous", turn(-1), { disabled: shown.page === 0 }), ` ${shown.page + 1} of ${pages} `, button("next", turn(1), { disabled: shown.page === pages - 1 }));
}

function galleryFields(one, redraw) {
  const change = (name) => (value) => { shown[name] = name === "block" ? Number(value) : value; shown.page = 0; redraw(); };
  const classes = one.classes.map((name, place) => [place, name]), several = one.targets.some((targets) => targets.length > 1);
  const families = unique(galleryNames(one).map(familyOf));
  return controls(
    data.gallery.length > 1 ? select("Classifier", data.gallery.map((other, place) => [place, titled(other.title)]), shown.block, change("block")) : null,
    select("View", [["one", "one image, all explainers"], ["many", "several images"]], shown.view, change("view")),
    select("True class", [["", "all"], ...classes], shown.label, change("label")),
    select("Predictions", [["", "all"], ["right", "right"], ["wrong", "wrong"]], shown.right, change("right")),
    several ? select("Explained class", [["predicted", "the predicted one"], ...classes], shown.target, change("target")) : null,
    shown.view === "many" && families.length > 1 ? select("Explainer family", [["", "all"], ...families], shown.families, change("families")) : null);
}

part("gallery", (place, paperly) => {
  if (paperly) {
    show(place, ...data.gallery.flatMap((one) => [el("h3", {}, titled(one.title)), ...galleryRows(one).slice(0, 4).map((row) => oneImage(one, row))]));
    return;
  }
  const redraw = (focus) => {
    const one = data.gallery[shown.block], rows = galleryRows(one), size = shown.view === "one" ? PAGE : SIDE;
    const page = rows.slice(shown.page * size, (shown.page + 1) * size);
    if (!page.includes(shown.image)) shown.image = page[0];
    const view = !rows.length ? [el("p", { class: "empty" }, "No image fits the filters.")]
      : shown.view === "one" ? [thumbnails(one, page, redraw), oneImage(one, shown.image)] : [manyImages(one, page)];
    show(place, galleryFields(one, redraw), el("p", { class: "note" }, `${rows.length} of ${one.index.length} images${shown.view === "one" ? "; those with a hatched frame are predicted wrongly" : ""}`), ...view, pager(rows.length, size, redraw) || "");
    if (focus !== undefined) place.querySelector(`[data-row="${focus}"]`)?.focus();
  };
  redraw();
});
