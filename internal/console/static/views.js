// Overview, servers, moves and events.
import { h, put, text, num, rate, exact, bytes, micros, duration, plural, percent, time, icon, pill, meter, compareAddr } from "./format.js";
import { chart } from "./chart.js";
import { table } from "./table.js";

const opsChart = () => chart({
  title: "Operations per second", format: num, least: 1,
  lines: [{ name: "get", key: "get", color: 1, fill: true }, { name: "set", key: "set", color: 2 }, { name: "delete", key: "delete", color: 3 }],
});
const latencyChart = (note) => chart({
  title: "Latency", format: micros, least: 100, note, missing: "The servers do not tell latencies",
  lines: [{ name: "get p50", key: "get_p50_us", color: 1 }, { name: "get p99", key: "get_p99_us", color: 1, dash: true },
    { name: "set p50", key: "set_p50_us", color: 2 }, { name: "set p99", key: "set_p99_us", color: 2, dash: true }],
});
const copyChart = () => chart({
  title: "Copying", format: (n) => bytes(n) + (n === null ? "" : "/s"), base: 1024, least: 1024,
  lines: [{ name: "received", key: "copy_in", color: 4, fill: true }],
});

const levels = { error: "Error", warning: "Warning", note: "Note" };

function tile(name) {
  const value = h("div", { class: "value" }), more = h("div", { class: "more" });
  return { root: h("div", { class: "tile" }, h("div", { class: "name" }, name), value, more), set: (v, m) => { text(value, v); text(more, m); } };
}

const sumOf = (list, field) => {
  const known = list.map((x) => x[field]).filter((v) => v !== undefined);
  return known.length ? known.reduce((a, b) => a + b, 0) : null;
};

