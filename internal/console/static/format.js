// Numbers, sizes and times as people read them; elements; icons.

const digits = (n) => (n >= 100 ? 0 : n >= 10 ? 1 : 2);
const trim = (n, d) => n.toLocaleString("en", { maximumFractionDigits: d });

// num is a count or a rate: 950, 12.3 k, 4.56 M.
export function num(n) {
  if (n === null || n === undefined) return "–";
  const a = Math.abs(n);
  if (a < 10000) return trim(n, a < 10 && !Number.isInteger(n) ? 1 : 0);
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (a >= size) return trim(n / size, digits(a / size)) + " " + unit;
  }
}

export const rate = (n) => (n === null || n === undefined ? "–" : num(n) + "/s");
export const exact = (n) => (n === null || n === undefined ? "–" : n.toLocaleString("en"));

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return trim(n, i === 0 ? 0 : digits(n)) + " " + units[i];
}

// micros is a latency, given in microseconds.
export function micros(n) {
  if (n === null || n === undefined) return "–";
  if (n < 1000) return trim(n, 0) + " µs";
  if (n < 1e6) return trim(n / 1e3, digits(n / 1e3)) + " ms";
  return trim(n / 1e6, digits(n / 1e6)) + " s";
}

// duration is "3 d 4 h", "12 min 5 s", given in seconds.
export function duration(s) {
  if (s === null || s === undefined) return "–";
  s = Math.round(s);
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  for (let i = 0; i < parts.length; i++) {
    const [unit, size] = parts[i];
    if (s >= size || unit === "s") {
      const rest = i + 1 < parts.length ? Math.floor((s % size) / parts[i + 1][1]) : 0;
      return Math.floor(s / size) + " " + unit + (rest ? " " + rest + " " + parts[i + 1][0] : "");
    }
  }
}

export const plural = (n, one, many) => exact(n) + " " + (n === 1 ? one : many);
export const percent = (part, all) => (all > 0 ? Math.round((100 * part) / all) : 0);

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dayFormat = new Intl.DateTimeFormat(undefined, { month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
export const clock = (ms) => clockFormat.format(ms);

// time is local, with UTC on hover.
export function time(ms, withDay = true) {
  const iso = new Date(ms).toISOString();
  return h("time", { datetime: iso, title: iso.replace("T", " ").replace(/\.\d+Z/, " UTC") }, (withDay ? dayFormat : clockFormat).format(ms));
}

// h makes an element. Attributes that are null or false are left out; on* are listeners.
export function h(tag, attrs, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attrs || {})) {
    if (v === null || v === undefined || v === false) continue;
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (k === "class") e.className = v;
    else e.setAttribute(k, v === true ? "" : v);
  }
  e.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return e;
}

export function svg(tag, attrs, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attrs || {})) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

// put replaces what is in e, unless key says that it is the same as before.
export function put(e, key, make) {
  if (e.dataset.key === key) return;
  e.dataset.key = key;
  e.replaceChildren(...[make()].flat().filter((c) => c !== null && c !== undefined && c !== false));
}

export function text(e, s) {
  if (e.textContent !== s) e.textContent = s;
}

const paths = {
  ok: "M5 12.5l4.5 4.5L19 7.5",
  warning: "M12 8v5m0 3.5v.01M10.3 4.3L2.8 17.5A2 2 0 0 0 4.5 20.5h15a2 2 0 0 0 1.7-3L13.7 4.3a2 2 0 0 0-3.4 0z",
  error: "M12 7v6m0 3.5v.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  light: "M12 4V2m0 20v-2m8-8h2M2 12h2m13.7-5.7l1.4-1.4M4.9 19.1l1.4-1.4m0-11.4L4.9 4.9m14.2 14.2l-1.4-1.4M12 7.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9z",
  dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
  auto: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm0 0v18m0-15.5h4.5M12 9h6.5M12 12.5h7M12 16h6.2",
};

export const icon = (name) => svg("svg", { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "2", "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" }, svg("path", { d: paths[name] }));

export const pill = (level, words) => h("span", { class: "pill " + level }, words);

// meter is a bar of a part of a whole.
export function meter(part, all, level = "", label = null) {
  const bar = h("span");
  bar.style.width = Math.max(0, Math.min(100, all > 0 ? (100 * part) / all : 0)) + "%";
  return h("span", { class: "meter " + level, role: label ? "meter" : null, "aria-label": label, "aria-valuenow": label ? Math.round(percent(part, all)) : null, "aria-valuemin": label ? 0 : null, "aria-valuemax": label ? 100 : null }, bar);
}

export const compareAddr = (a, b) => a.localeCompare(b, "en", { numeric: true });
