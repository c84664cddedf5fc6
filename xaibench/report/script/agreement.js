// How alike two metrics order the explainers: Spearman's correlation in percent, red alike, blue opposed.

const agreed = { place: 0 }, NUMBERS = 24;

function agreementColor(value) {
  const ends = value < 0 ? [33, 102, 172] : [178, 24, 43], share = Math.min(1, Math.abs(value) / 100);
  return `rgb(${ends.map((one) => Math.round(255 + (one - 255) * share)).join(",")})`;
}

function agreementTable(one) {
  const names = one.metrics.map((place) => metric(place).name), few = !onPaper || names.length <= NUMBERS;
  const cell = (value, row, column) => {
    const told = `${names[row]} and ${names[column]}: ${value === null ? "unknown" : (value / 100).toFixed(2)}`;
    const look = value === null ? null : `background:${agreementColor(value)};color:${Math.abs(value) > 72 ? "#fff" : "#111"}`;
    const shown = value === null ? "" : few ? (value / 100).toFixed(2).replace("-", "−") : "";
    return el("td", { style: look, "aria-label": told, onpointerenter: (event) => showTip(event, [told]), onpointerleave: hideTip }, shown);
  };
  const rows = one.rows.map((row, order) => el("tr", {}, el("th", { scope: "row", title: names[order] }, names[order]), ...row.map((value, column) => cell(value, order, column))));
  const heads = names.map((name) => el("th", { scope: "col", class: "upright" }, el("span", {}, name)));
  return el("table", { class: few ? "matrix" : "matrix small" }, el("thead", {}, el("tr", {}, el("td"), ...heads)), el("tbody", {}, ...rows));
}

part("agreement", (place, paperly) => {
  if (paperly) {
    show(place, ...data.agreement.map((one) => el("figure", {}, el("figcaption", {}, titled(one.title)), agreementTable(one))));
    return;
  }
  const redraw = () => show(place, 
    data.agreement.length > 1 ? controls(select("Classifier", data.agreement.map((one, order) => [order, titled(one.title)]), agreed.place, (value) => { agreed.place = Number(value); redraw(); })) : "",
    scroller("Agreement of metrics", agreementTable(data.agreement[agreed.place])));
  redraw();
});