export function overview() {
  const sign = h("div", { class: "sign" }), headline = h("h1"), detail = h("p"), problems = h("ul", { class: "problems", "aria-label": "What to look at" });
  const health = h("section", { class: "card health", "aria-label": "Health" }, sign, h("div", { class: "said", role: "status" }, headline, detail), problems);
  const tiles = { ops: tile("Operations"), pairs: tile("Pairs"), disk: tile("On disk"), servers: tile("Servers"), managers: tile("Managers"), moves: tile("Copies to make") };
  const ops = opsChart(), latency = latencyChart("p50: the median of the servers' medians; p99: the slowest server's.");
  const stack = h("div", { class: "stack", role: "img" }), legend = h("div", { class: "legend" }), margin = h("p", { class: "muted" });
  const recent = h("ul", { class: "events" });
  const root = [health, h("div", { class: "tiles" }, Object.values(tiles).map((t) => t.root)), h("div", { class: "cols" }, ops.card, latency.card),
    h("div", { class: "cols" },
      h("section", { class: "card", "aria-label": "What may yet fail" }, h("div", { class: "head" }, h("h2", null, "Crashes that each key survives")), stack, legend, margin),
      h("section", { class: "card", "aria-label": "Recent events" }, h("div", { class: "head" }, h("h2", null, "Recent events"), h("a", { href: "#events" }, "All events")), recent))];

  function update({ data: d, series, events }) {
    const { health: he, safety: s, status: st, live } = d;
    health.className = "card health " + he.level;
    put(sign, he.level, () => icon(he.level));
    text(headline, he.headline);
    text(detail, he.detail);
    put(problems, JSON.stringify(he.problems), () => he.problems.map((p) => h("li", { class: p.level }, h("span", { class: "tag" }, levels[p.level]), h("div", null, h("div", null, p.text), p.do ? h("div", { class: "do" }, p.do) : null))));
    const get = sumOf(live, "get"), set = sumOf(live, "set"), del = sumOf(live, "delete");
    tiles.ops.set(get === null ? "–" : rate(get + set + del), get === null ? "two samples are needed" : `${num(get)} get, ${num(set)} set, ${num(del)} delete`);
    const items = sumOf(live, "items"), copies = st.partitions ? s.stored_replicas / st.partitions : 0;
    tiles.pairs.set(items === null || !copies ? "–" : num(Math.round(items / copies)), items === null ? "" : `${plural(items, "copy", "copies")} stored`);
    const avail = live.map((l) => l.disk_avail).filter((v) => v !== undefined);
    tiles.disk.set(bytes(sumOf(live, "disk_usage")), avail.length ? `least free: ${bytes(Math.min(...avail))}` : "");
    tiles.servers.set(`${s.servers_heard} of ${st.attached.length}`, s.fault_servers ? plural(s.fault_servers, "at fault", "at fault") : st.not_attached.length ? plural(st.not_attached.length, "not attached", "not attached") : "all active");
    tiles.managers.set(`${st.managers.filter((m) => m.reachable).length} of ${st.managers.length}`, s.voters > 1 ? `${exact(s.voters_may_fail)} of ${s.voters} voters may fail` : "the only voter");
    tiles.moves.set(exact(st.copies_to_make), st.partitions_short ? plural(st.partitions_short, "partition lacks", "partitions lack") + " copies" : st.copies_to_make ? "no partition lacks copies" : "all is where it should be");
    ops.update(series, d.every * 1000);
    latency.update(series, d.every * 1000);
    const worst = s.copies.map((n, i) => ({ n, i })).filter((c) => c.n > 0);
    const colour = (i) => (i === 0 ? "p-none" : i >= st.replication ? "p-ok" : i === 1 ? "p-short" : "p-moving");
    const words = (i) => (i === 0 ? "not served" : i === 1 ? "none" : `${i - 1} more`);
    put(stack, JSON.stringify(s.copies), () => worst.map(({ n, i }) => { const e = h("span", { class: colour(i), title: words(i) }); e.style.flex = `${n} 0 0`; return e; }));
    stack.setAttribute("aria-label", worst.map(({ n, i }) => `${words(i)}: ${plural(n, "partition", "partitions")}`).join("; ") || "no partitions yet");
    put(legend, JSON.stringify(s.copies), () => worst.map(({ n, i }) => h("span", null, h("span", { class: "swatch " + colour(i) }), words(i), h("b", null, plural(n, "partition", "partitions")))));
    text(margin, s.survives > 0 ? `Any ${plural(s.survives, "more server", "more servers")} may crash, and no key is lost or out of reach.` : s.survives === 0 ? "A further crash makes some keys unreachable until that server is back." : "");
    const few = events.slice(-6).reverse();
    put(recent, few.map((e) => e.seq).join(), () => (few.length ? few.map(eventLine) : h("li", null, h("span", { class: "none" }, "Nothing was logged yet."))));
  }
  return { root, update };
}

// ---- servers

export const stateOf = (n) => (n.state === "active" ? (n.leaving ? ["note", n.leaving] : n.reachable ? ["ok", "active"] : ["warning", "not heard"]) : n.state === "fault" ? ["error", "fault"] : n.state === "refused" ? ["error", "refused"] : ["note", n.state]);

function rowsOf(d) {
  const live = new Map(d.live.map((l) => [l.id, l]));
  return d.status.attached.map((n) => ({ n, l: live.get(n.id) || {}, most: 0 }));
}

const operations = (l) => (l.get === undefined ? null : l.get + (l.set || 0) + (l.delete || 0));

function diskCell(l) {
  if (l.disk_usage === undefined) return "–";
  const all = l.disk_usage + l.disk_avail, level = l.disk_avail < Math.max(2 ** 30, l.disk_usage / 10) ? "error" : "";
  return h("span", null, `${bytes(l.disk_usage)} used`, h("div", { class: "sub" }, `${bytes(l.disk_avail)} free`), meter(l.disk_usage, all, level));
}

