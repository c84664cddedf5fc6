// Critical differences: mean ranks, and bars over explainers that do not differ significantly.

const rank = { title: "", metric: "" };

// First and last row of each group of several, from above, and the lane in which its bar has room.
function groupSpans(rows) {
  const letters = unique(rows.flatMap((row) => [...row[2]].filter((letter) => letter.trim()))), lanes = [];
  const held = letters.map((letter) => rows.map((row, place) => (row[2].includes(letter) ? place : -1)).filter((place) => place >= 0));
  return held.filter((places) => places.length > 1).map((places) => {
    const [first, last] = [places[0], places[places.length - 1]], free = lanes.findIndex((end) => end < first);
    const lane = free < 0 ? lanes.length : free;
    lanes[lane] = last;
    return { first, last, lane };
  });
}

function drawRanks(one, width) {
  const rows = one.rows, step = 20, spans = groupSpans(rows);
  const named = Math.min(190, Math.round(width * 0.42)), bars = Math.max(0, ...spans.map((span) => span.lane + 1)) * 8 + 10, top = 46;
  const values = rows.map((row) => row[1]), ends = [Math.floor(Math.min(...values)), Math.ceil(Math.max(...values))];
  if (ends[0] === ends[1]) ends[1] += 1;
  const x = linear(...ends, named + 12, width - bars - 12), height = top + rows.length * step + 8;
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "img", "aria-label": `Mean ranks by ${one.metric}; 1 is best` });
  for (const value of ticks(...ends, 6)) {
    root.append(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: top - 6, y2: height }),
      svg("text", { class: "tick", x: x(value), y: top - 12, "text-anchor": "middle" }, number(value)));
  }
  root.append(svg("text", { class: "axisname", x: 0, y: 14 }, `mean rank over ${one.images} images (1 is best)`));
  const colors = familyColors(), fits = Math.floor(named / 6.4);
  rows.forEach(([place, mean, own], order) => {
    const { name, family } = explainer(place), y = top + order * step + step / 2;
    const text = svg("text", { class: isControl(place) ? "label control" : "label", x: named, y: y + 4, "text-anchor": "end" }, name.length > fits ? `${name.slice(0, fits - 1)}…` : name);
    text.append(svg("title", {}, `${name} (${family}): mean rank ${number(mean)}, groups ${own}`));
    root.append(text, svg("line", { class: "grid", x1: named + 6, x2: x(mean), y1: y, y2: y }), svg("circle", { cx: x(mean), cy: y, r: 4.5, fill: colors(family) }));
  });
  for (const { first, last, lane } of spans) {
    const at = width - bars + lane * 8 + 4;
    root.append(svg("line", { class: "group", x1: at, x2: at, y1: top + first * step + 4, y2: top + (last + 1) * step - 4 }));
  }
  return el("div", {}, root, familyKey(rows.map((row) => row[0]), "●"));
}

part("ranks", (place, paperly) => {
  if (paperly) {
    show(place, ...data.ranks.slice(0, 12).map((one) => el("figure", {}, el("figcaption", {}, `${titled(one.title)}: ${one.metric}`), drawRanks(one, 340))));
    if (data.ranks.length > 12) place.append(el("p", {}, `${data.ranks.length - 12} further diagrams are on the screen's page.`));
    return;
  }
  const redraw = () => {
    const titles = unique(data.ranks.map((one) => titled(one.title)));
    if (!titles.includes(rank.title)) rank.title = titles[0];
    const own = data.ranks.filter((one) => titled(one.title) === rank.title), metrics = own.map((one) => one.metric);
    if (!metrics.includes(rank.metric)) rank.metric = metrics[0];
    show(place, controls(
      titles.length > 1 ? select("Classifier", titles, rank.title, (value) => { rank.title = value; redraw(); }) : null,
      select("Metric", metrics, rank.metric, (value) => { rank.metric = value; redraw(); })),
    drawRanks(own[metrics.indexOf(rank.metric)], chartWidth(place, false)));
  };
  redraw();
});
