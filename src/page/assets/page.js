"use strict";
// The photos of a page: a list that is drawn as it scrolls, a histogram with a line, and marks.
// All text goes in as text, never as HTML. Nothing is requested but the pictures beside this file.
(() => {
const byId = (id) => document.getElementById(id);
const parse = (id) => JSON.parse(byId(id).textContent);
const data = parse("data"), languages = parse("strings"), rows = data.rows;
if (rows.length === 0) return;
byId("gallery").hidden = false;

// Small helpers.
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
// Characters that control a terminal or turn the direction of text around.
const shown = (text) => text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "?");
const url = (path) => path.startsWith("data:image/") ? path : path.split("/").map(encodeURIComponent).join("/");
const number = (score) => score === null ? "–" : score.toFixed(3);
const percent = (share) => `${(share * 100).toFixed(1)} %`;
// Storage can be switched off.
const stored = (name, value) => {
  try {
    if (value === undefined) return localStorage.getItem(name);
    localStorage.setItem(name, value);
  } catch { /* The page works without it. */ }
  return null;
};

// Language.
let language = stored("blemish language") || navigator.language.slice(0, 2);
if (!languages[language]) language = "en";
const t = (name) => languages[language][name] ?? name;

// Marks are kept by path, for this file.
const key = `blemish marks ${location.pathname}`;
let marks = new Map();
try { marks = new Map(Object.entries(JSON.parse(stored(key) || "{}"))); } catch { /* not ours */ }
let unsaved = false;

// Verdicts. `line` is null while nobody has moved it: then the verdicts are those of the run.
const good = data.calibration || [];
let line = null, lineRate = null;
/** Share of good photos with this score or a higher one: split-conformal p-value. */
const pValue = (score) => {
  let low = 0, high = good.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (good[middle] < score) low = middle + 1; else high = middle;
  }
  return (1 + good.length - low) / (good.length + 1);
};
/** The false-alarm rate of a line: scores above it are ng. */
const rateOf = (at) => (1 + good.filter((score) => score > at).length) / (good.length + 1);
const verdictOf = (row) => {
  if (line === null || row.score === null) return row.verdict;
  if (good.length === 0) return row.score > line ? "ng" : "ok";
  const p = pValue(row.score), near = 1e-9;
  if (p <= lineRate + near) return "ng";
  return p <= 2 * lineRate + near || p <= 1 / (good.length + 1) + near ? "uncertain" : "ok";
};

// Without good photos a line says nothing of parts.
const nameOfVerdict = (verdict) => line !== null && good.length === 0 ? t(verdict === "ng" ? "above" : "below") : t(verdict);

// What is listed.
const folderOf = (row) => row.path.slice(0, row.path.lastIndexOf("/") + 1);
// The folder of all photos is not repeated in every row.
const common = rows.map(folderOf).reduce((all, folder) => {
  while (!folder.startsWith(all)) all = all.length < 2 ? "" : all.slice(0, all.lastIndexOf("/", all.length - 2) + 1);
  return all;
});
const nameOf = (row) => shown(row.path.slice(common.length));
let listed = [], selected = -1;
const list = byId("list"), drawn = new Map(), HEIGHT = 196;

function filter() {
  const [verdict, mark, kind, folder] = ["verdict", "mark", "kind", "folder"].map((id) => byId(id).value);
  const plain = (text) => text.normalize().toLowerCase(), name = plain(byId("name").value);
  const was = listed[selected];
  listed = rows.filter((row) =>
    (!verdict || verdictOf(row) === verdict || row.label === verdict)
    && (!mark || (marks.get(row.path) || "unmarked") === mark)
    && (!kind || (row.kind || "") === kind.slice(1))
    && (!folder || folderOf(row) === folder.slice(1))
    && plain(row.path).includes(name));
  const order = byId("sort").value;
  const byScore = (a, b) => b.score - a.score;
  if (order === "high") listed.sort(byScore);
  if (order === "low") listed.sort((a, b) => byScore(b, a));
  if (order === "by_name") listed.sort((a, b) => a.path < b.path ? -1 : 1);
  selected = was ? listed.indexOf(was) : -1;
  list.style.height = `${listed.length * HEIGHT}px`;
  redraw();
}