export function servers() {
  let most = 0;
  const list = table({
    caption: "Attached servers", key: (r) => r.n.id, sort: "addr",
    columns: [
      { name: "addr", label: "Server", lead: true, value: (r) => r.n.addr, sign: (r) => r.n.addr, cell: (r) => h("a", { href: "#servers/" + r.n.id, class: "num" }, r.n.addr) },
      { name: "state", label: "State", value: (r) => stateOf(r.n)[1], sign: (r) => stateOf(r.n)[1] + (r.l.error || ""), cell: (r) => h("span", null, pill(...stateOf(r.n)), r.l.error ? h("div", { class: "sub" }, r.l.error) : null) },
      { name: "zone", label: "Zone", value: (r) => r.n.zone || "", cell: (r) => r.n.zone || "–", show: (rows) => rows.some((r) => r.n.zone) },
      { name: "ops", label: "Operations", right: true, value: (r) => operations(r.l), sign: (r) => `${operations(r.l)} ${most}`, cell: (r) => (operations(r.l) === null ? "–" : h("span", null, rate(operations(r.l)), meter(operations(r.l), most))) },
      { name: "get", label: "get", right: true, value: (r) => r.l.get, cell: (r) => rate(r.l.get) },
      { name: "set", label: "set", right: true, value: (r) => r.l.set, cell: (r) => rate(r.l.set) },
      { name: "delete", label: "delete", right: true, value: (r) => r.l.delete, cell: (r) => rate(r.l.delete) },
      { name: "p99", label: "p99 get / set", right: true, value: (r) => r.l.get_p99_us, cell: (r) => (r.l.get_p99_us === undefined ? "–" : `${micros(r.l.get_p99_us)} / ${micros(r.l.set_p99_us)}`), show: (rows) => rows.some((r) => r.l.get_p99_us !== undefined) },
      { name: "items", label: "Pairs", right: true, value: (r) => r.l.items, cell: (r) => num(r.l.items) },
      { name: "replicas", label: "Partitions", right: true, title: "copies of partitions, and of how many it is the primary", value: (r) => r.n.replicas, sign: (r) => `${r.n.replicas} ${r.n.primaries}`, cell: (r) => h("span", null, exact(r.n.replicas), h("div", { class: "sub" }, exact(r.n.primaries) + " primary")) },
      { name: "copies", label: "Copies left", right: true, value: (r) => r.n.copies_left, cell: (r) => exact(r.n.copies_left) },
      { name: "disk", label: "Disk", right: true, value: (r) => r.l.disk_usage, sign: (r) => `${r.l.disk_usage} ${r.l.disk_avail}`, cell: (r) => diskCell(r.l) },
      { name: "uptime", label: "Up for", right: true, value: (r) => r.l.uptime, cell: (r) => duration(r.l.uptime) },
      { name: "version", label: "Version", value: (r) => r.l.version || "", cell: (r) => r.l.version || r.n.version || "–" },
    ],
  });
  const waiting = table({
    caption: "Servers that are not attached", key: (n) => n.id, sort: "addr",
    columns: [
      { name: "addr", label: "Server", lead: true, value: (n) => n.addr, cell: (n) => n.addr },
      { name: "state", label: "State", value: (n) => n.state, cell: (n) => pill(...stateOf({ ...n, state: n.state === "fault" ? "back" : n.state })) },
      { name: "zone", label: "Zone", value: (n) => n.zone || "", cell: (n) => n.zone || "–", show: (rows) => rows.some((n) => n.zone) },
      { name: "note", label: "What to know", wrap: true, value: (n) => n.note || "", cell: (n) => n.note || (n.state === "fault" ? "it is back, and takes part again after attach" : "attach takes it in") },
    ],
  });
  const voters = table({
    caption: "Managers and witnesses", key: (m) => m.id, sort: "addr",
    columns: [
      { name: "addr", label: "Address", lead: true, value: (m) => m.addr, cell: (m) => m.addr },
      { name: "role", label: "Role", value: (m) => m.role, cell: (m) => (m.leader ? h("span", null, m.role + " ", pill("note", "leads")) : m.role) },
      { name: "state", label: "State", value: (m) => (m.reachable ? "heard" : "silent"), cell: (m) => (m.reachable ? pill("ok", "heard") : pill("warning", "silent")) },
      { name: "voter", label: "Votes", value: (m) => (m.voter ? 0 : 1), cell: (m) => (m.voter ? "yes" : "not yet") },
    ],
  });
  const gateways = generic("Gateways");
  const waitingCard = h("section", { class: "card", "aria-label": "Not attached" }, h("div", { class: "head" }, h("h2", null, "Not attached")), waiting.root);
  const count = h("span", { class: "muted" });
  const root = [
    h("section", { class: "card", "aria-label": "Servers" }, h("div", { class: "head" }, h("h1", null, "Servers"), count), list.root),
    waitingCard,
    h("section", { class: "card", "aria-label": "Managers" }, h("div", { class: "head" }, h("h2", null, "Managers")), voters.root),
    gateways.card,
  ];
  return {
    root,
    update({ data: d }) {
      const rows = rowsOf(d), st = d.status;
      most = Math.max(1, ...rows.map((r) => operations(r.l) || 0));
      list.update(rows);
      text(count, `${plural(d.safety.active_servers, "active", "active")}${d.safety.fault_servers ? ", " + d.safety.fault_servers + " at fault" : ""}`);
      waitingCard.hidden = st.not_attached.length === 0;
      waiting.update(st.not_attached);
      voters.update([...st.managers.map((m) => ({ ...m, role: "manager" })), ...st.witnesses.map((w) => ({ ...w, role: "witness of a server", id: "w" + w.id }))]);
      gateways.update(st.gateways);
    },
  };
}

