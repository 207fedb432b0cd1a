"use strict";
// The plots of the group page. All data stand in the page; nothing is loaded.
const data = JSON.parse(document.getElementById("data").textContent);
const scans = data.scans;
const WIDTH = 1000, LEFT = 230, RIGHT = 20, TOP = 10, BOTTOM = 44, SPREAD = 9, HIGH = 700;
const MISSING = 65535, MOST = 65534;
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#8c564b", "#bcbd22", "#17becf"];
const OTHER = "#adb5bd";
const GRADIENT = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
let colour = null;  // the column by which points are coloured; null for none

function element(parent, name, attributes = {}, text = null) {
  const svg = name === "svg" || parent.namespaceURI.endsWith("svg");
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  parent.appendChild(made);
  return made;
}

// Values of a row by acquisition; null where there is none.
function unpack(row) {
  if (!row.unpacked) {
    const bytes = Uint8Array.from(atob(row.values), one => one.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    row.unpacked = scans.participant.map((_, n) => {
      const integer = view.getUint16(2 * n, true);
      return integer === MISSING ? null : row.low + integer / MOST * (row.high - row.low);
    });
  }
  return row.unpacked;
}

function quantile(sorted, share) {
  const place = share * (sorted.length - 1), below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

function ticks(low, high) {
  const rough = (high - low) / 7, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(one => one * power >= rough);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) found.push(+(n * step).toPrecision(6));
  return found;
}

const short = value => String(+value.toPrecision(3));

// Columns that can colour the points: the session, and the columns of the tables.
const columns = [...scans.columns];
if (scans.sessions.length > 1) columns.unshift({name: "session", levels: scans.sessions, codes: scans.session});

function gradient(share) {
  const place = Math.min(Math.max(share, 0), 1) * (GRADIENT.length - 1), below = Math.min(Math.floor(place), GRADIENT.length - 2);
  return `rgb(${GRADIENT[below].map((one, n) => Math.round(one + (place - below) * (GRADIENT[below + 1][n] - one))).join(",")})`;
}

function range(column) {
  const known = column.numbers.filter(one => one !== null);
  return [Math.min(...known), Math.max(...known)];
}

function fill(scan) {
  if (colour === null) return null;
  if (colour.numbers) {
    const value = colour.numbers[scan], [low, high] = range(colour);
    return value === null ? OTHER : gradient((value - low) / (high - low || 1));
  }
  return colour.codes[scan] < 0 ? OTHER : PALETTE[colour.codes[scan]] ?? OTHER;
}

function paint(root) {
  for (const link of root.querySelectorAll("a[data-scan]")) {
    const chosen = fill(+link.dataset.scan);
    link.classList.toggle("coloured", chosen !== null);
    link.querySelector(".point").style.fill = chosen ?? "";
  }
}

// Draw the axis. A plot that is higher than a window also has an axis on its top.
function frame(holder, rowsHeight, axis, unit, marks) {
  holder.replaceChildren();
  const isHigh = rowsHeight > HIGH, top = isHigh ? TOP + 20 : TOP, height = top + rowsHeight + BOTTOM;
  const svg = element(holder, "svg", {class: "strips", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": unit});
  const place = value => LEFT + (value - axis[0]) / (axis[1] - axis[0]) * (WIDTH - RIGHT - LEFT);
  const bottom = height - BOTTOM;
  for (const tick of ticks(...axis)) {
    element(svg, "line", {class: tick === 0 ? "zero" : "grid", x1: place(tick), x2: place(tick), y1: top, y2: bottom});
    if (isHigh) element(svg, "text", {class: "tick", x: place(tick), y: top - 8, "text-anchor": "middle"}, String(tick));
    element(svg, "text", {class: "tick", x: place(tick), y: bottom + 17, "text-anchor": "middle"}, String(tick));
  }
  element(svg, "text", {class: "tick", x: (LEFT + WIDTH - RIGHT) / 2, y: bottom + 37, "text-anchor": "middle"}, unit);
  for (const mark of marks) element(svg, "line", {class: "literature", x1: place(mark), x2: place(mark), y1: top, y2: bottom});
  return [svg, place, top];
}

function label(svg, text, y, attributes = {}) {
  const shown = text.length > 30 ? text.slice(0, 29) + "…" : text;
  const made = element(svg, "text", {x: LEFT - 10, y: y + 5, "text-anchor": "end", ...attributes}, shown);
  if (shown !== text) element(made, "title", {}, text);
  return made;
}

// A strip plot: a row for each method and session, with the sessions of a participant joined.
function strips(holder, plot) {
  const sessions = scans.sessions.length > 1 ? [...scans.sessions.keys(), -1] : [null];
  const rows = [];
  for (const row of plot.rows) {
    const values = unpack(row);
    for (const session of sessions) {
      const list = [...values.keys()].filter(n => values[n] !== null && (session === null || scans.session[n] === session));
      if (list.length) rows.push({row, values, list, session, first: rows.at(-1)?.row !== row});
    }
  }
  const step = sessions.length > 1 ? 34 : 48;
  const [svg, place, top] = frame(holder, step * rows.length, plot.axis, plot.unit, plot.marks ?? []);
  const lines = element(svg, "g", {class: "lines"}), left = LEFT, right = WIDTH - RIGHT;
  const position = new Map();
  let last = null, joined = new Map();
  rows.forEach((one, number) => {
    const y = top + step * (number + 0.5);
    if (one.row !== last) { joined = new Map(); last = one.row; }
    if (one.first && number) element(svg, "line", {class: "grid", x1: 0, x2: WIDTH - RIGHT, y1: y - step / 2, y2: y - step / 2});
    const session = one.session === null || one.session < 0 ? "" : scans.sessions[one.session];
    label(svg, [plot.rows.length > 1 || !session ? (one.first ? one.row.name : "") : "", session].filter(Boolean).join(", "), y);
    const sorted = one.list.map(n => one.values[n]).sort((a, b) => a - b), median = quantile(sorted, 0.5);
    element(svg, "line", {class: "median", x1: place(median), x2: place(median), y1: y - step * 0.38, y2: y + step * 0.38});
    const outliers = new Set(one.row.outliers);
    let usual = 0, odd = 0;
    for (const n of one.list) {
      const value = one.values[n], isOutlier = outliers.has(n);
      const share = isOutlier ? [0, -1, 1][odd++ % 3] : 2 * ((usual++ * 0.6180339887) % 1) - 1;
      const x = Math.min(Math.max(place(value), left), right), py = y + SPREAD * share * (step / 34);
      const before = joined.get(scans.participant[n]);
      if (before) element(lines, "line", {x1: before[0], y1: before[1], x2: x, y2: py, "data-participant": scans.participant[n]});
      joined.set(scans.participant[n], [x, py]);
      point(svg, n, value, x, py, isOutlier, one.row.verdicts?.[n], (value > plot.axis[1]) - (value < plot.axis[0]), plot);
    }
  });
  paint(svg);
}

function point(svg, n, value, x, y, isOutlier, verdict, beyond, plot) {
  const link = element(svg, "a", {href: scans.links[n], "data-scan": n, "data-participant": scans.participant[n], class: isOutlier ? "outlier" : verdict ?? ""});
  if (beyond) element(link, "path", {class: "point", d: `M${x},${y} l${-9 * beyond},-5 v10 z`});
  else element(link, "circle", {class: "point", cx: x, cy: y, r: 4});
  const name = () => {
    if (link.querySelector(".name")) return;
    const toLeft = x > LEFT + 0.7 * (WIDTH - RIGHT - LEFT);
    const words = verdict ? `, ${verdict === "none" ? "no verdict" : verdict}` : "";
    element(link, "text", {class: "name", x: x + (toLeft ? -9 : 9), y: y + 5, "text-anchor": toLeft ? "end" : "start"}, `${scans.names[n]}: ${short(value)}${words}`);
  };
  if (isOutlier) name();
  for (const event of ["mouseenter", "focus"]) link.addEventListener(event, () => {
    name();
    // in front of other points; a link that is moved would lose the focus, and be entered again
    if (event === "mouseenter" && svg.lastElementChild !== link) svg.appendChild(link);
    choose(scans.participant[n], plot);
  });
}

// Show all scans of a participant, and mark them in all plots.
const panel = document.getElementById("participant");
function choose(participant, plot) {
  for (const old of document.querySelectorAll(".same")) old.classList.remove("same");
  if (participant === null) { panel.hidden = true; return; }
  for (const one of document.querySelectorAll(`[data-participant="${participant}"]`)) one.classList.add("same");
  panel.replaceChildren();
  panel.hidden = false;
  const list = [...scans.participant.keys()].filter(n => scans.participant[n] === participant);
  element(panel, "strong", {}, scans.participants[participant]);
  element(panel, "button", {type: "button", "aria-label": "close"}, "×").addEventListener("click", () => choose(null));
  const about = scans.columns.map(column => {
    const values = [...new Set(list.map(n => column.numbers ? column.numbers[n] : column.levels[column.codes[n]]))].filter(one => one !== null && one !== undefined);
    return values.length ? `${column.name}: ${values.join(", ")}` : null;
  }).filter(Boolean);
  if (about.length) element(panel, "span", {class: "about"}, about.join("; "));
  const items = element(panel, "ul");
  for (const n of list) {
    const item = element(items, "li");
    element(item, "a", {href: scans.links[n]}, scans.names[n]);
    const values = plot.rows.map(row => [row.name, unpack(row)[n]]).filter(([, value]) => value !== null);
    if (values.length) item.append(": " + values.slice(0, 6).map(([name, value]) => `${plot.rows.length > 1 ? name + " " : ""}${short(value)}`).join(", "));
  }
}
document.addEventListener("keydown", event => { if (event.key === "Escape") choose(null); });

// Draw a plot when it comes near the window: thousands of points take time.
const observer = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) {
    observer.unobserve(entry.target);
    strips(entry.target, data.plots[entry.target.dataset.plot]);
  }
}, {rootMargin: "600px"});
for (const holder of document.querySelectorAll("[data-plot]")) {
  const n = data.plots[holder.dataset.plot].rows.length * Math.max(scans.sessions.length, 1);
  holder.style.minHeight = `${30 * n}px`;
  observer.observe(holder);
}