// One row.
function frame(row, layers, width, height) {
  const scale = Math.min(width / row.width, height / row.height);
  const box = make("div", { class: "frame" });
  box.style.width = `${Math.max(1, row.width * scale)}px`;
  box.style.height = `${Math.max(1, row.height * scale)}px`;
  for (const [source, kind] of layers) {
    if (source) box.append(make("img", { src: url(source), class: kind, alt: "", draggable: "false" }));
  }
  return box;
}
const markButton = (row, mark) => {
  const button = make("button", { class: mark, "aria-pressed": marks.get(row.path) === mark }, t(mark));
  button.addEventListener("click", (event) => { event.stopPropagation(); toggle(row, mark); });
  return button;
};
function info(row) {
  const verdict = verdictOf(row);
  const first = make("p", { class: "score" }, number(row.score));
  if (verdict) first.append(" ", make("span", { class: `of-${verdict}` }, nameOfVerdict(verdict)));
  if (row.label) first.append(" ", make("span", { class: "faint" }, `(${t(row.label)})`));
  const facts = [`${t("peak")} ${row.x}, ${row.y}`, `${row.width}x${row.height}`];
  if (!row.map) facts.shift();
  if (row.kind) facts.unshift(shown(row.kind));
  if (row.is_other) first.append(" ", make("span", { class: "faint" }, t("other")));
  if (row.ignored) facts.push(`${t("ignored")}: ${percent(row.ignored)}`);
  return make("div", { class: "info" }, first, make("p", { class: "name", title: shown(row.path) }, nameOf(row)),
    make("p", { class: "faint" }, facts.join(" · ")),
    make("div", { class: "fields" }, markButton(row, "ok"), markButton(row, "ng")));
}
function draw(row, place) {
  const element = make("div", { class: "row", role: "listitem", "aria-current": place === selected });
  element.style.top = `${place * HEIGHT}px`;
  const layers = { photo: [row.thumb, "photo"], heat: [row.map, "heat"], truth: [row.truth, "truth"] };
  const boxes = row.map
    ? [[layers.photo], [layers.heat], [layers.photo, layers.heat, layers.truth]] : [[layers.photo]];
  boxes.forEach((box, i) => {
    const alone = i + 1 < boxes.length ? " alone" : "";
    const shownBox = make("div", { class: `box${alone}` }, frame(row, box, innerWidth <= 600 ? 150 : 240, 182));
    shownBox.addEventListener("click", () => { choose(place); open(); });
    element.append(shownBox);
  });
  element.append(info(row));
  element.addEventListener("click", () => choose(place));
  return element;
}
/** Draws the rows that are in view, and drops the others. */
function scroll() {
  const top = -list.getBoundingClientRect().top;
  const from = Math.max(0, Math.floor(top / HEIGHT) - 2);
  const to = Math.min(listed.length, Math.ceil((top + innerHeight) / HEIGHT) + 2);
  for (const [place, element] of drawn) {
    if (place < from || place >= to) { element.remove(); drawn.delete(place); }
  }
  for (let place = from; place < to; place++) {
    if (drawn.has(place)) continue;
    const element = draw(listed[place], place);
    drawn.set(place, element);
    // In order, for the Tab key.
    const next = [...drawn].filter(([other]) => other > place).sort(([a], [b]) => a - b)[0];
    list.insertBefore(element, next ? next[1] : null);
  }
}
function redraw() {
  drawn.clear();
  list.replaceChildren();
  scroll();
  count();
}
function choose(place) {
  selected = Math.max(0, Math.min(listed.length - 1, place));
  for (const [at, element] of drawn) element.setAttribute("aria-current", at === selected);
}
function move(by) {
  choose(selected < 0 ? 0 : selected + by);
  const rect = list.getBoundingClientRect(), top = rect.top + selected * HEIGHT;
  if (top < 0) scrollBy(0, top - 10);
  if (top + HEIGHT > innerHeight) scrollBy(0, top + HEIGHT - innerHeight + 10);
  scroll();
}

