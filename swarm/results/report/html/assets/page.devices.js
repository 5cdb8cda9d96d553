// ---- every device's score, round by round: decoded once, looked at through the slider
function bytesOf(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return out;
}
const F = D.frames, kept = new Map();
for (const [name, f] of Object.entries(F ? F.arms : {})) {
  const data = bytesOf(f.data), place = new Map();
  for (let i = 0; i < f.n; i++) place.set(f.ids ? f.ids[i] : i, i);
  kept.set(name, {...f, data, place, ids: f.ids || [...place.keys()]});
}
// The newest frame of an arm at or before a round: an arm that diverged stays where it ended.
function frameAt(name, round) {
  const f = kept.get(name);
  let at = -1;
  while (f && at + 1 < f.rounds.length && f.rounds[at + 1] <= round) at++;
  return at;
}
function valueAt(name, frame, id) {
  const f = kept.get(name), i = f ? f.place.get(id) : undefined;
  if (i === undefined || frame < 0) return null;
  const byte = f.data[frame * f.n + i];
  return byte === 255 ? null : f.low[frame] + (f.high[frame] - f.low[frame]) * byte / 254;
}
const everywhere = names => {
  const low = Math.min(...names.flatMap(n => kept.get(n).low)), high = Math.max(...names.flatMap(n => kept.get(n).high));
  const margin = 0.04 * (high - low || 0.1);
  return [low - margin, high + margin];
};
// What a device is called, and which one is meant: by its name, or by its number where no name is a number.
const nameOf = id => D.names ? D.names[id] : null, cohortOf = id => D.cohorts ? D.cohorts[id] : null;
const titled = id => "device " + id + (nameOf(id) ? " (" + nameOf(id) + ")" : "") + (cohortOf(id) ? ", cohort " + cohortOf(id) : "");
const numbered = !(D.names && D.names.some(name => /^-?\d+$/.test(name)));
function deviceOf(text) {
  const at = D.names ? D.names.indexOf(text.trim()) : -1;
  return at >= 0 ? at : numbered && /^\d+$/.test(text.trim()) ? +text : null;
}
const roundNow = () => F.rounds[+$("round").value];
let chosen = null;

// ---- how the scores are spread at the chosen round
const spread = arms.filter(arm => kept.has(arm.name));
function drawDevices() {
  if (!spread.length) return;
  const round = roundNow(), dots = [];
  const shown = spread.filter(arm => !hidden.has(arm.name));
  const lines = shown.map(arm => {
    const f = kept.get(arm.name), frame = frameAt(arm.name, round);
    const rows = f.ids.map(id => [valueAt(arm.name, frame, id), id]).filter(r => r[0] !== null).sort((a, b) => a[0] - b[0]);
    if (rows.length === 1) return {...looks(arm), points: [[0, rows[0][0]], [0.5, rows[0][0]], [1, rows[0][0]]]};
    const own = rows.findIndex(r => r[1] === chosen), step = Math.max(1, (rows.length - 1) / 300), points = [];
    if (own >= 0) dots.push([own / (rows.length - 1), rows[own][0], colour(arm)]);
    for (let i = 0; i < rows.length - 1 + step; i += step) {
      const k = Math.min(rows.length - 1, Math.round(i));
      if (rows.length) points.push([k / (rows.length - 1), rows[k][0], " · " + titled(rows[k][1])]);
    }
    return {...looks(arm), points};
  });
  chart($("distribution"), lines, [], {
    id: "sorted", title: "scores of the devices, sorted", tall: 440, shape: 0.95, xLabel: "share of devices, worst to best",
    xFormat: v => Math.round(100 * v) + "%", xHead: v => "round " + round + ", percentile " + Math.round(100 * v), yFormat: score,
    yTick: plain, reach: 1e9, dots, yRange: $("fixed").checked && shown.length ? everywhere(shown.map(a => a.name)) : undefined,
  });
}

// ---- one device over the rounds
function drawChosen() {
  $("one").hidden = chosen === null;
  if (chosen === null) return;
  $("onetitle").textContent = titled(chosen).replace("d", "D") + " over the rounds";
  const lines = [], armNow = $("grapharm").value;
  for (const arm of arms) {
    const f = kept.get(arm.name), s = D.series[arm.name];
    if (!f || !f.place.has(chosen) || hidden.has(arm.name) || f.n < 2) continue;
    const points = f.rounds.map((r, k) => [r, valueAt(arm.name, k, chosen)]);
    const banded = arm.name === armNow && D.band.length === 2 && s[D.band[0]] && s[D.band[1]];
    lines.push({...looks(arm), bold: arm.name === armNow, points,
      band: banded ? s.round.map((r, k) => [r, s[D.band[0]][k], s[D.band[1]][k]]).filter(p => p[1] !== null && p[2] !== null) : []});
  }
  chart($("device"), lines, [], {
    id: "one", title: "scores of " + titled(chosen), tall: 260, whole: true, xLabel: "round", xFormat: plain, yFormat: score, yTick: plain,
    xHead: v => "round " + v, rule: roundNow(), changes: changesOn("round", arms.filter(arm => lines.some(l => l.name === arm.name))),
  });
  $("onehint").textContent = "Band: from the worst to the best decile of the devices of " + armNow + ".";
}
function choose(id) {
  const known = [...kept.values()].some(f => f.n > 1 && f.place.has(id));
  chosen = known ? id : null;
  $("which").value = known ? nameOf(id) || id : "";
  drawChosen(); drawDevices(); if (!$("graph").hidden) drawGraph();
}

