"use strict";
// Three orthogonal slices of the maps over the magnitude. All data are in the page.
const data = JSON.parse(document.getElementById("data").textContent);
const PLANES = {2: [0, 1], 1: [0, 2], 0: [1, 2]};  // horizontal and vertical axis, by the axis of the slices
const ENDS = [["L", "R"], ["P", "A"], ["I", "S"]], LETTERS = "xyz", GAP = 36;
const [method, kind, opacity, shown, holder] = ["method", "kind", "opacity", "value", "planes"].map(id => document.getElementById(id));
const rgb = Object.fromEntries(Object.entries(data.colours).map(([name, colours]) => [name, colours.map(one => [1, 3, 5].map(n => parseInt(one.slice(n, n + 2), 16)))]));
const unpacked = new Map();
const planes = [];
let cross = data.cross, volumes = {};

// The bytes of a volume are compressed by zlib and written in base64.
async function unpack(text) {
  if (!text) return null;
  if (!unpacked.has(text)) {
    const packed = Uint8Array.from(atob(text), one => one.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    unpacked.set(text, new Uint8Array(await new Response(stream).arrayBuffer()));
  }
  return unpacked.get(text);
}

const index = ([x, y, z]) => (x * data.shape[1] + y) * data.shape[2] + z;

// The number that a code represents.
function number(name, code) {
  const {first, last, step, digits} = data.steps[name];
  if (code > last) return `> ${((last - first) * step).toFixed(digits)}`;
  return ((code - first) * step).toFixed(digits);
}

function describe(voxel) {
  if (!volumes.conductivity) return;  // still loading
  const n = index(voxel), code = volumes.conductivity[n], std = volumes.std?.[n];
  const mm = data.affine.map(row => Math.round(row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3]));
  const known = data.texts[code];
  const noise = std ? ` ± ${number("std", std)}` : "";
  shown.replaceChildren();
  const add = (tag, content) => { const made = document.createElement(tag); made.textContent = content; shown.append(made); };
  add("b", known ?? `${number("conductivity", code)}${noise} S/m`);
  if (!known) add("span", std ? "± noise standard deviation" : volumes.std ? "invalid noise standard deviation" : "no noise map");
  add("span", mm.map((one, axis) => `${LETTERS[axis]} = ${one}`).join(", ") + " mm");
  add("span", volumes.labels[n] ? data.tissues[volumes.labels[n] - 1] : "");
}

function draw() {
  const values = volumes[kind.value], colours = rgb[kind.value], share = opacity.value / 100;
  for (const {axis, canvas, lines} of planes) {
    const [h, v] = PLANES[axis], width = data.shape[h], height = data.shape[v], voxel = [...cross];
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    for (let b = 0; b < height; b++) for (let a = 0; a < width; a++) {
      voxel[h] = a; voxel[v] = b;
      const n = index(voxel), at = 4 * ((height - 1 - b) * width + a), gray = 255 * (volumes.magnitude?.[n] ?? 0) / data.white;
      const inside = values && volumes.conductivity[n] ? share : 0;
      for (let c = 0; c < 3; c++) image.data[at + c] = inside * (colours[values?.[n] ?? 0][c]) + (1 - inside) * gray;
      image.data[at + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    lines[0].style.left = `${100 * (cross[h] + 0.5) / width}%`;
    lines[1].style.top = `${100 * (1 - (cross[v] + 0.5) / height)}%`;
  }
}

// Scale the slices to the window.
function fit() {
  const wide = planes.reduce((sum, {axis}) => sum + data.shape[PLANES[axis][0]] * data.size[PLANES[axis][0]], 0);
  const high = Math.max(...planes.map(({axis}) => data.shape[PLANES[axis][1]] * data.size[PLANES[axis][1]]));
  const scale = Math.min((innerWidth - GAP * planes.length) / wide, (innerHeight - holder.offsetTop - GAP) / high);
  for (const {axis, box} of planes) {
    const [width, height] = PLANES[axis].map(one => Math.max(1, data.shape[one] * data.size[one] * scale));
    box.style.width = `${width}px`;
    box.style.height = `${height}px`;
  }
}

function addPlane(axis) {
  const [h, v] = PLANES[axis], box = document.createElement("div"), canvas = document.createElement("canvas");
  box.className = "plane";
  [canvas.width, canvas.height] = [data.shape[h], data.shape[v]];
  box.append(canvas);
  const lines = ["top: 0; bottom: 0; width: 1px", "left: 0; right: 0; height: 1px"].map(style => {
    const line = document.createElement("i");
    line.style = style;
    box.append(line);
    return line;
  });
  const places = ["left: -14px; top: calc(50% - 9px)", "right: -14px; top: calc(50% - 9px)", "left: calc(50% - 4px); bottom: -18px", "left: calc(50% - 4px); top: -18px"];
  [...ENDS[h], ...ENDS[v]].forEach((letter, n) => {
    const mark = document.createElement("span");
    mark.style = places[n];
    mark.textContent = letter;
    box.append(mark);
  });
  const under = event => {
    const {left, top, width, height} = box.getBoundingClientRect(), voxel = [...cross];
    const at = (share, n) => Math.min(Math.max(Math.floor(share * n), 0), n - 1);
    voxel[h] = at((event.clientX - left) / width, data.shape[h]);
    voxel[v] = at(1 - (event.clientY - top) / height, data.shape[v]);
    return voxel;
  };
  const move = event => {
    const voxel = under(event);
    if (event.buttons) { cross = voxel; draw(); }
    describe(voxel);
  };
  box.addEventListener("pointermove", move);
  box.addEventListener("pointerdown", event => { box.setPointerCapture(event.pointerId); cross = under(event); draw(); describe(cross); });
  box.addEventListener("pointerleave", () => describe(cross));
  holder.append(box);
  planes.push({axis, box, canvas, lines});
}

// Load and draw the map of the chosen method.
async function load() {
  const chosen = data.maps[method.value];
  kind.options[1].disabled = !chosen.std;
  if (!chosen.std) kind.value = "conductivity";
  const texts = {conductivity: chosen.conductivity, std: chosen.std, magnitude: data.magnitude, labels: data.labels};
  const entries = await Promise.all(Object.entries(texts).map(async ([name, one]) => [name, await unpack(one)]));
  if (chosen !== data.maps[method.value]) return;  // another method was chosen in the meantime
  volumes = Object.fromEntries(entries);
  draw();
  describe(cross);
}

function show() {
  load().catch(error => { shown.textContent = `The maps cannot be shown (${error.message}). The viewer needs Chrome 80, Firefox 113, Safari 16.4 or a later version.`; });
}

for (const name of Object.keys(data.maps)) method.add(new Option(name));
method.value = data.selected;
data.axes.forEach(addPlane);
method.addEventListener("change", show);
for (const one of [kind, opacity]) one.addEventListener("input", draw);
addEventListener("resize", fit);
fit();
show();
