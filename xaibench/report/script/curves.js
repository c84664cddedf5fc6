// Mean curves with their intervals: the pointer, or the arrow keys, read the values.

const BANDS = 14, ROOM = 0.3;
const curve = { title: 0, kind: "", chosen: null, key: "", at: null };
const AXES = { deletion: "fraction of pixels removed", insertion: "fraction of pixels inserted", saturation: "fraction of pixels saturated" };

function curveRange(panel, lines) {
  const means = lines.flatMap((line) => line[1]).filter((one) => one !== null);
  if (!means.length) return [0, 1];
  const least = Math.min(...means), most = Math.max(...means), margin = ROOM * (most - least) || 0.5;
  const ends = lines.flatMap((line) => line[1].map((mean, place) => [mean, line[2][place] || 0])).filter((one) => one[0] !== null);
  const low = Math.min(...ends.map(([mean, half]) => mean - half)), high = Math.max(...ends.map(([mean, half]) => mean + half));
  return [Math.max(least - margin, low - 0.1 * margin), Math.min(most + margin, high + 0.1 * margin)];
}

function curvePath(x, y, panel, values) {
  let pen = "M", path = "";
  values.forEach((value, place) => {
    if (value === null) { pen = "M"; return; }
    path += `${pen}${x(panel.x[place]).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
  });
  return path;
}

function bandPath(x, y, panel, line) {
  const kept = panel.x.map((_, place) => place).filter((place) => line[1][place] !== null && line[2][place] !== null);
  const side = (sign) => kept.map((place) => `${x(panel.x[place]).toFixed(1)} ${y(line[1][place] + sign * line[2][place]).toFixed(1)}`);
  return kept.length > 1 ? `M${[...side(1), ...side(-1).reverse()].join("L")}Z` : "";
}

function drawCurves(panel, chosen, width, id) {
  const lines = panel.lines.filter((line) => chosen.has(line[0]));
  const margin = { left: 58, right: 12, top: 12, bottom: 42 }, height = Math.round(Math.min(420, Math.max(280, width * 0.5)));
  const [low, high] = curveRange(panel, lines), ends = [panel.x[0], panel.x[panel.x.length - 1]];
  const x = linear(...ends, margin.left, width - margin.right), y = linear(low, high, height - margin.bottom, margin.top);
  const texts = (values) => values.map((value) => [value, number(value)]);
  const xName = Object.entries(AXES).find(([key]) => panel.metric.includes(key));
  const label = `${panel.metric}, ${panel.curve.replaceAll("_", " ")}, of ${lines.length} explainers on ${titled(panel.title)}; arrow keys read values`;
  const root = frame(width, height, margin, x, texts(ticks(...ends, width < 500 ? 4 : 8)), y, texts(ticks(low, high, 5)),
    xName ? xName[1] : "fraction", panel.curve.replaceAll("_", " "), label);
  root.append(svg("clipPath", { id }, svg("rect", { x: margin.left, y: margin.top, width: width - margin.left - margin.right, height: height - margin.top - margin.bottom })));
  const inside = svg("g", { "clip-path": `url(#${id})` }), look = styles(lines.map((line) => line[0]).sort((a, b) => a - b));
  if (lines.length <= BANDS) {
    lines.forEach((line) => inside.append(svg("path", { d: bandPath(x, y, panel, line), fill: look.get(line[0]).stroke, class: "band" })));
  }
  const drawn = new Map(lines.map((line) => {
    const path = svg("path", { d: curvePath(x, y, panel, line[1]), fill: "none", "stroke-width": lines.length > BANDS ? 1.1 : 1.8, ...look.get(line[0]) });
    inside.append(path);
    return [line[0], path];
  }));
  root.append(inside);
  return { root, x, y, lines, drawn, look, margin, height };
}

function readings(panel, lines, look, at) {
  const rows = lines.map((line) => ({ place: line[0], mean: line[1][at], half: line[2][at] })).filter((row) => row.mean !== null);
  rows.sort((a, b) => b.mean - a.mean);
  const value = (row) => number(row.mean) + (row.half === null ? "" : ` ± ${number(row.half)}`);
  return el("div", { class: "readings", "aria-live": "polite" },
    el("p", {}, `At ${number(panel.x[at])} (arrow keys move along the chart):`),
    el("ul", {}, ...rows.map((row) => el("li", {}, swatch(look.get(row.place)), breakable(explainer(row.place).name), el("b", {}, value(row))))));
}

const swatch = (look) => svg("svg", { class: "swatch", width: 26, height: 8, "aria-hidden": "true" },
  svg("line", { x1: 0, x2: 26, y1: 4, y2: 4, "stroke-width": 2.4, ...look }));

function liveCurves(panel, chosen, width) {
  const made = drawCurves(panel, chosen, width, "curves-clip"), { root, x, y, lines, drawn, look } = made;
  if (!lines.length) return el("p", { class: "empty" }, "Choose explainers below.");
  const mark = svg("line", { class: "cursor", y1: made.margin.top, y2: made.height - made.margin.bottom }), below = el("div");
  root.append(mark);
  const read = (at) => {
    curve.at = Math.max(0, Math.min(panel.x.length - 1, at));
    put(mark, { x1: x(panel.x[curve.at]), x2: x(panel.x[curve.at]) }, []);
    below.replaceChildren(readings(panel, lines, look, curve.at));
  };
  const light = (place) => drawn.forEach((path, own) => path.classList.toggle("faint", place !== null && own !== place));
  ["pointermove", "pointerdown"].forEach((kind) => root.addEventListener(kind, (event) => {
    const box = root.getBoundingClientRect(), left = ((event.clientX - box.left) / box.width) * width;
    const top = ((event.clientY - box.top) / box.height) * made.height, value = x.invert(left);
    const at = panel.x.reduce((best, one, place) => (Math.abs(one - value) < Math.abs(panel.x[best] - value) ? place : best), 0);
    const near = lines.filter((line) => line[1][at] !== null).sort((a, b) => Math.abs(y(a[1][at]) - top) - Math.abs(y(b[1][at]) - top))[0];
    read(at);
    if (!near) return;
    light(near[0]);
    showTip(event, [explainer(near[0]).name, `${number(near[1][at])} ± ${number(near[2][at])} at ${number(panel.x[at])}`]);
  }));
  root.addEventListener("pointerleave", () => { hideTip(); light(null); });
  root.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); read(curve.at + step); }
  });
  put(root, { tabindex: "0" }, []);
  read(curve.at === null ? Math.floor(panel.x.length / 4) : curve.at);
  return el("div", {}, root, below);
}

