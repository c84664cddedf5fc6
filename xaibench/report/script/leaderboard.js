// Explainers by metrics for each trained classifier, filtered and sorted; on paper everything, six metrics side by side.

const BEST = 1, CLEAR = 2, ACROSS = 6;
const [firstData, firstModel] = data.boards.length > 2 ? data.boards[0].title : ["", ""]; // of many classifiers the first
const board = { dataset: firstData, model: firstModel, metrics: "", explainers: "", text: "", controls: true, sort: null };

function boardCell(cell) {
  if (!cell) return el("td", { "data-value": "" });
  const [mean, text, bits, marks] = cell;
  const kinds = [bits & BEST ? "best" : "", bits & CLEAR ? "clear" : ""].filter(Boolean).join(" ");
  const [center, half] = text.split(/(?= ± )/);
  return el("td", { "data-value": mean === null ? "" : String(mean), class: kinds || null },
    bits & BEST ? el("span", { class: "star", title: "best of this metric" }, "★") : null,
    el("span", {}, center), half ? el("span", { class: "half" }, half) : null,
    marks ? el("sup", {}, marks) : null);
}

function boardTable(one, columns, rows, paperly) {
  const heads = columns.map((column) => {
    const { name, family, sign } = metric(one.metrics[column]);
    const side = sign < 0 ? "ascending" : "descending";
    const told = { "1": "higher is better", "-1": "lower is better" }[sign] || "no direction";
    return el("th", { scope: "col", "data-first": side, "data-metric": name, title: `${family}; ${told}` },
      breakable(name), el("span", { class: "arrow", "aria-label": told }, arrow(sign)));
  });
  const body = rows.map(([place, cells]) => el("tr", { class: isControl(place) ? "control" : null },
    explainerHead(place), ...columns.map((column) => boardCell(cells[column]))));
  const table = el("table", { class: "board" }, el("caption", { class: "hidden" }, titled(one.title)),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "explainer"), ...heads)), el("tbody", {}, ...body));
  if (paperly) return table;
  sortable(table, (column, direction) => { board.sort = { metric: column ? columns[column - 1] : null, board: one, direction }; });
  if (board.sort && board.sort.board === one) {
    const column = board.sort.metric === null ? 0 : columns.indexOf(board.sort.metric) + 1;
    if (column || board.sort.metric === null) sortBy(table, column, board.sort.direction);
  }
  return table;
}

function boardNotes(one, shown) {
  const used = new Set(shown.flatMap(([, cells]) => cells).filter(Boolean).flatMap((cell) => cell[3].split(" ")));
  const notes = one.notes.filter(([mark]) => used.has(mark));
  const lines = [...one.general.map((text) => [el("span", {}, `All: ${text}.`)]), ...notes.map(([mark, text]) => [el("sup", {}, mark), ` ${text}.`])];
  if (lines.length <= 6) return el("ul", { class: "notes" }, ...lines.map((line) => el("li", {}, ...line)));
  return el("details", { class: "notes", open: onPaper }, el("summary", {}, `${lines.length} notes`), el("ul", {}, ...lines.map((line) => el("li", {}, ...line))));
}

function oneBoard(one, paperly) {
  const found = (place) => (board.controls && isControl(place))
    || ((!board.explainers || explainer(place).family === board.explainers) && explainer(place).name.toLowerCase().includes(board.text.toLowerCase()));
  const rows = paperly ? one.rows : one.rows.filter(([place]) => found(place));
  const all = one.metrics.map((_, column) => column);
  const columns = paperly ? all : all.filter((column) => !board.metrics || metric(one.metrics[column]).family === board.metrics);
  const block = el("div", { class: "block", "data-title": titled(one.title) }, el("h3", {}, titled(one.title)));
  if (!rows.length || !columns.length) {
    block.append(el("p", { class: "empty" }, "Nothing here fits the filters."));
    return block;
  }
  const width = paperly ? ACROSS : columns.length;
  for (let start = 0; start < columns.length; start += width) {
    const table = boardTable(one, columns.slice(start, start + width), rows, paperly);
    block.append(paperly ? table : scroller(`Scores on ${titled(one.title)}`, table));
  }
  block.append(boardNotes(one, rows));
  return block;
}

function boardFilters(redraw) {
  const choose = (name) => (value) => { board[name] = value; redraw(); };
  const pick = (label, name, values) => (values.length > 1 ? select(label, [["", "all"], ...values], board[name], choose(name)) : null);
  const search = el("input", { type: "search", value: board.text, placeholder: "name", oninput: (event) => choose("text")(event.target.value) });
  const keep = el("input", { type: "checkbox", checked: board.controls, onchange: (event) => choose("controls")(event.target.checked) });
  return controls(
    pick("Data set", "dataset", unique(data.boards.map((one) => one.title[0]))),
    pick("Model", "model", unique(data.boards.map((one) => one.title[1]))),
    pick("Metric family", "metrics", unique(data.metrics.map((one) => one[1]))),
    pick("Explainer family", "explainers", unique(data.explainers.map((one) => one[1]))),
    el("label", { class: "field" }, el("span", {}, "Search explainers"), search),
    data.explainers.some((one) => one[1] === CONTROL) ? el("label", { class: "check" }, keep, " keep controls in view") : null);
}

part("leaderboard", (place, paperly) => {
  let mount = place.querySelector(".boards");
  const redraw = () => {
    const wanted = data.boards.filter((one) => onPaper
      || ((!board.dataset || one.title[0] === board.dataset) && (!board.model || one.title[1] === board.model)));
    mount.replaceChildren(...wanted.map((one) => oneBoard(one, onPaper)));
    if (!wanted.length) mount.append(el("p", { class: "empty" }, "Nothing fits the filters."));
  };
  if (!mount) {
    mount = el("div", { class: "boards" });
    show(place, boardFilters(redraw), mount);
  }
  redraw(paperly);
});
