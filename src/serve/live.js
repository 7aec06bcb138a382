// Puts in what the server tells of a run that goes on. Without it the page shows how the run stood when it was loaded.
"use strict";

const live = document.getElementById("live");
let source = null;

// What a reader opened or moved stays so while the part is replaced.
function replace(html) {
  const open = Array.from(live.querySelectorAll("details"), (details) => details.open);
  const moved = Array.from(live.querySelectorAll(".scroll"), (box) => box.scrollLeft);
  live.innerHTML = html;
  live.querySelectorAll("details").forEach((details, at) => { details.open = open[at] || false; });
  live.querySelectorAll(".scroll").forEach((box, at) => { box.scrollLeft = moved[at] || 0; });
  live.dataset.told = String(Number(live.dataset.told || 0) + 1);
}

function listen() {
  if (source) { return; }
  source = new EventSource(live.dataset.events);
  source.addEventListener("live", (event) => replace(event.data));
  source.addEventListener("end", () => { source.close(); location.reload(); });
}

// A browser keeps few connections to one server; pages that nobody sees give theirs up.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && source) { source.close(); source = null; } else if (!document.hidden) { listen(); }
});
listen();