// The select element of columns, and the legend.
const select = document.getElementById("colour"), legend = document.getElementById("legend");
for (const column of columns) element(select, "option", {value: column.name}, column.name);
if (columns.length) document.getElementById("controls").hidden = false;
function recolour() {
  colour = columns.find(one => one.name === select.value) ?? null;
  legend.replaceChildren();
  const entry = (background, text) => {
    element(legend, "i", {style: `background:${background}`});
    element(legend, "span", {}, text);
  };
  if (colour?.numbers) {
    const [low, high] = range(colour);
    element(legend, "span", {}, short(low));
    element(legend, "i", {class: "gradient", style: `background:linear-gradient(90deg,${[0, 0.25, 0.5, 0.75, 1].map(gradient).join(",")})`});
    element(legend, "span", {}, short(high));
  } else if (colour) colour.levels.forEach((level, n) => entry(PALETTE[n] ?? OTHER, level));
  if (colour && scans.participant.some((_, n) => (colour.numbers ? colour.numbers[n] === null : colour.codes[n] < 0))) entry(OTHER, "n/a");
  paint(document);
}
select.addEventListener("change", recolour);
if (data.colour !== null) select.value = data.colour;
recolour();

// The Bland-Altman plots stay in a template until they are opened.
for (const block of document.querySelectorAll("details.agreement")) block.addEventListener("toggle", () => {
  const template = block.querySelector("template");
  if (template) template.replaceWith(template.content);
});

