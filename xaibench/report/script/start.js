// Last: printing opens and draws everything, and a change of width draws the charts again.

paper.addEventListener("change", () => printed(paper.matches));
addEventListener("beforeprint", () => printed(true)); // comes in time for the pages to be counted
addEventListener("afterprint", () => printed(false));
let waiting = null, wide = innerWidth;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { if (innerWidth !== wide && !onPaper) { wide = innerWidth; redraws.forEach((draw) => draw()); } }, 150);
});
addEventListener("scroll", hideTip, { passive: true });
parts.push(() => data.gallery.forEach((one) => [one.images, ...Object.values(one.maps)].forEach(sheet))); // paper cannot wait for them
parts.push(() => data.grids.forEach((one) => [one.images, ...Object.values(one.explainers).map((own) => own.shown)].forEach(sheet)));
drawParts();