// generic shows a list of plain objects of which this page knows no more than the names.
function generic(title) {
  const inner = h("div"), card = h("section", { class: "card", hidden: true, "aria-label": title }, h("div", { class: "head" }, h("h2", null, title)), inner);
  let keys = "", list = null;
  const show = (k, v) => (v === undefined || v === null || v === "" ? "–" : typeof v === "boolean" ? (v ? "yes" : "no") : typeof v !== "number" ? String(v) : /bytes/.test(k) ? bytes(v) : /uptime|seconds/.test(k) ? duration(v) : num(v));
  return {
    card,
    update(rows) {
      card.hidden = !rows || rows.length === 0;
      if (card.hidden) return;
      const names = [...new Set(rows.flatMap((r) => Object.keys(r).filter((k) => typeof r[k] !== "object" && k !== "id")))].sort((a, b) => /addr|host/.test(b) - /addr|host/.test(a));
      if (names.join() !== keys) {
        keys = names.join();
        list = table({
          caption: title, key: (r) => String(r.id || r[names[0]]), sort: names[0],
          columns: names.map((k, i) => ({ name: k, label: k.replaceAll("_", " "), lead: i === 0, right: rows.every((r) => typeof r[k] === "number"), value: (r) => (typeof r[k] === "boolean" ? Number(r[k]) : r[k]), cell: (r) => show(k, r[k]) })),
        });
        inner.replaceChildren(list.root);
      }
      list.update(rows);
    },
  };
}

