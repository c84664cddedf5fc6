// Axes and scales of the charts.

function ticks(low, high, count) {
  const raw = (high - low) / Math.max(1, count), power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

function linear(low, high, from, to) {
  const scale = (value) => from + ((value - low) / (high - low || 1)) * (to - from);
  scale.invert = (place) => low + ((place - from) / (to - from)) * (high - low);
  return scale;
}

// A frame with ticks: x and y are scales, given with their ticks as [value, text].
function frame(width, height, margin, x, xTicks, y, yTicks, xName, yName, label) {
  const bottom = height - margin.bottom, right = width - margin.right;
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "img", "aria-label": label });
  for (const [value, text] of yTicks) {
    root.append(svg("line", { class: "grid", x1: margin.left, x2: right, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: margin.left - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  for (const [value, text] of xTicks) {
    root.append(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: margin.top, y2: bottom }),
      svg("text", { class: "tick", x: x(value), y: bottom + 16, "text-anchor": "middle" }, text));
  }
  root.append(svg("line", { class: "axis", x1: margin.left, x2: right, y1: bottom, y2: bottom }),
    svg("text", { class: "axisname", x: (margin.left + right) / 2, y: height - 4, "text-anchor": "middle" }, xName),
    svg("text", { class: "axisname", transform: `translate(12 ${(margin.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, yName));
  return root;
}

const chartWidth = (place, paperly) => (paperly ? 680 : Math.max(280, Math.min(940, place.clientWidth || 940)));

// Colors and dashes as in the figures: colors by order, controls grey and dashed.
function styles(places) {
  const found = new Map();
  places.filter((place) => !isControl(place)).forEach((place, order) => {
    const color = data.colors[order % data.colors.length];
    found.set(place, { stroke: color === "#000000" ? "currentColor" : color, "stroke-dasharray": data.dashes[Math.floor(order / data.colors.length) % data.dashes.length] || null });
  });
  places.filter(isControl).forEach((place, order) => {
    found.set(place, { stroke: order % data.greys.length ? data.greys[order % data.greys.length] : "var(--soft)", "stroke-dasharray": data.grey_dashes[order % data.grey_dashes.length] });
  });
  return found;
}

function familyKey(places, forControls) {
  const colors = familyColors(), families = unique(places.map((place) => explainer(place).family));
  const dot = (family) => el("span", { style: `color:${colors(family)}`, "aria-hidden": "true" }, family === CONTROL ? forControls : "●");
  return el("ul", { class: "key" }, ...families.map((family) => el("li", {}, dot(family), ` ${family}`)));
}

function familyColors() {
  const families = unique(data.explainers.map((one) => one[1]).filter((one) => one !== CONTROL)).sort();
  return (family) => {
    const color = family === CONTROL ? "var(--soft)" : data.colors[families.indexOf(family) % data.colors.length];
    return color === "#000000" ? "currentColor" : color;
  };
}
