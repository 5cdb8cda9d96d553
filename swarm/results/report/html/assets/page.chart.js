// The parts that all pictures of the page share. Text from the run only ever becomes text nodes, never markup.
window.addEventListener("error", event => {
  const box = document.getElementById("failed");
  box.hidden = false;
  box.textContent = "A picture of this page failed: " + event.message;
});
const D = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const NS = $("svgroot").namespaceURI;
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const hidden = new Set();
const colour = arm => dark.matches ? arm.dark : arm.light;
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function svg(parent, tag, attributes, text) {
  const node = document.createElementNS(NS, tag);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}
function html(parent, tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  parent.appendChild(node);
  return node;
}

// ---- numbers as people read them
function bytes(v) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0;
  while (Math.abs(v) >= 1024 && i < 5) { v /= 1024; i++; }
  return +v.toPrecision(3) + " " + units[i];
}
function plain(v) {
  if (v === 0) return "0";
  const size = Math.abs(v);
  if (size >= 1e6 || size < 1e-3) return v.toExponential(1).replace("e+", "e").replace(".0e", "e");
  return String(+v.toPrecision(4));
}
const score = v => v.toFixed(3);
const seconds = v => v < 120 ? +v.toPrecision(3) + " s" : v < 7200 ? +(v / 60).toPrecision(3) + " min" : +(v / 3600).toPrecision(3) + " h";
const formatOf = name => name.startsWith("bytes") ? bytes : name.endsWith("_s") ? seconds
  : D.shares.includes(name) ? score : plain;

// ---- scales
function ticks(low, high, count) {
  const rough = (high - low) / count, power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 2.5, 5, 10].map(m => m * power).find(s => s >= rough) || power;
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i++) out.push(+(i * step).toPrecision(12));
  return out;
}
function logTicks(low, high, count, base) {
  const from = Math.ceil(Math.log(low) / Math.log(base) - 1e-9), to = Math.floor(Math.log(high) / Math.log(base) + 1e-9);
  if (to - from < 2 && base === 4) return logTicks(low, high, count, 2);
  if (to - from < 2 && base === 10) {
    const fine = [from - 1, from, from + 1, from + 2].flatMap(i => [1, 2, 5].map(m => m * Math.pow(10, i))).filter(v => v >= low && v <= high);
    return fine.length > 1 ? fine : ticks(low, high, count);
  }
  const every = Math.max(1, Math.ceil((to - from + 1) / count)), out = [];
  for (let i = from; i <= to; i += every) out.push(Math.pow(base, i));
  return out.length > 1 ? out : [low, high];
}
function scale(low, high, a, b, log) {
  const f = log ? Math.log : v => v, lo = f(low), size = f(high) - lo || 1;
  return v => a + (b - a) * (f(v) - lo) / size;
}

// ---- the tooltip
const tip = $("tip");
function showTip(event, head, lines) {
  tip.textContent = "";
  html(tip, "b", head);
  for (const [name, value, tint] of lines) {
    const row = html(tip, "div");
    if (tint) html(row, "i", "", "chip").style.cssText = "margin:0;background:" + tint;
    row.appendChild(document.createTextNode(name));
    html(row, "span", value);
  }
  tip.hidden = false;
  const box = tip.getBoundingClientRect(), right = document.documentElement.clientWidth;
  let x = event.clientX + 16;
  if (x + box.width > right - 8) x = event.clientX - box.width - 16;
  tip.style.left = Math.max(8, x) + window.scrollX + "px";
  tip.style.top = Math.max(8, event.clientY - box.height - 12) + window.scrollY + "px";
}
const hideTip = () => { tip.hidden = true; };