// Marks.
function setMark(row, mark) {
  if (mark) marks.set(row.path, mark); else marks.delete(row.path);
  unsaved = true;
  stored(key, JSON.stringify(Object.fromEntries(marks)));
  const place = listed.indexOf(row), element = drawn.get(place);
  if (element) {
    const focused = element.contains(document.activeElement) && document.activeElement.className;
    const fresh = draw(row, place);
    element.replaceWith(fresh);
    drawn.set(place, fresh);
    if (focused) fresh.querySelector(`button.${focused}`)?.focus();
  }
  if (byId("full").open) fullButtons();
  count();
}
const toggle = (row, mark) => setMark(row, marks.get(row.path) === mark ? null : mark);
/** One line of CSV. A path that a spreadsheet would read as a formula begins with ./ */
const csvLine = (row) => {
  const path = /^[=+\-@]/.test(row.path) ? `./${row.path}` : row.path;
  return `"${path.replaceAll('"', '""')}",${marks.get(row.path)},${row.score}\n`;
};
function save() {
  // Spreadsheets know UTF-8 by its mark.
  const csv = "\ufeffpath,mark,score\n" + rows.filter((row) => marks.has(row.path)).map(csvLine).join("");
  const link = make("a", { download: "marks.csv", href: URL.createObjectURL(new Blob([csv], { type: "text/csv" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  unsaved = false;
  count();
}
addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });

// Counts.
function count() {
  const verdicts = new Map();
  for (const row of rows) {
    const verdict = verdictOf(row);
    if (verdict) verdicts.set(verdict, (verdicts.get(verdict) || 0) + 1);
  }
  const parts = [`${rows.length} ${t("photos")}`];
  if (listed.length < rows.length) parts.push(`${listed.length} ${t("shown")}`);
  for (const name of ["ok", "ng", "uncertain"]) {
    if (!verdicts.has(name) && !(verdicts.size > 0 && name === "ng")) continue;
    const own = rows.filter((row) => verdictOf(row) === name);
    const labels = ["good", "bad"].map((label) => [label, own.filter((row) => row.label === label).length]);
    const split = labels.filter(([, n]) => n > 0).map(([label, n]) => `${n} ${t(label)}`).join(", ");
    parts.push(`${own.length} ${nameOfVerdict(name)}${split ? ` (${split})` : ""}`);
  }
  byId("counts").textContent = parts.join(" · ");
  const at = line ?? data.line, rate = line === null ? data.false_alarm : lineRate;
  const worth = [];
  if (at !== null && good.length > 0) {
    worth.push(t("rate").replace("{0}", percent(rate)));
    if (line !== null && good.at(-1) <= line) worth.push(t("few"));
  }
  byId("rate").textContent = [...worth, t("drag")].join(" ");
  byId("reset").disabled = line === null;
  // Marks of an earlier run can be of other photos.
  const marked = rows.filter((row) => marks.has(row.path)).length;
  byId("save").disabled = marked === 0;
  byId("marked").textContent = marked === 0 ? "" : `${marked} ${t("marked")}${unsaved ? `, ${t("unsaved")}` : ""}`;
}

// The histogram, with the line as a handle.
const WIDTH = 460, TALL = 150, LEFT = 34, RIGHT = 12, BASE = 118, BINS = 36;
const scored = rows.filter((row) => row.score !== null);
const scores = scored.map((row) => row.score).concat(good);
const least = scores.reduce((a, b) => Math.min(a, b), Infinity), most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
const span = most - least || 1;
const xOf = (score) => LEFT + (score - least) / span * (WIDTH - LEFT - RIGHT);
const svg = (tag, attributes, text) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
};
/** Where the line stands: where it was dragged to, or the line of the run, or beyond all scores. */
const place = () => line ?? data.line ?? most;
function histogram() {
  if (scores.length === 0) return;
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${TALL}`, role: "group", "aria-label": t("histogram") });
  const groups = rows.some((row) => row.label) ? ["good", "bad"]
    : rows.some(verdictOf) ? ["ok", "uncertain", "ng"] : ["ok"];
  const groupOf = (row) => row.label || verdictOf(row) || "ok";
  const counts = Array.from({ length: BINS }, () => new Map());
  for (const row of scored) {
    const bin = counts[Math.min(BINS - 1, Math.floor((row.score - least) / span * BINS))];
    bin.set(groupOf(row), (bin.get(groupOf(row)) || 0) + 1);
  }
  const total = (bin) => [...bin.values()].reduce((a, b) => a + b, 0);
  const highest = Math.max(1, ...counts.map(total)), wide = (WIDTH - LEFT - RIGHT) / BINS;
  counts.forEach((bin, i) => {
    let below = 0;
    for (const group of groups) {
      const tall = (bin.get(group) || 0) / highest * (BASE - 14);
      below += tall;
      if (tall > 0) picture.append(svg("rect", { x: LEFT + i * wide, y: BASE - below, width: wide - 1, height: tall, fill: `var(--${group})` }));
    }
  });
  picture.append(svg("path", { d: `M${LEFT} 12V${BASE}H${WIDTH - RIGHT}`, fill: "none", stroke: "currentColor" }));
  const text = (x, y, anchor, value) => picture.append(svg("text", { x, y, "text-anchor": anchor }, value));
  text(LEFT - 4, 20, "end", highest);
  text(LEFT, BASE + 14, "start", least.toFixed(3));
  text(WIDTH - RIGHT, BASE + 14, "end", most.toFixed(3));
  if (groups.length > 1) {
    groups.forEach((group, i) => {
      picture.append(svg("rect", { x: LEFT + i * 95, y: BASE + 21, width: 9, height: 9, fill: `var(--${group})` }));
      text(LEFT + 13 + i * 95, BASE + 29, "start", t(group));
    });
  }
  const handle = svg("g", {
    class: "handle", tabindex: 0, role: "slider", "aria-label": t("line"),
    "aria-valuemin": least, "aria-valuemax": most, "aria-valuenow": place().toFixed(4),
  });
  const x = xOf(place());
  handle.append(svg("rect", { x: x - 9, y: 0, width: 18, height: BASE, fill: "transparent" }),
    svg("path", { d: `M${x} 8V${BASE}`, stroke: "currentColor", "stroke-width": 2, "stroke-dasharray": line === null ? "4 3" : "none" }),
    svg("path", { d: `M${x - 7} 0h14v6l-7 8l-7-8z`, fill: "currentColor" }),
    svg("text", { x: x + (x > WIDTH / 2 ? -10 : 10), y: 11, "text-anchor": x > WIDTH / 2 ? "end" : "start" }, line === null && data.line === null ? t("no_line") : `${t("line")} ${place().toFixed(3)}`));
  picture.append(handle);
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const stops = [...new Set(good.length ? good : scores)].sort((a, b) => a - b);
    const next = step > 0 ? stops.find((stop) => stop > place()) : stops.findLast((stop) => stop < place());
    if (next !== undefined) setLine(next);
    byId("chart").querySelector(".handle").focus();
  });
  byId("chart").replaceChildren(picture);
}
let dragging = false;
function drag(event) {
  const box = byId("chart").getBoundingClientRect();
  const at = least + ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT) * span;
  setLine(Math.max(least, Math.min(most, at)), true);
}
byId("chart").addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  dragging = true;
  byId("chart").setPointerCapture(event.pointerId);
  drag(event);
});
byId("chart").addEventListener("pointermove", (event) => { if (dragging) drag(event); });
for (const end of ["pointerup", "pointercancel"]) {
  byId("chart").addEventListener(end, () => { if (dragging) { dragging = false; choices(); filter(); } });
}
function setLine(at, isMoving = false) {
  // Between two good photos no line differs from the lower one.
  const below = good.findLast((score) => score <= at);
  line = at === null ? null : below ?? at;
  // The line of the run has the rate that was asked for.
  lineRate = line === null ? null : line === data.line ? data.false_alarm : rateOf(line);
  histogram();
  if (isMoving) count(); else { choices(); filter(); }
}

// Full size. The photo itself, if it is where it was; else its small picture.
const full = byId("full");
let zoomed = false;
function open() {
  const row = listed[selected];
  if (!row) return;
  const [width, height] = zoomed ? [row.width, row.height] : [innerWidth * 0.94, innerHeight * 0.72];
  const box = frame(row, [[row.photo || row.thumb, "photo"], [row.map, "heat"], [row.truth, "truth"]],
    width, height);
  box.addEventListener("click", () => { zoomed = !zoomed; open(); });
  const photo = box.querySelector(".photo");
  if (photo) photo.addEventListener("error", () => { photo.src = url(row.thumb); }, { once: true });
  if (row.map && byId("ring").checked) {
    const ring = make("div", { class: "peak" });
    ring.style.left = `${(row.x + 0.5) / row.width * 100}%`;
    ring.style.top = `${(row.y + 0.5) / row.height * 100}%`;
    box.append(ring);
  }
  byId("stage").replaceChildren(box);
  const verdict = verdictOf(row);
  byId("caption").textContent =
    [number(row.score), verdict && nameOfVerdict(verdict), row.kind && shown(row.kind), nameOf(row)].filter(Boolean).join(" · ");
  byId("picture").hidden = !row.overlay;
  if (row.overlay) byId("picture").href = url(row.overlay);
  fullButtons();
  if (!full.open) full.showModal();
}
function fullButtons() {
  for (const mark of ["ok", "ng"]) {
    full.querySelector(`.${mark}`).setAttribute("aria-pressed", marks.get(listed[selected]?.path) === mark);
  }
}
const step = (by) => { zoomed = false; move(by); open(); };
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => full.close());
byId("ring").addEventListener("change", open);
for (const mark of ["ok", "ng"]) {
  full.querySelector(`.${mark}`).addEventListener("click", () => toggle(listed[selected], mark));
}

// Keys.
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  // Above the list the arrows move the page.
  const isListed = full.open || list.contains(document.activeElement) || list.getBoundingClientRect().top < innerHeight - HEIGHT;
  if (event.target.matches("input[type=search], select, input[type=range]")) return;
  const moves = full.open
    ? { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 } : { ArrowUp: -1, ArrowDown: 1 };
  // `code` is the place of the key: an input method changes its letter.
  const row = listed[selected], mark = { KeyO: "ok", KeyN: "ng", KeyU: null }[event.code];
  if (moves[event.key] && isListed) { if (full.open) step(moves[event.key]); else move(moves[event.key]); }
  else if (event.key === "Enter" && !full.open && !event.target.matches("button, summary, a") && row) open();
  else if (mark !== undefined && row && !event.repeat) setMark(row, mark);
  else return;
  event.preventDefault();
});

// Choices and labels.
function options(id, entries) {
  const select = byId(id), was = select.value;
  select.replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
  if (entries.some(([value]) => value === was)) select.value = was;
  select.parentElement.hidden = entries.length < 3;
}
const distinct = (values) => [...new Set(values)].sort();
function choices() {
  const all = ["", t("all")], named = (name) => [name, t(name)];
  const there = ["ok", "ng", "uncertain"].filter((name) => rows.some((row) => verdictOf(row) === name));
  const labels = ["good", "bad"].filter((name) => rows.some((row) => row.label === name));
  options("sort", ["high", "low", "by_name"].map(named));
  options("verdict", [all, ...there.map(named), ...labels.map(named)]);
  options("mark", [all, ...["ok", "ng", "unmarked"].map(named)]);
  // A letter before each value keeps an empty value apart from "all".
  options("kind", [all, ...distinct(rows.map((row) => row.kind || "")).map((kind) => [`=${kind}`, shown(kind) || t("none")])]);
  options("folder", [all, ...distinct(rows.map(folderOf)).map((name) => [`=${name}`, shown(name.slice(common.length)) || "."])]);
  options("language", Object.entries(languages).map(([code, words]) => [code, words.language_name]));
  byId("language").value = language;
}
function label() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  const { low, high, of, colours } = data.scale;
  byId("low").textContent = of === "image" ? "" : low.toFixed(2);
  byId("high").textContent = of === "image" ? "" : high.toFixed(2);
  byId("colours").style.background = `linear-gradient(to right, ${colours.join(",")})`;
  byId("meaning").textContent = [t(of), rows.some((row) => row.truth) && t("truth")].filter(Boolean).join("; ");
  document.querySelector(".legend").hidden = !rows.some((row) => row.map);
  choices();
  histogram();
  filter();
}
for (const id of ["sort", "verdict", "mark", "kind", "folder"]) byId(id).addEventListener("change", filter);
byId("name").addEventListener("input", filter);
for (const id of ["strength", "full-strength"]) {
  byId(id).addEventListener("input", (event) => {
    for (const other of ["strength", "full-strength"]) byId(other).value = event.target.value;
    document.documentElement.style.setProperty("--strength", event.target.value / 100);
  });
}
byId("language").addEventListener("change", (event) => {
  language = event.target.value;
  stored("blemish language", language);
  label();
});
byId("reset").addEventListener("click", () => {
  setLine(null);
  list.focus({ preventScroll: true });
});
byId("save").addEventListener("click", save);
addEventListener("scroll", scroll, { passive: true });
addEventListener("resize", scroll);
label();
})();
