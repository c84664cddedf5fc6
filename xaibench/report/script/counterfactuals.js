// Counterfactuals: images by desired classes, as they are or as the change from the image.

const searched = { block: 0, explainer: "", view: "shown" };

function counterfactualTable(one, name, view) {
  const found = one.explainers[name], used = one.classes.map((_, place) => place).filter((place) => one.targets.some((row) => row.includes(place)) || one.predicted.includes(place));
  const cell = (row, target) => {
    const column = one.targets[row].indexOf(target);
    if (target === one.predicted[row]) return el("td", {}, tile(one.images, row, one, "the image itself", "tile own"));
    if (column < 0 || found.flags[row][column]) return el("td", {}, el("span", { class: "tile none" }, column < 0 || found.flags[row][column] === "not asked for" ? "" : "none"));
    return el("td", {}, tile(found[view], row * one.targets[row].length + column, one, `image ${one.index[row]} as ${one.classes[target]}`));
  };
  const rows = one.index.map((_, row) => row).sort((a, b) => one.labels[a] - one.labels[b] || one.index[a] - one.index[b]);
  const body = rows.map((row) => el("tr", {}, el("th", { scope: "row" }, tile(one.images, row, one, `image ${one.index[row]}`), el("small", {}, told(one, row))), ...used.map((target) => cell(row, target))));
  const heads = used.map((target) => el("th", { scope: "col", class: "upright" }, el("span", {}, one.classes[target])));
  return el("table", { class: "tiles" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "image"), ...heads)), el("tbody", {}, ...body));
}

part("counterfactuals", (place, paperly) => {
  if (paperly) {
    show(place, ...data.grids.flatMap((one) => Object.keys(one.explainers).map((name) => el("figure", {}, el("figcaption", {}, `${titled(one.title)}: ${name}`), counterfactualTable(one, name, "shown")))));
    return;
  }
  const redraw = () => {
    const one = data.grids[searched.block], names = Object.keys(one.explainers);
    if (!names.includes(searched.explainer)) searched.explainer = names[0];
    show(place, controls(
      data.grids.length > 1 ? select("Classifier", data.grids.map((other, order) => [order, titled(other.title)]), searched.block, (value) => { searched.block = Number(value); redraw(); }) : null,
      select("Explainer", names, searched.explainer, (value) => { searched.explainer = value; redraw(); }),
      select("View", [["shown", "counterfactual"], ["change", "change (red brighter, blue darker)"]], searched.view, (value) => { searched.view = value; redraw(); })),
    scroller("Counterfactuals", counterfactualTable(one, searched.explainer, searched.view)));
  };
  redraw();
});
