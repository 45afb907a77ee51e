// Keeps a page alive: figures each second, sections anew when something has changed. Keys: o i a w s.
"use strict";

const MOST_OUTPUT = 1 << 20; // characters that are kept of each stream
const PATIENCE = 20; // a page that takes long to make is made seldom: so many times as long
let version = null;
let asked = 0;
let took = 0;
let busy = false;

function show(figures) {
  for (const place of document.querySelectorAll("[data-live]")) {
    const text = figures[place.dataset.live];
    if (text !== undefined && place.textContent !== text) place.textContent = text;
  }
  const health = document.querySelector("header .state");
  health.classList.toggle("bad", figures.health !== "healthy");
  health.classList.toggle("good", figures.health === "healthy");
}

// The server renders and escapes; we only exchange sections of the same name.
async function renew() {
  busy = true;
  asked = performance.now();
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-refresh]")) {
      const made = fresh.querySelector(`[data-refresh="${old.dataset.refresh}"]`);
      if (made && !old.contains(document.activeElement) && old.innerHTML !== made.innerHTML) {
        old.replaceWith(document.adoptNode(made));
      }
    }
  } finally {
    took = performance.now() - asked;
    busy = false;
  }
}

const source = new EventSource("/events");
const connection = document.querySelector("[data-connection]");
source.onopen = () => { connection.hidden = true; };
source.onerror = () => { connection.hidden = false; };
source.onmessage = (event) => {
  const told = JSON.parse(event.data);
  show(told.figures);
  const since = performance.now() - asked;
  const timed = document.querySelector("[data-every]");
  const due = timed && since > 1000 * Number(timed.dataset.every);
  if (version === null) version = told.version;
  if (!busy && (version !== told.version || due) && since > PATIENCE * took) {
    version = told.version;
    renew();
  }
  document.documentElement.dataset.alive = "yes";
};
addEventListener("pagehide", () => source.close());

// What a running action writes; the whole page comes anew when it has ended.
async function follow(place) {
  const answer = await fetch(place.dataset.output);
  if (!answer.ok) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    place.hidden = false;
    place.textContent = (place.textContent + piece.value).slice(-MOST_OUTPUT);
    place.scrollTop = place.scrollHeight;
  }
}
const following = [...document.querySelectorAll("[data-output]")].map(follow);
if (following.length) Promise.allSettled(following).then(() => location.reload());

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, textarea")) return;
  const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  if (link) link.click();
});
