// ---- the curves
const arms = D.arms.filter(arm => D.series[arm.name]);
const looks = arm => ({name: arm.name, tint: colour(arm), dash: arm.dash, bold: arm.name === D.lead, front: arm.name === D.lead ? 1 : 0});
const changesOf = arm => Object.hasOwn(D.changes, arm.name) ? D.changes[arm.name] : [];
// Where the concept changes on an axis: one line for all arms where it does so for all alike, else one in each arm's colour.
function changesOn(axis, shown) {
  const found = new Map();
  for (const arm of shown) for (const c of changesOf(arm)) {
    if (!(c[axis] > 0)) continue;
    const key = c[axis] + " " + c.concept, text = "concept " + c.concept;
    found.set(key, {x: c[axis], text, short: String(c.concept), tint: colour(arm), arms: (found.get(key) || {arms: 0}).arms + 1});
  }
  return [...found.values()].map(c => c.arms === shown.length ? {...c, tint: css("--soft")} : c);
}
function changesHint(shown, axis) {
  const told = arm => changesOf(arm).map(c => c.concept + " in round " + c.round);
  const first = shown.find(arm => told(arm).length);
  if (!first) return "";
  const some = told(first).slice(0, 6).join(", ") + (told(first).length > 6 ? ", …" : "");
  const alike = shown.every(arm => told(arm).join() === told(first).join());
  const tinted = shown.length > 1 && (axis !== "round" || !alike) ? ", in the arms' colours" : "";
  return "Dashed upright" + tinted + ": most devices come to live in another concept (" + (alike ? "" : first.name + ": ") + some + ").";
}
let atTheEnd = () => null;
function drawCurves() {
  const metric = $("metric").value, axis = $("axis").value, logY = $("logy").checked, lines = [], marks = [];
  let theory = "";
  const banded = D.band.length === 2 && metric === D.score + "_mean";
  for (const arm of arms) {
    const s = D.series[arm.name], x = s[axis], y = s[metric];
    if (hidden.has(arm.name) || !y) continue;
    const rows = y.map((v, i) => i).filter(i => y[i] !== null);
    if (axis === "bytes_total" && !(x && x.some(v => v > 0))) {
      if (rows.length) marks.push({y: y[rows[rows.length - 1]], text: arm.name + " (sends nothing)", tint: colour(arm)});
      continue;
    }
    if (!x) continue;
    const kept = rows.filter(i => x[i] !== null);
    const bandHere = banded && s[D.band[0]] && s[D.band[1]];
    lines.push({...looks(arm), points: kept.map(i => [x[i], y[i]]),
      band: bandHere ? kept.map(i => [x[i], s[D.band[0]][i], s[D.band[1]][i]]) : []});
  }
  if (metric === D.distance && axis === "round" && D.rho > 0 && D.rho < 1 && lines.length && logY) {
    const p = lines[0].points.filter(q => q[1] > 0);
    if (p.length) theory = D.lossless ? "Dotted: ρᵗ, the theory's for messages that all arrive at once and whole, unlike those of this run." : "Dotted: ρᵗ, the bound of the theory.";
    if (p.length) lines.push({name: "ρᵗ", tint: css("--ink"), dash: "2 4", front: 2, points: p.map(q => [q[0], p[0][1] * Math.pow(D.rho, q[0] - p[0][0])])});
  }
  if (yZoom && logY && yZoom[0] <= 0) yZoom = null;
  const drawn = chart($("chart"), lines, marks, {
    zoom: yZoom, changes: changesOn(axis, lines.map(l => arms.find(arm => arm.name === l.name)).filter(Boolean)),
    id: "curve", title: D.labels[metric], tall: 420, logX: axis === "bytes_total", base: 4, logY, whole: axis === "round",
    xLabel: D.axes[axis], xFormat: formatOf(axis), yFormat: formatOf(metric), yTick: D.shares.includes(metric) ? plain : formatOf(metric),
    xHead: v => axis === "round" ? "round " + v : formatOf(axis)(v),
  });
  atTheEnd = () => rangeAtTheEnd(lines, axis === "bytes_total");
  showZoom(drawn && drawn.range);
  dragZoom($("chart"), drawn, drawCurves);
  const outside = yZoom ? marks.filter(m => m.y < yZoom[0] || m.y > yZoom[1]).map(m => m.text) : [];
  const cut = outside.length ? "Outside the range: " + outside.join(", ") + "." : "";
  $("charthint").textContent = [zoomNote, theory, banded ? "Band: from the worst to the best decile of devices." : "", changesHint(arms.filter(arm => !hidden.has(arm.name)), axis), arms.length > 1 ? "Click an arm to hide it." : "", cut, drawn ? "Drag up or down with the mouse to zoom." : ""].join(" ").trim();
}
function legend() {
  const box = $("legend");
  box.textContent = "";
  for (const arm of arms) {
    const button = html(box, "button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(!hidden.has(arm.name)));
    const mark = svg(button, "svg", {width: 26, height: 8, "aria-hidden": "true"});
    svg(mark, "line", {x1: 0, x2: 26, y1: 4, y2: 4, stroke: colour(arm), "stroke-width": arm.name === D.lead ? 3.2 : 2, "stroke-dasharray": arm.dash});
    button.appendChild(document.createTextNode(arm.name));
    button.addEventListener("click", () => {
      if (!hidden.delete(arm.name)) hidden.add(arm.name);
      button.setAttribute("aria-pressed", String(!hidden.has(arm.name)));
      drawCurves(); drawDevices();
    });
  }
}
function options(select, entries, first) {
  for (const [value, text] of entries) html(select, "option", text).value = value;
  if (first) select.value = first;
}
const autoLog = () => { $("logy").checked = !D.score && $("metric").value === D.distance; };
if (arms.length && Object.keys(D.labels).length) {
  $("curves").hidden = false;
  options($("metric"), Object.entries(D.labels), D.first);
  options($("axis"), Object.entries(D.axes));
  autoLog();
  const zoomed = (low, high) => { setZoom(low, high, $("logy").checked); drawCurves(); };
  $("metric").addEventListener("change", () => { autoLog(); yZoom = null; zoomNote = ""; drawCurves(); });
  $("yall").addEventListener("click", () => { yZoom = null; zoomNote = ""; drawCurves(); });
  $("yend").addEventListener("click", () => { const found = atTheEnd(); if (found) zoomed(...found); });
  for (const id of ["ylow", "yhigh"]) $(id).addEventListener("change", () => {
    const [low, high] = ["ylow", "yhigh"].map(end => $(end).value === "" ? +$(end).placeholder : +$(end).value);
    zoomed(low, high);
  });
  for (const id of ["axis", "logy"]) $(id).addEventListener("change", drawCurves);
  legend();
}
