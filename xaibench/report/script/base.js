// What all parts share: the data, making elements (always from text, never from markup), controls, tooltips and printing.

const data = JSON.parse(document.getElementById("data").textContent);
const CONTROL = "control";
const paper = matchMedia("print");
let onPaper = paper.matches;
const redraws = [];

function put(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, attributes = {}, ...children) => put(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  put(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const explainer = (place) => ({ name: data.explainers[place][0], family: data.explainers[place][1] });
const isControl = (place) => data.explainers[place][1] === CONTROL;
const metric = (place) => ({ name: data.metrics[place][0], family: data.metrics[place][1], sign: data.metrics[place][2] });
const metricPlace = (name) => data.metrics.findIndex((one) => one[0] === name);
const arrow = (sign) => ({ "1": "\u00a0↑", "-1": "\u00a0↓" })[sign] || "";
const titled = (title) => title.join(" / ");
const unique = (values) => [...new Set(values)];
const same = (a, b) => a.slice(0, 2).join("\n") === b.slice(0, 2).join("\n");

function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2).replace("e+", "e").replace("-", "−");
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

// A name that may break after its underscores and brackets.
function breakable(name) {
  const pieces = name.split(/(?<=[_,=\]./-])|(?=\[)/);
  return el("span", { class: "name" }, pieces.flatMap((piece, place) => (place ? [el("wbr"), piece] : [piece])));
}

function select(label, options, chosen, change) {
  const list = el("select", { onchange: (event) => change(event.target.value) });
  for (const option of options) {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    list.append(el("option", { value, selected: String(value) === String(chosen) }, text));
  }
  return el("label", { class: "field" }, el("span", {}, label), list);
}

const button = (text, click, attributes = {}) => el("button", { type: "button", onclick: click, ...attributes }, text);
const controls = (...children) => el("div", { class: "controls" }, ...children);

const tip = el("div", { class: "tip", role: "status", hidden: true });
document.body.append(tip);

function showTip(event, lines) {
  tip.replaceChildren(...lines.map((line, place) => el(place ? "span" : "strong", {}, line)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - box.width - 8);
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, event.clientY - box.height - 12)}px`;
}

const hideTip = () => { tip.hidden = true; };

// A part has a place in the page. It is drawn when the browser is idle, and again when the page is printed or its width changes.
const parts = [];

// Draws a part anew, and keeps the focus on the control that was used.
function show(place, ...nodes) {
  const controlsOf = () => [...place.querySelectorAll("select, input, button, summary")];
  const used = document.activeElement, at = controlsOf().indexOf(used);
  place.replaceChildren(...nodes);
  if (at < 0) return;
  const there = controlsOf().filter((one) => !one.disabled), same = controlsOf()[at];
  const now = same?.tagName === used.tagName && !same.disabled ? same : there.find((one) => one.textContent === used.textContent);
  now?.focus({ preventScroll: true });
}

function part(name, render) {
  const place = document.querySelector(`[data-part="${name}"]`);
  if (!place) return;
  const draw = () => render(place, onPaper);
  redraws.push(draw);
  parts.push(draw);
}

function drawParts() {
  const next = parts.shift();
  if (!next) { document.documentElement.classList.add("ready"); return; }
  next();
  setTimeout(drawParts); // lets the browser paint in between
}

let opened = [];
function printed(now) {
  if (now === onPaper) return;
  onPaper = now;
  hideTip();
  if (onPaper) {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((one) => { one.open = true; });
  } else {
    opened.forEach((one) => { one.open = false; });
  }
  redraws.forEach((draw) => draw());
}