// ---- one line chart; lines: [{arm, points: [[x, y, note]], band: [[x, low, high]]}], marks: [{y, arm}];
// o.changes: [{x, text, tint}], where the data became others; o.zoom: [low, high] of the upright axis. Returns the places of the
// frame, the range of the upright axis and what value a height stands for; null if nothing is drawn.
function chart(box, lines, marks, o) {
  box.textContent = "";
  const width = Math.max(260, box.clientWidth), height = Math.round(Math.min(o.tall, Math.max(230, width * (o.shape || 0.62))));
  const root = svg(box, "svg", {viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": o.title});
  const good = p => p[1] !== null && (!o.logX || p[0] > 0) && (!o.logY || p[1] > 0);
  lines = lines.map(l => ({...l, points: l.points.filter(good), band: (l.band || []).filter(p => good(p) && p[2] !== null)})).filter(l => l.points.length);
  if (!lines.length && !marks.length) {
    svg(root, "text", {x: width / 2, y: height / 2, "text-anchor": "middle"}, "nothing to draw on these axes");
    return null;
  }
  const xs = lines.flatMap(l => l.points.map(p => p[0]));
  let ys = lines.flatMap(l => l.points.map(p => p[1]).concat(l.band.flatMap(p => [p[1], p[2]]))).concat(marks.map(m => m.y));
  let x0 = Math.min(...xs), x1 = Math.max(...xs), y1 = Math.max(...ys), y0 = Math.min(...ys);
  if (!xs.length) { x0 = 1; x1 = 2; }
  if (x0 === x1) { x0 = o.logX ? x0 / 2 : x0 - 0.5; x1 = o.logX ? x1 * 2 : x1 + 0.5; }
  if (o.yRange) [y0, y1] = o.yRange;
  else if (!o.logY && y0 < -1 && y1 <= 1) { ys.sort((a, b) => a - b); y0 = Math.max(y0, Math.min(-1, ys[Math.floor(ys.length / 5)])); }
  if (o.zoom) [y0, y1] = o.zoom;
  else if (o.logY) { y0 /= 1.2; y1 *= 1.2; } else { const m = 0.05 * (y1 - y0 || Math.abs(y1) || 1); y0 -= m; y1 += m; }
  const yTicks = o.logY ? logTicks(y0, y1, 7, 10) : ticks(y0, y1, 5);
  let yText = yTicks.map(o.yTick || o.yFormat);
  for (let digits = 5; new Set(yText).size < yText.length && digits < 16; digits++) yText = yTicks.map(v => String(+v.toPrecision(digits)));
  const left = 14 + 7.2 * Math.max(...yText.map(t => t.length)), right = width - 20, top = 10, bottom = height - 42;
  const X = scale(x0, x1, left, right, o.logX), Y = scale(y0, y1, bottom, top, o.logY), line = css("--line");
  yTicks.forEach((v, i) => {
    svg(root, "line", {x1: left, x2: right, y1: Y(v), y2: Y(v), stroke: line});
    svg(root, "text", {x: left - 8, y: Y(v) + 4, "text-anchor": "end"}, yText[i]);
  });
  const most = Math.max(2, Math.floor((right - left) / 88));
  for (const v of o.logX ? logTicks(x0, x1, most, o.base || 10) : ticks(x0, x1, most)) {
    if (o.whole && v !== Math.round(v)) continue;
    svg(root, "line", {x1: X(v), x2: X(v), y1: bottom, y2: bottom + 4, stroke: line});
    svg(root, "text", {x: X(v), y: bottom + 18, "text-anchor": "middle"}, o.xFormat(v));
  }
  svg(root, "text", {x: (left + right) / 2, y: height - 6, "text-anchor": "middle"}, o.xLabel);
  if (o.rule !== undefined) svg(root, "line", {x1: X(o.rule), x2: X(o.rule), y1: top, y2: bottom, stroke: css("--soft"), "stroke-dasharray": "3 3"});
  drawChanges(root, o.changes || [], {X, x0, x1, top, bottom, right});
  const clip = o.id + "clip", frame = svg(svg(root, "clipPath", {id: clip}), "rect", {x: left - 2, y: top - 6, width: right - left + 10, height: bottom - top + 8});
  const area = svg(root, "g", {"clip-path": `url(#${clip})`});
  const path = points => points.map((p, i) => (i ? "L" : "M") + X(p[0]).toFixed(1) + " " + Y(p[1]).toFixed(1)).join("");
  for (const l of lines) if (l.band.length > 1) {
    const edge = l.band.map(p => [p[0], p[1]]).concat(l.band.slice().reverse().map(p => [p[0], p[2]]));
    svg(area, "path", {d: path(edge) + "Z", fill: l.tint, opacity: 0.15});
  }
  for (const m of marks) svg(area, "line", {x1: left, x2: right, y1: Y(m.y), y2: Y(m.y), stroke: m.tint, "stroke-width": 1.5, "stroke-dasharray": "1 5", "stroke-linecap": "round"});
  marks = marks.filter(m => m.y >= y0 && m.y <= y1);
  let above = Infinity;  // names of levels that lie close together are stacked
  for (const m of marks.slice().sort((a, b) => a.y - b.y)) {
    above = Math.min(Y(m.y) - 5, above - 15);
    svg(root, "text", {class: "level", x: left + 6, y: above, style: "fill:" + m.tint}, m.text);
  }
  for (const l of lines.slice().sort((a, b) => (a.front || 0) - (b.front || 0))) {
    svg(area, "path", {d: path(l.points), fill: "none", stroke: l.tint, "stroke-width": l.bold ? 3.2 : 2, "stroke-dasharray": l.dash || "", "stroke-linejoin": "round"});
    if (l.points.length < 3) for (const p of l.points) svg(area, "circle", {cx: X(p[0]), cy: Y(p[1]), r: 4, fill: l.tint});
  }
  for (const d of o.dots || []) svg(area, "circle", {cx: X(d[0]), cy: Y(d[1]), r: 5.5, fill: d[2], stroke: css("--ink"), "stroke-width": 1.5});
  hover(root, lines, {X, Y, y0, y1, left, right, top, bottom, width, line: css("--soft"), marks}, o);
  const back = o.logY ? Math.exp : v => v, forth = o.logY ? Math.log : v => v;
  const valueAt = y => back(forth(y0) + (forth(y1) - forth(y0)) * (bottom - y) / (bottom - top));
  return {left, right, top, bottom, logY: o.logY, range: [y0, y1], valueAt};
}
function drawChanges(root, changes, g) {
  const inside = changes.filter(c => c.x >= g.x0 && c.x <= g.x1).sort((a, b) => a.x - b.x);
  inside.forEach((c, i) => {
    const x = g.X(c.x), room = (i + 1 < inside.length ? g.X(inside[i + 1].x) : g.right) - x;
    svg(root, "line", {class: "change", x1: x, x2: x, y1: g.top, y2: g.bottom, stroke: c.tint, "stroke-width": 1.5, "stroke-dasharray": "5 3", opacity: 0.7});
    const text = [c.text, c.short].find(t => room > 8 + 7 * t.length);  // where changes crowd, the hint has them
    if (text) svg(root, "text", {x: x + 4, y: g.bottom - 6}, text);
  });
}
function hover(root, lines, g, o) {
  const cross = svg(root, "g", {visibility: "hidden"});
  const rule = svg(cross, "line", {y1: g.top, y2: g.bottom, stroke: g.line, "stroke-dasharray": "2 3"});
  const dots = lines.map(l => svg(cross, "circle", {r: 4.5, fill: l.tint, stroke: css("--card"), "stroke-width": 1.5}));
  const all = [...new Set(lines.flatMap(l => l.points.map(p => p[0])))].sort((a, b) => a - b);
  root.addEventListener("pointermove", event => {
    if (!all.length) return;
    const box = root.getBoundingClientRect(), at = (event.clientX - box.left) * g.width / box.width;
    const x = all.reduce((best, v) => Math.abs(g.X(v) - at) < Math.abs(g.X(best) - at) ? v : best, all[0]);
    rule.setAttribute("x1", g.X(x)); rule.setAttribute("x2", g.X(x));
    const rows = lines.map((l, i) => {
      const p = l.points.reduce((best, v) => Math.abs(g.X(v[0]) - g.X(x)) < Math.abs(g.X(best[0]) - g.X(x)) ? v : best, l.points[0]);
      const near = Math.abs(g.X(p[0]) - g.X(x)) <= (o.reach || 14);
      dots[i].setAttribute("visibility", near && p[1] >= g.y0 && p[1] <= g.y1 ? "inherit" : "hidden");
      dots[i].setAttribute("cx", g.X(p[0])); dots[i].setAttribute("cy", g.Y(p[1]));
      return near ? [l.name + (p[2] || ""), o.yFormat(p[1]), l.tint, p[1]] : null;
    }).filter(Boolean).concat(g.marks.map(m => [m.text, o.yFormat(m.y), m.tint, m.y]));
    cross.setAttribute("visibility", "visible");
    showTip(event, o.xHead(x), rows.sort((a, b) => b[3] - a[3]));
  });
  root.addEventListener("pointerleave", () => { cross.setAttribute("visibility", "hidden"); hideTip(); });
}