// The five that lead by the metric, and the best control.
function leading(panel) {
  const one = data.boards.find((other) => titled(other.title) === titled(panel.title)), place = metricPlace(panel.metric);
  const column = one ? one.metrics.indexOf(place) : -1, there = new Set(panel.lines.map((line) => line[0]));
  if (column < 0) return new Set([...there].slice(0, 6));
  const sign = metric(place).sign || 1;
  const rows = one.rows.filter(([own, cells]) => there.has(own) && cells[column] && cells[column][0] !== null)
    .sort((a, b) => sign * (b[1][column][0] - a[1][column][0])).map(([own]) => own);
  return new Set([...rows.filter((own) => !isControl(own)).slice(0, 5), ...rows.filter(isControl).slice(0, 1)]);
}

function curveChoices(panel, redraw) {
  const there = panel.lines.map((line) => line[0]), look = styles(there.filter((place) => curve.chosen.has(place)).sort((a, b) => a - b));
  const toggle = (place) => (event) => { if (event.target.checked) curve.chosen.add(place); else curve.chosen.delete(place); redraw(place); };
  const boxes = (family) => there.filter((place) => explainer(place).family === family).map((place) => el("label", { class: "check" },
    el("input", { type: "checkbox", checked: curve.chosen.has(place), onchange: toggle(place), "data-place": place }),
    look.has(place) ? swatch(look.get(place)) : null, breakable(explainer(place).name)));
  const quick = (text, places) => button(text, () => { curve.chosen = places; redraw(); });
  return el("details", { class: "choices", open: curve.open, ontoggle: (event) => { curve.open = event.target.open; } },
    el("summary", {}, `Explainers: ${curve.chosen.size} of ${there.length} shown`),
    controls(quick("leading five and best control", leading(panel)), quick("all", new Set(there)), quick("none", new Set())),
    look.size > data.colors.length * data.dashes.length ? el("p", { class: "note" }, "More explainers than kinds of lines: some look alike. Point at one to see which it is.") : null,
    ...unique(there.map((place) => explainer(place).family)).map((family) => el("fieldset", {}, el("legend", {}, family), ...boxes(family))));
}

part("curves", (place, paperly) => {
  if (paperly) {
    show(place, ...data.curves.slice(0, 24).map((panel, order) => {
      const chosen = leading(panel), { root, look, lines } = drawCurves(panel, chosen, 340, `curves-clip-${order}`);
      const key = lines.map((line) => el("li", {}, swatch(look.get(line[0])), explainer(line[0]).name));
      return el("figure", {}, el("figcaption", {}, `${titled(panel.title)}: ${panel.metric}, ${panel.curve.replaceAll("_", " ")}`), root, el("ul", { class: "key" }, ...key));
    }));
    if (data.curves.length > 24) place.append(el("p", {}, `${data.curves.length - 24} further panels are on the screen's page.`));
    return;
  }
  const redraw = (focus) => {
    const titles = unique(data.curves.map((panel) => titled(panel.title)));
    const own = data.curves.filter((panel) => titled(panel.title) === titles[curve.title]);
    const kinds = own.map((panel) => `${panel.metric}: ${panel.curve.replaceAll("_", " ")}`);
    if (!kinds.includes(curve.kind)) curve.kind = kinds.find((kind) => kind.startsWith("deletion")) || kinds[0];
    const panel = own[kinds.indexOf(curve.kind)], key = `${curve.title}/${curve.kind}`;
    if (curve.key !== key) { curve.key = key; curve.at = null; curve.chosen = leading(panel); }
    const fields = controls(titles.length > 1 ? select("Classifier", titles.map((text, order) => [order, text]), curve.title, (value) => { curve.title = Number(value); redraw(); }) : null,
      select("Curve", kinds, curve.kind, (value) => { curve.kind = value; redraw(); }));
    show(place, fields, liveCurves(panel, curve.chosen, chartWidth(place, false)), curveChoices(panel, redraw));
    if (panel.left_out) place.append(el("p", { class: "note" }, `${panel.left_out} fractions between those shown are left out of this page; curves.parquet has them.`));
    if (focus !== undefined) place.querySelector(`[data-place="${focus}"]`)?.focus();
  };
  redraw();
});
