// Theme: what the system says, unless this browser was told otherwise. Set before the first paint.
const consoleTheme = {
  names: ["system", "light", "dark"],
  now: () => localStorage.getItem("pm-theme") ?? "system",
  set(name) {
    localStorage.setItem("pm-theme", name);
    document.documentElement.dataset.theme = name;
  },
  next() {
    this.set(this.names[(this.names.indexOf(this.now()) + 1) % this.names.length]);
  },
};
consoleTheme.set(consoleTheme.now());

// The server's clock stands in [data-beat]. When it has not moved for BEAT_LOST_MS, the server or the way
// to it is gone, and nothing on the page may pass for current.
const BEAT_LOST_MS = 5000;
let beat = "";
let beatAt = Date.now();
setInterval(() => {
  const shown = document.querySelector("[data-beat]")?.textContent ?? "";
  if (shown !== beat) {
    beat = shown;
    beatAt = Date.now();
  }
  document.documentElement.toggleAttribute("data-offline", Date.now() - beatAt > BEAT_LOST_MS);
}, 250);