// server is one server's page.
export function server(id) {
  const title = h("h1", { class: "num" }), state = h("span"), facts = h("dl", { class: "facts" }), error = h("p", { class: "muted", hidden: true });
  const ops = opsChart(), latency = latencyChart(), copying = copyChart();
  const root = [
    h("div", { class: "head" }, h("a", { href: "#servers" }, "← All servers"), h("a", { href: "#partitions/" + id }, "Its partitions in the map →")),
    h("section", { class: "card", "aria-label": "Server" }, h("div", { class: "head" }, title, state), error, facts),
    h("div", { class: "cols" }, ops.card, latency.card),
    copying.card,
  ];
  return {
    root,
    update({ data: d, history }) {
      const r = rowsOf(d).find((x) => x.n.id === id);
      if (!r) {
        text(title, "This server is not attached");
        facts.replaceChildren();
        return;
      }
      const { n, l } = r;
      text(title, n.addr);
      put(state, stateOf(n).join(), () => pill(...stateOf(n)));
      error.hidden = !l.error;
      text(error, l.error ? "It does not tell what it does: " + l.error : "");
      const list = [
        ["Operations", operations(l) === null ? "–" : rate(operations(l))], ["Pairs stored", exact(l.items)],
        ["Partitions", `${exact(n.replicas)}, primary of ${exact(n.primaries)}`], ["Copies left to make there", exact(n.copies_left)],
        ["Disk used by the store", bytes(l.disk_usage)], ["Disk free", bytes(l.disk_avail)],
        ["Replication", l.replstat || "–"], ["Store", l.store || "–"], ["Connections", exact(l.connections)], ["Items in the cache", num(l.cache_items)],
        ["Compactions", exact(l.compactions)], ["Write stalls", exact(l.write_stalls)],
        ["Up for", duration(l.uptime)], ["Version", l.version || n.version || "–"], ["Zone", n.zone || "none"], ["Address for copies", n.stream_addr], ["ID", n.id], ["Run", exact(n.incarnation)],
      ];
      put(facts, JSON.stringify(list), () => list.map(([k, v]) => h("div", null, h("dt", null, k), h("dd", null, v))));
      if (history) for (const c of [ops, latency, copying]) c.update(history, d.every * 1000);
    },
  };
}

// ---- moves

export function moves() {
  const headline = h("h1"), detail = h("p", { class: "muted" }), bar = h("div"), facts = h("dl", { class: "facts" });
  const copying = copyChart();
  const list = table({
    caption: "Copies by server", key: (r) => r.n.id, sort: "left", descending: true,
    columns: [
      { name: "addr", label: "Server", lead: true, value: (r) => r.n.addr, cell: (r) => h("a", { href: "#servers/" + r.n.id }, r.n.addr) },
      { name: "state", label: "State", value: (r) => stateOf(r.n)[1], cell: (r) => pill(...stateOf(r.n)) },
      { name: "replicas", label: "Copies there", right: true, value: (r) => r.n.replicas, cell: (r) => exact(r.n.replicas) },
      { name: "left", label: "Copies to come", right: true, value: (r) => r.n.copies_left, cell: (r) => h("span", null, exact(r.n.copies_left), r.n.copies_left ? meter(r.n.replicas, r.n.replicas + r.n.copies_left) : null) },
      { name: "in", label: "Receives", right: true, value: (r) => r.l.copy_in, cell: (r) => (r.l.copy_in === undefined ? "–" : bytes(r.l.copy_in) + "/s") },
      { name: "out", label: "Sends", right: true, value: (r) => r.l.copy_out, cell: (r) => (r.l.copy_out === undefined ? "–" : bytes(r.l.copy_out) + "/s") },
    ],
  });
  const under = h("div"), underHead = h("span", { class: "muted" });
  const root = [
    h("section", { class: "card", "aria-label": "Progress" }, h("div", { class: "head" }, headline), detail, bar, facts),
    copying.card,
    h("section", { class: "card", "aria-label": "Servers" }, h("div", { class: "head" }, h("h2", null, "By server")), list.root),
    h("section", { class: "card", "aria-label": "Partitions" }, h("div", { class: "head" }, h("h2", null, "Partitions being copied now"), underHead), under),
  ];
  return {
    root,
    update({ data: d, parts, series }) {
      const st = d.status, p = st.progress;
      text(headline, p && p.paused ? "Moves are paused" : st.copies_to_make ? `${plural(st.copies_to_make, "copy or move is", "copies and moves are")} to be made` : "Nothing is being moved");
      text(detail, st.copies_to_make ? (st.partitions_short ? `Until then ${plural(st.partitions_short, "partition has", "partitions have")} fewer copies than it should. ` : "No partition lacks a copy meanwhile. ") + "Clients are served all the time." : "Every partition is where planning wants it.");
      const list2 = [];
      if (p) {
        const known = (v) => v !== undefined && v >= 0;
        const done = p.partitions_done, all = done + p.partitions_left;
        put(bar, `${done} ${all}`, () => (all ? h("p", null, meter(done, all, "big", "Progress of the moves"), h("span", { class: "muted" }, `${percent(done, all)} % of ${plural(all, "copy", "copies")}`)) : null));
        if (all) list2.push(["Copies", `${exact(done)} done, ${exact(p.partitions_left)} left`], ["Bytes", `${bytes(p.bytes_done)} done` + (known(p.bytes_left) ? `, about ${bytes(p.bytes_left)} left` : "")], ["Speed", bytes(p.bytes_per_second) + "/s"], ["Ends in about", p.paused ? "paused" : known(p.seconds_left) ? duration(p.seconds_left) : "–"], ...(known(p.seconds) ? [["Under way for", duration(p.seconds)]] : []), ...(st.copying ? [["As told", st.copying]] : []));
      }
      put(facts, JSON.stringify(list2), () => list2.map(([k, v]) => h("div", null, h("dt", null, k), h("dd", null, v))));
      copying.update(series, d.every * 1000);
      list.update(rowsOf(d));
      const addr = new Map(st.attached.map((n) => [n.id, n.addr]));
      const name = (i) => addr.get(parts.servers[i]) || parts.servers[i];
      const busy = [];
      if (parts) parts.rows.forEach((r, i) => { if ((r[3] || []).length) busy.push([i, r]); });
      text(underHead, busy.length > 50 ? `the first 50 of ${exact(busy.length)}` : "");
      put(under, JSON.stringify(busy.slice(0, 50)) + st.clock, () => (busy.length === 0 ? h("p", { class: "muted" }, "None.") : h("div", { class: "scroll" }, h("table", { class: "cards" },
        h("thead", null, h("tr", null, ["Partition", "From", "To"].map((t) => h("th", { scope: "col" }, t)))),
        h("tbody", null, busy.slice(0, 50).map(([i, r]) => h("tr", null, h("td", { class: "lead", "data-label": "Partition" }, "Partition " + i), h("td", { "data-label": "From" }, r[2].length ? name(r[2][0]) : "–"), h("td", { "data-label": "To" }, r[3].map(name).join(", ")))))))));
    },
  };
}

