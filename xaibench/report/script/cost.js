// Mean score against passes for one image; the line joins explainers that no other beats in both.

const cost = { board: 0, metric: null };

function costPoints(one, place) {
  const column = one.metrics.indexOf(place);
  const passes = new Map(data.costs.filter(([title]) => titled(title) === titled(one.title)).map(([, own, ...spent]) => [own, spent]));
  return one.rows.filter(([own, cells]) => passes.has(own) && cells[column] && cells[column][0] !== null)
    .map(([own, cells]) => ({ place: own, mean: cells[column][0], text: cells[column][1], passes: passes.get(own)[0], seconds: passes.get(own)[1] }));
}

function front(points, sign) {
  const order = [...points].sort((a, b) => a.passes - b.passes || sign * (b.mean - a.mean)), kept = [];
  for (const one of order) if (!kept.length || sign * (one.mean - kept[kept.length - 1].mean) > 0) kept.push(one);
  return kept;
}

function costAxis(points, width, margin) {
  const some = points.map((one) => one.passes).filter((one) => one > 0);
  const low = Math.floor(Math.log10(Math.min(...some, 1))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...some, 1)) + 0.05));
  const zero = points.some((one) => one.passes === 0), start = margin.left + (zero ? 44 : 14);
  const log = linear(low, high, start, width - margin.right);
  const x = (passes) => (passes > 0 ? log(Math.log10(passes)) : margin.left + 14);
  const powers = Array.from({ length: high - low + 1 }, (_, step) => 10 ** (low + step));
  return [x, [...(zero ? [[0, "0"]] : []), ...powers.map((value) => [value, value >= 1e4 ? `10^${Math.log10(value)}`.replace(/\^(\d)/, (_, digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]) : String(value)])]];
}

// Names beside the points of the front that do not cover one another.
function frontNames(best, x, y, width) {
  const taken = [];
  return best.map((one) => {
    const text = explainer(one.place).name, wide = text.length * 7, left = x(one.passes) + 8 + wide > width ? x(one.passes) - 8 - wide : x(one.passes) + 8;
    const box = [left, left + wide, y(one.mean) - 5];
    if (taken.some((other) => Math.abs(other[2] - box[2]) < 15 && other[0] < box[1] && box[0] < other[1])) return null;
    taken.push(box);
    return svg("text", { class: "label", x: left, y: box[2] }, text);
  });
}

function drawCost(one, place, width) {
  const points = costPoints(one, place), { name, sign } = metric(place), colors = familyColors();
  if (!points.length) return el("p", { class: "empty" }, "No explainer has both a score and a cost here.");
  const margin = { left: 58, right: 16, top: 16, bottom: 42 }, height = Math.round(Math.min(440, Math.max(300, width * 0.52)));
  const means = points.map((point) => point.mean), least = Math.min(...means), most = Math.max(...means), room = 0.08 * (most - least) || 0.5;
  const [x, xTicks] = costAxis(points, width, margin), y = linear(least - room, most + room, height - margin.bottom, margin.top);
  const root = frame(width, height, margin, x, xTicks, y, ticks(least - room, most + room, 5).map((value) => [value, number(value)]),
    width < 500 ? "passes for one image (log)" : "forward and backward passes for one image (log scale)", name + arrow(sign), `${name} against passes for one image on ${titled(one.title)}`);
  const best = sign ? front(points.filter((point) => !isControl(point.place)), sign) : [];
  root.append(svg("path", { class: "front", d: best.map((point, order) => `${order ? "L" : "M"}${x(point.passes)} ${y(point.mean)}`).join("") }));
  for (const point of points) {
    const { name: own, family } = explainer(point.place), color = colors(family), at = [x(point.passes), y(point.mean)];
    const shape = isControl(point.place) ? svg("path", { d: `M${at[0] - 4} ${at[1] - 4}l8 8m0 -8l-8 8`, stroke: color, "stroke-width": 1.8 })
      : svg("circle", { cx: at[0], cy: at[1], r: best.includes(point) ? 5.5 : 4, fill: color, "fill-opacity": 0.85 });
    shape.addEventListener("pointerenter", (event) => showTip(event, [own, point.text, `${number(point.passes)} passes, ${number(point.seconds)} s for one image`]));
    shape.addEventListener("pointerleave", hideTip);
    root.append(shape);
  }
  root.append(...frontNames(best, x, y, width).filter(Boolean));
  return el("figure", {}, el("figcaption", { class: "onlyprint" }, `${titled(one.title)}: ${name}`), root, familyKey(points.map((point) => point.place), "✕"));
}

function costTable(one, place) {
  const rows = costPoints(one, place).map((point) => el("tr", {}, explainerHead(point.place), el("td", { "data-value": point.mean }, point.text),
    el("td", { "data-value": point.passes }, number(point.passes)), el("td", { "data-value": point.seconds ?? "" }, number(point.seconds))));
  const first = metric(place).sign < 0 ? "ascending" : "descending";
  const heads = [el("th", { scope: "col" }, "explainer"), el("th", { scope: "col", "data-first": first }, metric(place).name + arrow(metric(place).sign)),
    ...["passes", "seconds"].map((text) => el("th", { scope: "col" }, text))];
  return el("details", { class: "numbers" }, el("summary", {}, "As a table"),
    scroller("Score and cost", sortable(el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)))));
}

part("cost", (place, paperly) => {
  const priced = data.boards.filter((one) => data.costs.some(([title]) => same(title, one.title)));
  if (paperly) {
    show(place, ...priced.flatMap((one) => one.metrics.slice(0, 6).map((own) => drawCost(one, own, 340))));
    return;
  }
  const redraw = () => {
    const one = priced[cost.board];
    if (!one.metrics.includes(cost.metric)) cost.metric = one.metrics.find((own) => metric(own).sign && metric(own).family === "faithfulness") ?? one.metrics.find((own) => metric(own).sign) ?? one.metrics[0];
    show(place, controls(
      priced.length > 1 ? select("Classifier", priced.map((other, order) => [order, titled(other.title)]), cost.board, (value) => { cost.board = Number(value); redraw(); }) : null,
      select("Metric", one.metrics.map((own) => [own, metric(own).name]), cost.metric, (value) => { cost.metric = Number(value); redraw(); })),
    drawCost(one, cost.metric, chartWidth(place, false)), costTable(one, cost.metric));
  };
  redraw();
});
