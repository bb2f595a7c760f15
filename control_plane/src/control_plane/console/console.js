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

// The alarm list by keys. A list is drawn anew when an alert changes: the row that had the focus gets it back.
const consoleAlarms = {
  last: "",
  rows: () => [...document.querySelectorAll("[data-alert]")],
  row: (id) => consoleAlarms.rows().find((row) => row.dataset.alert === id),
  move(row, step) {
    const rows = this.rows();
    rows[Math.min(rows.length - 1, Math.max(0, rows.indexOf(row) + step))].focus();
  },
  write: () => setTimeout(() => document.querySelector(".acknowledge input")?.focus(), 50),
  back: () => setTimeout(() => (consoleAlarms.row(consoleAlarms.last) ?? consoleAlarms.rows()[0])?.focus(), 50),
};
document.addEventListener("focusin", (event) => {
  const row = event.target.closest("[data-alert]");
  if (row) consoleAlarms.last = row.dataset.alert;
});
new MutationObserver(() => {
  if (consoleAlarms.last && document.activeElement === document.body) consoleAlarms.row(consoleAlarms.last)?.focus();
}).observe(document, { childList: true, subtree: true });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector(".acknowledge:not([hidden]) [data-cancel]")?.click();
  const row = event.target.closest?.("[data-alert]"); // a letter acts on the row that has the focus, and nowhere else
  if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    consoleAlarms.move(row, event.key === "ArrowDown" ? 1 : -1);
    event.preventDefault();
  }
  if (event.key.toLowerCase() === "a") {
    row.querySelector("[data-testid=acknowledge]")?.click();
    event.preventDefault();
  }
});

// A record takes minutes to make, and meanwhile the browser shows nothing.
document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-testid=export]")) document.querySelector(".export-asked").hidden = false;
});

// When the way to the server is gone it may be the session that has ended: then the sign-in is the way on.
setInterval(async () => {
  if (!document.documentElement.hasAttribute("data-offline")) return;
  const answer = await fetch("/api/me").catch(() => null);
  if (answer?.status === 401) location.assign("/sign-in?next=" + encodeURIComponent(location.pathname + location.search));
}, 3000);