// Regions: an overview of all regions of one family, and the points of the chosen region.
const families = data.blocks.map(one => [one.atlas, one.method, one.acquisition === "n/a" ? "" : one.acquisition, one.erosion ? `eroded by ${one.erosion}` : "not eroded"].filter(Boolean).join(", "));
const family = document.getElementById("family"), filter = document.getElementById("filter");
const overview = document.getElementById("regions"), detail = document.getElementById("region"), forest = document.getElementById("forest");
function drawRegion(row) {
  strips(detail, {rows: [row], axis: row.axis, unit: `median conductivity of ${row.name}, S/m`});
}
function matching(name) { return name.toLowerCase().includes(filter.value.trim().toLowerCase()); }
function drawRegions() {
  const block = data.blocks[family.value], rows = block.rows.filter(row => matching(row.name)), step = 18;
  const [svg, place, top] = frame(overview, step * rows.length, block.axis, "median conductivity, S/m", []);
  const inside = value => Math.min(Math.max(place(value), LEFT), WIDTH - RIGHT);
  rows.forEach((row, number) => {
    const y = top + step * (number + 0.5), values = unpack(row), outliers = new Set(row.outliers);
    const usual = values.filter((one, n) => one !== null && !outliers.has(n)).sort((a, b) => a - b);
    const group = element(svg, "g", {class: "row", tabindex: 0, role: "button"});
    element(group, "rect", {x: 0, y: y - step / 2, width: WIDTH, height: step, class: "hit"});
    label(group, row.name, y);
    if (usual.length) {
      const [low, q1, median, q3, high] = [0, 0.25, 0.5, 0.75, 1].map(share => inside(quantile(usual, share)));
      element(group, "line", {class: "whole", x1: low, x2: high, y1: y, y2: y});
      element(group, "rect", {class: "box", x: q1, width: Math.max(q3 - q1, 1), y: y - 5, height: 10});
      element(group, "line", {class: "median", x1: median, x2: median, y1: y - 6, y2: y + 6});
    }
    for (const n of row.outliers) {
      const link = element(group, "a", {href: scans.links[n], "data-participant": scans.participant[n], class: "outlier"});
      element(link, "circle", {class: "point", cx: inside(values[n]), cy: y, r: 3});
      element(link, "title", {}, `${scans.names[n]}: ${short(values[n])}`);
    }
    const draw = () => {
      for (const old of overview.querySelectorAll(".chosen")) old.classList.remove("chosen");
      group.classList.add("chosen");
      drawRegion(row);
    };
    group.addEventListener("click", draw);
    group.addEventListener("keydown", event => { if (event.key === "Enter") draw(); });
    if (number === 0) draw();
  });
  if (!rows.length) detail.replaceChildren();
  document.getElementById("matches").textContent = `${rows.length} of ${block.rows.length} regions`;
  if (forest) drawForest(block);
}

