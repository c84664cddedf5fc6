// Tables whose heads are buttons that sort: by `data-value` of the cells where they have one, else by their text.

// What a text is worth that begins with a number: "-0.12 ± 0.03", "(2.1 ± 0.9)e-7", "1,135"; else null.
function worth(text) {
  const found = text.replaceAll("−", "-").match(/^\(?(-?[\d,]*\.?\d+(?:e-?\d+)?)(?![\w.])(?:[^()]*\)e(-?\d+))?/);
  return found ? Number(found[1].replaceAll(",", "")) * 10 ** Number(found[2] || 0) : null;
}

function texts(a, b) {
  const left = worth(a), right = worth(b);
  return left !== null && right !== null && left !== right ? left - right : a.localeCompare(b, "en", { numeric: true });
}

function sortBy(table, column, direction) {
  const body = table.tBodies[0];
  const value = (row) => {
    const cell = row.cells[column];
    if (!("value" in cell.dataset)) return cell.textContent.trim().toLowerCase();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  const sign = direction === "ascending" ? 1 : -1;
  const order = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null); // what has no value stays last
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : texts(String(a), String(b)));
  };
  const rows = [...body.rows].map((row) => [value(row), row]);
  rows.sort((a, b) => order(a[0], b[0]));
  body.append(...rows.map((pair) => pair[1]));
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    head.setAttribute("aria-sort", place === column ? direction : "none");
  });
}

function sortable(table, told = () => {}) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const first = head.dataset.first || "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const toggle = button("", () => {
      const direction = head.getAttribute("aria-sort") === first ? other : first;
      sortBy(table, column, direction);
      told(column, direction);
    }, { class: "sort", title: "sort by this column" });
    toggle.append(...head.childNodes);
    head.append(toggle);
    head.setAttribute("aria-sort", "none");
  });
  return table;
}

const scroller = (label, ...children) => el("div", { class: "scroll" + (children.some((one) => one.matches(".matrix, .tiles")) ? " fit" : ""), role: "region", "aria-label": label, tabindex: "0" }, ...children);

function explainerHead(place) {
  return el("th", { scope: "row", class: isControl(place) ? "control" : null, "data-family": explainer(place).family },
    breakable(explainer(place).name), isControl(place) ? el("small", { class: "badge" }, "control") : null);
}

document.querySelectorAll("table.sortable").forEach((one) => sortable(one));
