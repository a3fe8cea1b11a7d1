// Lines over time, in SVG. A missing figure is a gap.
import { h, svg, clock, text } from "./format.js";

const right = 8, top = 10, bottom = 24, height = 210;
export const keep = 600e3; // ms

// steps are round numbers for an axis that reaches to most.
function steps(most, round) {
  if (!(most > 0)) return [0, 1];
  const raw = most / 3;
  const unit = Math.pow(round, Math.floor(Math.log(raw) / Math.log(round) + 1e-9));
  const step = (round === 1024 ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] : [1, 2, 2.5, 5, 10]).map((f) => f * unit).find((s) => s >= raw);
  const out = [];
  for (let v = 0; ; v += step) {
    out.push(v);
    if (v >= most) return out;
  }
}

// chart shows lines: [{name, key, color 1-4, fill, dash}], each a column of the series.
export function chart({ title, note, lines, format, base = 10, least = 0, missing = "No figures yet" }) {
  const root = svg("svg", { role: "img", tabindex: "0" });
  const tip = h("div", { class: "tip", hidden: true });
  const box = h("div", { class: "chart" }, root, tip);
  const values = lines.map(() => h("b", null, "–"));
  const legend = h("div", { class: "legend" }, lines.map((l, i) => h("span", null, h("span", { class: "swatch " + (l.dash ? "dashed d" : "b") + l.color }), l.name, values[i])));
  const sub = h("span", { class: "muted" }, note || "");
  const card = h("section", { class: "card", "aria-label": title }, h("div", { class: "head" }, h("h2", null, title), legend), box, note ? h("p", { class: "muted" }, sub) : null);
  const left = base === 1024 ? 78 : 52;
  let series = null, at = -1, every = 2000;

  const last = (key) => {
    for (let i = series.t.length - 1; i >= Math.max(0, series.t.length - 3); i--) if (series[key][i] !== null) return series[key][i];
    return null;
  };

  function draw() {
    const width = box.clientWidth;
    if (!series || width === 0) return;
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const t = series.t, end = t.length ? t[t.length - 1] : 0;
    const span = Math.min(keep, Math.max(60e3, t.length ? end - t[0] : 0)), begin = end - span;
    let most = least, any = false;
    for (const l of lines) for (const v of series[l.key]) if (v !== null) { any = true; if (v > most) most = v; }
    const marks = steps(most, base), topmost = marks[marks.length - 1];
    const x = (ms) => left + ((ms - begin) / span) * (width - left - right);
    const y = (v) => top + (1 - v / topmost) * (height - top - bottom);
    legend.hidden = !any;
    if (note) sub.hidden = !any;
    const parts = [];
    for (const v of marks) {
      parts.push(svg("line", { class: "rule", x1: left, x2: width - right, y1: y(v), y2: y(v) }));
      const label = svg("text", { class: "axis", x: left - 8, y: y(v) + 4, "text-anchor": "end" });
      label.textContent = any ? format(v) : "";
      parts.push(label);
    }
    if (!any) {
      const e = svg("text", { class: "empty", x: (left + width) / 2, y: height / 2, "text-anchor": "middle" });
      e.textContent = missing;
      root.replaceChildren(...parts, e);
      root.setAttribute("aria-label", title + ": " + missing);
      return;
    }
    const minute = [15e3, 30e3, 60e3, 120e3, 300e3].find((m) => span / m <= Math.max(2, width / 130));
    for (let ms = Math.ceil(begin / minute) * minute; ms <= end; ms += minute) {
      const label = svg("text", { class: "axis", x: Math.max(left, Math.min(width - 26, x(ms))), y: height - 5, "text-anchor": "middle" });
      label.textContent = minute < 60e3 ? clock(ms) : clock(ms).slice(0, 5);
      parts.push(label);
    }
    lines.forEach((l) => {
      let d = "", area = "", open = -1;
      const close = (i) => {
        if (open >= 0 && l.fill) area += `L${x(t[i]).toFixed(1)} ${y(0)}L${x(t[open]).toFixed(1)} ${y(0)}Z`;
        open = -1;
      };
      t.forEach((ms, i) => {
        const v = series[l.key][i];
        if (v === null) { if (open >= 0) close(i - 1); return; }
        if (open >= 0 && ms - t[i - 1] > 4 * every) close(i - 1);
        const p = `${x(ms).toFixed(1)} ${y(v).toFixed(1)}`;
        d += (open < 0 ? "M" : "L") + p;
        area += (open < 0 ? "M" : "L") + p;
        if (open < 0) { open = i; d += "l.01 0"; }
      });
      if (open >= 0) close(t.length - 1);
      if (l.fill) parts.push(svg("path", { class: "fill f" + l.color, d: area }));
      parts.push(svg("path", { class: "line s" + l.color + (l.dash ? " dash" : ""), d }));
    });
    if (at >= 0 && at < t.length) parts.push(svg("line", { class: "cursor", x1: x(t[at]), x2: x(t[at]), y1: top, y2: height - bottom }));
    root.replaceChildren(...parts);
    root.setAttribute("aria-label", `${title}, the last ${Math.round(span / 60e3)} minutes. Now: ` + lines.map((l) => `${l.name} ${series[l.key].length ? format(last(l.key)) : "unknown"}`).join(", "));
    showTip(x, width);
  }

  function showTip(x, width) {
    tip.hidden = at < 0 || at >= series.t.length;
    if (tip.hidden) return;
    tip.replaceChildren(h("div", { class: "muted" }, clock(series.t[at])), ...lines.map((l) => h("div", null, h("span", null, l.name), h("b", null, format(series[l.key][at])))));
    const px = x(series.t[at]);
    tip.style.left = (px > width / 2 ? Math.max(0, px - tip.offsetWidth - 12) : px + 12) + "px";
  }

  root.addEventListener("pointermove", (ev) => {
    if (!series || !series.t.length) return;
    const r = root.getBoundingClientRect(), t = series.t, end = t[t.length - 1];
    const span = Math.min(keep, Math.max(60e3, end - t[0]));
    const ms = end - span + ((ev.clientX - r.left - left) / (r.width - left - right)) * span;
    at = t.reduce((best, v, i) => (Math.abs(v - ms) < Math.abs(t[best] - ms) ? i : best), 0);
    draw();
  });
  const leave = () => { at = -1; draw(); };
  root.addEventListener("pointerleave", leave);
  root.addEventListener("blur", leave);
  root.addEventListener("keydown", (ev) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -1e6, End: 1e6 }[ev.key];
    if (!move || !series || !series.t.length) return;
    ev.preventDefault();
    at = Math.max(0, Math.min(series.t.length - 1, (at < 0 ? series.t.length - 1 : at) + move));
    draw();
  });
  new ResizeObserver(draw).observe(box);
  return {
    card,
    update(s, everyMs) {
      const shift = series && s.t.length && series.t.length && at >= 0 ? s.t.indexOf(series.t[at]) : -1;
      at = shift;
      series = s;
      every = everyMs || every;
      lines.forEach((l, i) => text(values[i], s.t.length ? format(last(l.key)) : "–"));
      draw();
    },
    note(words) { text(sub, words); },
  };
}