// Effects of one term in the regions of the chosen family, with their intervals.
const term = document.getElementById("term");
const termOf = row => row.level === null ? `${row.term} (per unit)` : `${row.term}: ${row.level} − ${row.reference}`;
function drawForest(block) {
  const keys = ["atlas", "method", "acquisition", "erosion"];
  const rows = data.effects.filter(row => keys.every(key => row[key] === block[key]) && termOf(row) === term.value && row.estimate !== null && matching(row.region));
  if (!rows.length) { forest.replaceChildren(); return; }
  // the axis contains 0, and is at least a tenth of the median conductivity wide on each side
  const medians = block.rows.map(row => unpack(row).filter(one => one !== null).sort((a, b) => a - b)).filter(one => one.length).map(one => quantile(one, 0.5)).sort((a, b) => a - b);
  const least = rows[0].level === null ? 0 : 0.1 * Math.abs(quantile(medians, 0.5));
  const axis = [1.05 * Math.min(-least, ...rows.map(row => row.ci_low)), 1.05 * Math.max(least, ...rows.map(row => row.ci_high))];
  const step = 18, unit = rows[0].level === null ? `change of conductivity per unit of ${rows[0].term}, S/m` : "difference of conductivity, S/m";
  const [svg, place, top] = frame(forest, step * rows.length, axis, unit, []);
  rows.forEach((row, number) => {
    const y = top + step * (number + 0.5), group = element(svg, "g", {class: row.p_corrected < 0.05 ? "effect certain" : "effect"});
    label(group, row.region, y);
    element(group, "line", {x1: place(row.ci_low), x2: place(row.ci_high), y1: y, y2: y});
    element(group, "rect", {x: place(row.estimate) - 4, y: y - 4, width: 8, height: 8});
    const g = row.hedges_g === null ? "" : `, Hedges' g ${short(row.hedges_g)}`;
    element(group, "title", {}, `${row.region}: ${short(row.estimate)} (${short(row.ci_low)} to ${short(row.ci_high)}) S/m${g}, corrected p ${short(row.p_corrected)}, n = ${row.n}`);
  });
}
if (family) {
  families.forEach((name, n) => element(family, "option", {value: n}, name));
  if (term) for (const name of new Set(data.effects.map(termOf))) element(term, "option", {value: name}, name);
  for (const one of [family, term]) one?.addEventListener("change", drawRegions);
  filter.addEventListener("input", drawRegions);
  drawRegions();
}