// ---- the graph
const G = D.graph, canvas = $("canvas"), C = G && G.changing;
const hostile = new Set(G ? G.hostile : []);
const links = C ? new Uint16Array(bytesOf(C.links).buffer) : null, moving = C && C.places ? new Uint16Array(bytesOf(C.places).buffer) : null;
let places = [], timer = 0;
const palette = D.scale.map(hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16)));
function tint(t) {
  const u = Math.max(0, Math.min(1, t)) * (palette.length - 1), i = Math.min(palette.length - 2, Math.floor(u)), f = u - i;
  return "rgb(" + palette[i].map((v, k) => Math.round(v + (palette[i + 1][k] - v) * f)).join(",") + ")";
}
// The links of the chosen round as positions in G.nodes, two a link, and how many of them each device has.
function linksNow() {
  if (!C) return [G.edges, G.degree];
  const k = +$("round").value, edges = links.subarray(2 * C.start[k], 2 * C.start[k + 1]), degree = new Array(G.nodes.length).fill(0);
  for (const i of edges) degree[i]++;
  return [edges, degree];
}
function drawGraph() {
  if (!G) return;
  const arm = $("grapharm").value, f = kept.get(arm), round = F ? roundNow() : 0, frame = f ? frameAt(arm, round) : -1;
  let [low, high] = !f || frame < 0 ? [0, 1] : $("fixed").checked ? [Math.min(...f.low), Math.max(...f.high)] : [f.low[frame], f.high[frame]];
  if (high - low < 1e-9) { low -= 0.005; high += 0.005; }
  const n = G.nodes.length, size = canvas.clientWidth, k = +$("round").value;
  const xs = moving ? i => moving[2 * n * k + i] / 65535 : i => G.x[i], ys = moving ? i => moving[2 * n * k + n + i] / 65535 : i => G.y[i];
  const spanY = moving ? 1 : Math.max(...G.y) - Math.min(...G.y);
  const tall = Math.round(Math.min(440, size) * Math.max(0.5, Math.min(1, spanY + 0.12)));
  const ratio = window.devicePixelRatio || 1, c = canvas.getContext("2d");
  canvas.style.height = tall + "px"; canvas.width = size * ratio; canvas.height = tall * ratio;
  c.scale(ratio, ratio);
  const radius = Math.max(2.2, Math.min(9, 0.25 * Math.min(size, tall) / Math.sqrt(n + 1)));
  const unit = Math.min(size, 440) - 2 * radius - 8;
  const at = (x, y) => [size / 2 + (x - 0.5) * unit, tall / 2 - (y - 0.5) * unit];
  places = G.nodes.map((_, i) => at(xs(i), ys(i)));
  const [edges] = linksNow(), bent = new Map(G.bent.map(b => [b[0], at(b[1], b[2])]));
  c.strokeStyle = css("--edge"); c.lineWidth = edges.length > 6000 ? 0.5 : 1;
  c.globalAlpha = edges.length > 4000 ? 0.3 : 0.6;
  c.beginPath();
  for (let i = 0; i < edges.length; i += 2) {
    c.moveTo(...places[edges[i]]);
    const aside = C ? undefined : bent.get(i / 2);
    if (aside) c.quadraticCurveTo(...aside, ...places[edges[i + 1]]); else c.lineTo(...places[edges[i + 1]]);
  }
  c.stroke();
  c.globalAlpha = 1;
  const rim = dark.matches ? "#dfe6f059" : css("--card"), none = css("--soft");
  places.forEach(([x, y], i) => {
    const value = f ? valueAt(arm, frame, G.nodes[i]) : null;
    c.fillStyle = hostile.has(G.nodes[i]) ? css("--hostile") : value === null ? none : tint((value - low) / (high - low));
    c.strokeStyle = rim; c.lineWidth = 1;
    c.beginPath(); c.arc(x, y, radius, 0, 7); c.fill(); c.stroke();
  });
  if (D.names && n <= 40) {
    c.fillStyle = css("--ink"); c.font = "11px sans-serif"; c.textAlign = "center";
    places.forEach(([x, y], i) => {  // above the device, or below where the canvas ends
      const above = y - radius - 3;
      c.fillText((nameOf(G.nodes[i]) || "").slice(0, 20), x, above < 11 ? y + radius + 12 : above);
    });
  }
  const own = G.nodes.indexOf(chosen);
  if (own >= 0) { c.strokeStyle = css("--ink"); c.lineWidth = 2.5; c.beginPath(); c.arc(...places[own], radius + 3, 0, 7); c.stroke(); }
  const digits = score(low) === score(high) ? 5 : 3;
  $("low").textContent = low.toFixed(digits); $("high").textContent = high.toFixed(digits);
  const ramp = $("ramp"), rc = ramp.getContext("2d"), fill = rc.createLinearGradient(0, 0, ramp.width, 0);
  D.scale.forEach((hex, i) => fill.addColorStop(i / (D.scale.length - 1), hex));
  rc.fillStyle = fill; rc.fillRect(0, 0, ramp.width, ramp.height);
  const when = !C ? "Edges: the swarm's, in round 1" : "Edges: those of round " + Math.max(1, round) + (C.whole ? "" : ", not all of them");
  const red = hostile.size ? " Red: the hostile devices, which are not measured." : "";
  const directed = G.directed ? " (directed)" : "", click = f ? " Click a device for its curve." : "";
  $("graphhint").textContent = [C ? G.left : G.note, when + directed + "."].filter(Boolean).join(". ") + red + click;
}
function nearest(event) {
  const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = -1, reach = 14 * 14;
  places.forEach((p, i) => { const d = (p[0] - x) ** 2 + (p[1] - y) ** 2; if (d < reach) { reach = d; best = i; } });
  return best;
}