// ---- events

function eventLine(e) {
  const level = { ERROR: "error", WARN: "warning" }[e.level] || "";
  const [words, ...attrs] = e.text.split("  ");
  return h("li", null, time(e.time), h("span", null, pill(level, { ERROR: "error", WARN: "warning", INFO: "info" }[e.level] || e.level.toLowerCase())), h("span", { class: "text" }, words, attrs.length ? h("span", { class: "attrs" }, "  " + attrs.join("  ")) : null));
}

export function events() {
  const list = h("ul", { class: "events", "aria-label": "Events, the latest first" }), whose = h("p", { class: "muted" });
  const words = h("input", { type: "search", placeholder: "text", "aria-label": "Show events with this text" });
  const only = h("select", { "aria-label": "Level" }, h("option", { value: "" }, "all levels"), h("option", { value: "WARN" }, "warnings and errors"), h("option", { value: "ERROR" }, "errors"));
  let last = null;
  function update(s) {
    last = s;
    const least = { "": 0, WARN: 1, ERROR: 2 }[only.value], rank = { INFO: 0, WARN: 1, ERROR: 2 };
    const found = s.events.filter((e) => (rank[e.level] ?? 0) >= least && e.text.toLowerCase().includes(words.value.toLowerCase())).reverse();
    text(whose, `What manager ${s.data.manager} logged, the latest first; the last 200 lines are kept. `);
    put(list, found.map((e) => e.seq).join() + words.value, () => (found.length ? found.map(eventLine) : h("li", null, h("span", { class: "none" }, s.events.length ? "No event is like that." : "Nothing was logged yet."))));
  }
  words.addEventListener("input", () => last && update(last));
  only.addEventListener("change", () => last && update(last));
  return { root: h("section", { class: "card", "aria-label": "Events" }, h("div", { class: "head" }, h("h1", null, "Events"), h("div", { class: "controls" }, words, only)), whose, list), update };
}
