// ---- the range of the curves' upright axis: null for that of all that is drawn
let yZoom = null, zoomNote = "";
const number = v => +v.toPrecision(4);

// The range of the means over the last half of the axis, where curves that rose from chance come close.
function rangeAtTheEnd(lines, logX) {
  const at = v => logX ? Math.log(v) : v, xs = lines.flatMap(l => l.points.map(p => p[0])).filter(x => !logX || x > 0);
  if (!xs.length) return null;
  const middle = (at(Math.min(...xs)) + at(Math.max(...xs))) / 2;
  const ys = lines.flatMap(l => l.points.filter(p => (!logX || p[0] > 0) && at(p[0]) >= middle).map(p => p[1])).filter(y => y !== null);
  if (!ys.length) return null;
  const low = Math.min(...ys), high = Math.max(...ys), margin = 0.05 * (high - low || Math.abs(high) || 1);
  return low > 0 && low - margin <= 0 ? [low, high + margin] : [low - margin, high + margin];
}
// Takes over a range, or says why it is none; an end left empty is that of all that is drawn.
function setZoom(low, high, logY) {
  zoomNote = "";
  if (!(Number.isFinite(low) && Number.isFinite(high) && low < high)) zoomNote = "The lower end of the axis must lie below the upper one.";
  else if (logY && low <= 0) zoomNote = "A logarithmic axis must begin above zero.";
  else yZoom = [low, high];
}
function showZoom(whole) {
  const shown = yZoom || whole;
  ["ylow", "yhigh"].forEach((id, i) => {
    $(id).value = yZoom ? +yZoom[i].toPrecision(4) : "";
    $(id).placeholder = shown ? number(shown[i]) : "";
  });
  $("yall").disabled = !yZoom;
}
// Dragging up or down with the mouse marks a range; a double click shows all again.
function dragZoom(box, drawn, redraw) {
  const root = box.querySelector("svg");
  if (!root || !drawn) return;
  const at = event => Math.max(drawn.top, Math.min(drawn.bottom, (event.clientY - root.getBoundingClientRect().top)));
  root.addEventListener("dblclick", () => { yZoom = null; zoomNote = ""; redraw(); });
  root.addEventListener("pointerdown", event => {
    if (event.pointerType !== "mouse" || event.button !== 0) return;
    event.preventDefault();
    const from = at(event), mark = svg(root, "rect", {class: "mark", x: drawn.left, width: drawn.right - drawn.left, y: from, height: 0});
    let to = from;
    const move = e => { to = at(e); mark.setAttribute("y", Math.min(from, to)); mark.setAttribute("height", Math.abs(to - from)); };
    const end = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      mark.remove();
      if (Math.abs(to - from) < 6) return;
      setZoom(drawn.valueAt(Math.max(from, to)), drawn.valueAt(Math.min(from, to)), drawn.logY);
      redraw();
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
  });
}
