// Last: printing opens and draws everything, and a change of width draws the charts again.

paper.addEventListener("change", printed);
let waiting = null, wide = innerWidth;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { if (innerWidth !== wide && !paper.matches) { wide = innerWidth; redraws.forEach((draw) => draw()); } }, 150);
});
addEventListener("scroll", hideTip, { passive: true });
drawParts();
