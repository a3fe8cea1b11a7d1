// The partitions as a grid: a cell for each, in the order of the keys' hashes.
import { h, put, text, exact, plural, pill } from "./format.js";
import { stateOf } from "./views.js";

const kinds = {
  ok: "all copies", moving: "being copied or moved", waiting: "primary not confirmed yet", short: "fewer copies than it should", none: "no live copy",
};

// kindOf judges a row; alive(i) tells whether server number i lives.
export function kindOf(row, alive, should) {
  const live = (row[2] || []).filter(alive).length;
  if (live === 0) return "none";
  if (!(row[1] & 1)) return "waiting";
  if (live < should) return "short";
  return (row[3] || []).length || (row[4] || []).length ? "moving" : "ok";
}

// colours are what the style sheet's names come to in the present theme.
function colours(names) {
  const probe = h("span", { hidden: true });
  document.body.append(probe);
  const out = names.map((n) => { probe.style.color = `var(${n})`; return getComputedStyle(probe).color; });
  probe.remove();
  return out;
}

export function partitions(store) {
  const arg = location.hash.split("/")[1];
  let by = "health", picked = -1, focus = arg || "", cols = 1, cell = 1, was = "";
  const canvas = h("canvas", { class: "parts", tabindex: "0", role: "img", "aria-describedby": "parts-help" });
  const tip = h("div", { class: "tip", hidden: true });
  const legend = h("div", { class: "legend" }), summary = h("p", { class: "muted" });
  const detail = h("section", { class: "card", "aria-live": "polite", "aria-label": "Partition" });
  const buttons = ["health", "primary"].map((k) => h("button", { type: "button", "data-by": k, onclick: () => { by = k; render(true); } }, k === "health" ? "Health" : "Primary"));
  const only = h("select", { onchange: () => { focus = only.value; render(true); } });
  const number = h("input", { type: "number", min: "0", inputmode: "numeric", size: "6", placeholder: "number", "aria-label": "Number of a partition" });
  const key = h("input", { type: "text", placeholder: "key", autocapitalize: "off", autocomplete: "off", spellcheck: "false", "aria-label": "A key" });
  const found = h("p", { class: "muted", role: "status" });
  number.addEventListener("input", () => { if (number.value !== "") pick(Math.min(Number(number.value), store.parts ? store.parts.rows.length - 1 : 0)); });
  const find = h("form", {
    onsubmit: async (e) => {
      e.preventDefault();
      try {
        const r = await fetch("locate?" + new URLSearchParams({ key: key.value }), { signal: AbortSignal.timeout(8000) });
        const a = await r.json();
        if (!r.ok) throw new Error(a.error);
        text(found, `The key's hash is ${a.hash}: partition ${a.partition}.`);
        pick(a.partition);
      } catch (err) { text(found, "It was not found out: " + err.message); }
    },
  }, h("label", null, "Where a key lives", key), h("button", { type: "submit", class: "button" }, "Find"));
  const box = h("div", { class: "chart" }, canvas, tip);
  const root = [
    h("section", { class: "card", "aria-label": "Partitions" }, h("div", { class: "head" }, h("h1", null, "Partitions"), summary),
      h("div", { class: "controls" },
        h("label", null, "Coloured by", h("span", { class: "segment", role: "group", "aria-label": "Coloured by" }, buttons)),
        h("label", null, "Server", only), h("label", null, "Partition", number), find),
      found, box, h("p", { class: "sr", id: "parts-help" }, "Arrow keys go from partition to partition; what each holds is told below."), legend),
    detail,
  ];
  const state = () => {
    const d = store.data, parts = store.parts; // alive is asked for each copy: it looks up an array
    const nodes = new Map(d.status.attached.map((n) => [n.id, n]));
    const list = parts.servers.map((id) => nodes.get(id)), lives = list.map((n) => !!n && n.state === "active" && n.reachable);
    return { parts, list, should: Math.min(d.status.replication, list.length), alive: (i) => lives[i], name: (i) => (list[i] ? list[i].addr : parts.servers[i]) };
  };
  const dark = () => matchMedia("(prefers-color-scheme: dark)").matches ? document.documentElement.dataset.theme !== "light" : document.documentElement.dataset.theme === "dark";
  // Even steps round the colour wheel, of one lightness, so that none stands out.
  const hue = (i, n) => `oklch(${dark() ? 0.66 : 0.62} ${i % 2 ? 0.11 : 0.15} ${(i * (n > 12 ? 137.508 : 360 / n) + 255) % 360})`;

  function draw() {
    if (!store.parts || store.parts.rows.length === 0) return;
    const { parts, list, alive, should } = state();
    const width = box.clientWidth, n = parts.rows.length;
    if (!width) return;
    const tall = n > 8192 ? 560 : width < 600 ? 420 : 360;
    cell = Math.max(2, Math.min(28, Math.floor(Math.sqrt((width * tall) / n))));
    cols = Math.max(1, Math.floor(width / cell));
    const rows = Math.ceil(n / cols), scale = devicePixelRatio || 1, gap = cell >= 4 ? 1 : 0;
    canvas.style.height = rows * cell + "px";
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(rows * cell * scale);
    const g = canvas.getContext("2d");
    g.scale(scale, scale);
    const names = Object.keys(kinds), shades = Object.fromEntries(colours(names.map((k) => "--p-" + k)).map((c, i) => [names[i], c]));
    const [line, ink] = colours(["--grid-line", "--text"]);
    const f = parts.servers.indexOf(focus);
    const tints = by === "primary" ? list.map((_, i) => hue(i, list.length)) : null;
    const groups = new Map(); // of cells that look the same
    for (let i = 0; i < n; i++) {
      const row = parts.rows[i], primary = (row[2] || [])[0];
      const alpha = f < 0 || primary === f ? 1 : (row[2] || []).includes(f) || (row[3] || []).includes(f) ? 0.45 : 0.1;
      const style = by === "health" ? shades[kindOf(row, alive, should)] : primary === undefined ? line : alive(primary) ? tints[primary] : shades.none;
      const k = alpha + " " + style, group = groups.get(k);
      if (group) group.cells.push(i);
      else groups.set(k, { alpha, style, cells: [i] });
    }
    for (const { alpha, style, cells } of groups.values()) {
      g.globalAlpha = alpha;
      g.fillStyle = style;
      for (const i of cells) g.fillRect((i % cols) * cell, Math.floor(i / cols) * cell, cell - gap, cell - gap);
    }
    g.globalAlpha = 1;
    if (picked >= 0 && picked < n) {
      g.lineWidth = 2;
      g.strokeStyle = ink;
      g.strokeRect((picked % cols) * cell - 1, Math.floor(picked / cols) * cell - 1, cell + 1 + (gap ? 0 : 1), cell + 1 + (gap ? 0 : 1));
    }
  }

  function render(force) {
    if (!store.data) return;
    const { parts, data: d } = store;
    if (!parts || parts.rows.length === 0) {
      text(summary, "There is no cluster yet: attach servers first.");
      return;
    }
    const { list, alive, should, name } = state();
    const counts = Object.fromEntries(Object.keys(kinds).map((k) => [k, 0])), lead = list.map(() => 0);
    for (const row of parts.rows) {
      counts[kindOf(row, alive, should)]++;
      if ((row[2] || []).length) lead[row[2][0]]++;
    }
    text(summary, `${plural(parts.rows.length, "partition", "partitions")}, ${d.status.replication} copies each, map clock ${parts.clock}`);
    canvas.setAttribute("aria-label", "Grid of partitions: " + Object.entries(counts).filter(([, n]) => n).map(([k, n]) => `${n} ${kinds[k]}`).join(", "));
    buttons.forEach((b) => b.setAttribute("aria-pressed", b.dataset.by === by));
    number.max = parts.rows.length - 1;
    put(only, parts.servers.join() + list.map((n) => n && n.addr), () => [h("option", { value: "" }, "all servers"), ...parts.servers.map((id, i) => ({ id, a: name(i) })).sort((a, b) => a.a.localeCompare(b.a, "en", { numeric: true })).map((s) => h("option", { value: s.id }, s.a))]);
    only.value = parts.servers.includes(focus) ? focus : "";
    const sign = [by, focus, JSON.stringify(counts), lead.join(), dark()].join();
    put(legend, sign, () => (by === "health"
      ? Object.entries(kinds).filter(([k]) => counts[k] || k === "ok").map(([k, words]) => h("span", null, h("span", { class: "swatch p-" + k }), words, h("b", null, exact(counts[k]))))
      : list.map((_, i) => i).sort((a, b) => name(a).localeCompare(name(b), "en", { numeric: true })).slice(0, 64).map((i) => { const s = h("span", { class: "swatch" }); s.style.background = hue(i, list.length); return h("button", { type: "button", "aria-pressed": parts.servers[i] === focus, onclick: () => { focus = focus === parts.servers[i] ? "" : parts.servers[i]; render(true); } }, s, name(i), h("b", null, exact(lead[i]))); })));
    const now = sign + parts.clock + picked + list.map((_, i) => alive(i));
    if (force || now !== was) { was = now; draw(); }
    tell();
  }

  function tell() {
    const { parts, list, alive, should, name } = state();
    if (picked < 0) {
      put(detail, "none", () => [h("h2", null, "No partition is chosen"), h("p", { class: "muted" }, "Choose a cell of the grid, or give a number or a key, to see who holds it.")]);
      return;
    }
    const row = parts.rows[picked], kind = kindOf(row, alive, should);
    const level = { ok: "ok", moving: "note", waiting: "note", short: "warning", none: "error" }[kind];
    const member = (i, role) => h("li", null, h("a", { href: "#servers/" + parts.servers[i], class: "num" }, name(i)), h("span", { class: "muted" }, role), list[i] ? pill(...stateOf(list[i])) : pill("error", "detached"));
    put(detail, JSON.stringify([picked, row, list]), () => {
      const n = BigInt(parts.rows.length), from = (BigInt(picked) << 64n) / n, to = ((BigInt(picked) + 1n) << 64n) / n - 1n, hex = (x) => x.toString(16).padStart(16, "0");
      return [
        h("div", { class: "head" }, h("h2", null, `Partition ${picked}`), pill(level, kinds[kind])),
        h("dl", { class: "facts" }, h("div", null, h("dt", null, "Epoch"), h("dd", null, exact(row[0]))), h("div", null, h("dt", null, "Serves"), h("dd", null, row[1] & 1 ? "yes" : row[1] & 2 ? "waits for servers after recover" : "not yet: its primary makes the copies agree")), h("div", null, h("dt", null, "Hashes of its keys"), h("dd", { class: "mono" }, hex(from) + " – " + hex(to)))),
        h("ul", { class: "members", "aria-label": "Members" }, (row[2] || []).map((i, n2) => member(i, n2 === 0 ? "primary" : "backup")), (row[3] || []).map((i) => member(i, "being filled")), (row[4] || []).map((i) => member(i, "planned")), (row[5] || []).map((i) => member(i, "held it last"))),
      ];
    });
  }

  function pick(i) {
    if (!store.parts || !(i >= 0) || i >= store.parts.rows.length) return;
    picked = i;
    number.value = i;
    render(true);
  }
  const under = (ev) => {
    const r = canvas.getBoundingClientRect();
    const c = Math.floor((ev.clientX - r.left) / cell), y = Math.floor((ev.clientY - r.top) / cell), i = y * cols + c;
    return c >= 0 && c < cols && store.parts && i >= 0 && i < store.parts.rows.length ? i : -1;
  };
  canvas.addEventListener("click", (ev) => pick(under(ev)));
  canvas.addEventListener("pointermove", (ev) => {
    const i = under(ev);
    tip.hidden = i < 0;
    if (i < 0) return;
    const { parts, name, alive, should } = state(), row = parts.rows[i];
    tip.replaceChildren(h("div", null, h("b", null, "Partition " + i), h("span", { class: "muted" }, kinds[kindOf(row, alive, should)])), ...(row[2] || []).map((m, n) => h("div", null, name(m), h("span", { class: "muted" }, n ? "backup" : "primary"))));
    const x = ev.clientX - canvas.getBoundingClientRect().left;
    tip.style.left = (x > box.clientWidth / 2 ? x - tip.offsetWidth - 14 : x + 14) + "px";
    tip.style.top = Math.floor(i / cols) * cell + cell + 6 + "px";
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("keydown", (ev) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -cols, ArrowDown: cols, Home: -1e9, End: 1e9 }[ev.key];
    if (!move || !store.parts) return;
    ev.preventDefault();
    pick(Math.max(0, Math.min(store.parts.rows.length - 1, (picked < 0 ? (move > 0 ? -move : 0) : picked) + move)));
  });
  new ResizeObserver(() => draw()).observe(box);
  return { root, update: (_, force) => render(force) };
}