// ---- the slider, and what hangs on it
function drawRound() {
  if (F) $("roundtext").textContent = "round " + roundNow();
  drawDevices(); drawChosen();
  if (!$("graph").hidden) drawGraph();
}
function pause() { window.clearInterval(timer); timer = 0; $("play").textContent = "play"; }
function step() {
  $("round").value = +$("round").value + 1;
  drawRound();
  if (+$("round").value >= +$("round").max) pause();
}
if (F || (G && G.nodes.length)) {
  $("rounds").hidden = false;
  $("graph").hidden = !(G && G.nodes.length);
  $("devices").hidden = !spread.length;
  // A single pooled model has no place in the graph, and no rank among devices.
  const many = [...kept.keys()].filter(name => kept.get(name).n > 1);
  options($("grapharm"), many.map(a => [a, a]), many.includes(D.lead) ? D.lead : many[0]);
  $("colourby").hidden = !many.length;
  if (!many.length) {
    $("graphtitle").textContent = "The graph";
    canvas.setAttribute("aria-label", "the devices and their links");
  }
  if (!F) { $("roundstitle").textContent = "The graph"; $("graphtitle").hidden = true; }
  if (F) { $("round").max = F.rounds.length - 1; $("round").value = F.rounds.length - 1; }
  for (const id of ["slider", "fixedlabel"]) $(id).hidden = !F;
  $("whichlabel").hidden = !many.length;
  document.querySelector("#graph .scale").hidden = !many.length;
  $("roundshint").textContent = F ? ["Scores are kept in steps of 1/254 of each round's range", F.note].filter(Boolean).join("; ") + "." : "";
  $("grapharm").addEventListener("change", drawRound);
  $("fixed").addEventListener("change", drawRound);
  $("round").addEventListener("input", () => { pause(); drawRound(); });
  $("play").addEventListener("click", () => {
    if (timer) return pause();
    if (+$("round").value >= +$("round").max) $("round").value = 0;
    $("play").textContent = "pause";
    $("fixed").checked = true;  // growth shows only on one scale
    drawRound();
    timer = window.setInterval(step, 350);
  });
  if (D.names) $("which").type = "text";
  $("which").addEventListener("change", () => choose(deviceOf($("which").value)));
  $("close").addEventListener("click", () => choose(null));
  canvas.addEventListener("click", event => { const best = nearest(event); choose(best < 0 ? null : G.nodes[best]); });
  canvas.addEventListener("pointermove", event => {
    const best = nearest(event);
    canvas.style.cursor = best < 0 ? "" : "pointer";
    if (best < 0) return hideTip();
    const arm = $("grapharm").value, value = F ? valueAt(arm, frameAt(arm, roundNow()), G.nodes[best]) : null;
    const rows = C && !C.whole ? [] : [["neighbours", String(linksNow()[1][best])]];
    if (value !== null) rows.unshift([D.scoreLabel, score(value)]);
    if (hostile.has(G.nodes[best])) rows.unshift(["hostile", "not measured"]);
    showTip(event, titled(G.nodes[best]), rows);
  });
  canvas.addEventListener("pointerleave", hideTip);
}

// ---- draw, and again when the width or the colours change
function drawAll() { if (!$("curves").hidden) drawCurves(); drawRound(); }
drawAll();
let last = document.documentElement.clientWidth;
window.addEventListener("resize", () => { const now = document.documentElement.clientWidth; if (now !== last) { last = now; drawAll(); } });
dark.addEventListener("change", () => { if (!$("curves").hidden) legend(); drawAll(); });
document.documentElement.dataset.ready = Math.round(performance.now());  // milliseconds since the page was opened
