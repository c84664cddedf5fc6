// Pairs of explainers that differ by a metric.

const compared = { title: "", metric: "" };

function comparisonTable(one, limit) {
  const name = (own) => el("td", {}, breakable(explainer(own).name));
  const value = (own) => el("td", { "data-value": own ?? "" }, number(own));
  const rows = one.rows.slice(0, limit).map(([first, second, difference, low, high, effect, p, images]) => {
    const [better, worse, turn] = difference < 0 ? [second, first, -1] : [first, second, 1];
    const ends = turn < 0 ? [-high, -low] : [low, high];
    return el("tr", {}, name(better), name(worse), value(turn * difference), el("td", {}, `${number(ends[0])} to ${number(ends[1])}`),
      value(effect === null ? null : turn < 0 ? 1 - effect : effect), value(p), value(images));
  });
  const heads = ["better", "worse", "by", "95 % interval", "on this share of images", "p (Holm)", "images"];
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, ...rows));
}

function comparisonTold(one) {
  const left = one.significant - one.rows.length;
  const [fewest, most] = one.images;
  const told = `${one.significant} of ${one.pairs} pairs differ significantly, on ${fewest === most ? most : `${fewest} to ${most}`} images that both have a score for (the 95 % interval excludes 0, and p < .05 after Holm's correction)`;
  return el("p", { class: "note" }, left > 0 ? `${told}; the ${one.rows.length} with the largest effect are here, comparison.parquet has all.` : `${told}.`);
}

part("comparison", (place, paperly) => {
  if (paperly) {
    show(place, ...data.comparisons.slice(0, 12).flatMap((one) => [el("h3", {}, `${titled(one.title)}: ${one.metric}`), comparisonTold(one), comparisonTable(one, 15)]));
    return;
  }
  const redraw = () => {
    const titles = unique(data.comparisons.map((one) => titled(one.title)));
    if (!titles.includes(compared.title)) compared.title = titles[0];
    const own = data.comparisons.filter((one) => titled(one.title) === compared.title), metrics = own.map((one) => one.metric);
    if (!metrics.includes(compared.metric)) compared.metric = metrics[0];
    const one = own[metrics.indexOf(compared.metric)];
    show(place, controls(
      titles.length > 1 ? select("Classifier", titles, compared.title, (value) => { compared.title = value; redraw(); }) : null,
      select("Metric", metrics, compared.metric, (value) => { compared.metric = value; redraw(); })),
    comparisonTold(one), one.rows.length ? scroller("Pairs that differ", sortable(comparisonTable(one, one.rows.length))) : "");
  };
  redraw();
});
