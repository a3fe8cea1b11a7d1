// The console of kumofs: asks the manager every two seconds while somebody looks.
import { h, icon, text, put, clock, time, plural, num } from "./format.js";
import { keep } from "./chart.js";
import { overview, servers, server, moves, events } from "./views.js";
import { partitions } from "./partitions.js";
import { offerCommands } from "./commands.js";

const $ = (id) => document.getElementById(id);
const every = 2000, patience = 8000, longest = 10000;

// What is known of the cluster.
const store = {
  session: null, data: null, series: null, events: [], failed: null, since: 0, at: 0,
  parts: null, // {clock, servers: [id], rows: [[epoch, flags, replicas, joining, planned, last known]]}
  watched: null, // the server whose history is shown
  history: null,
};

// Views: each makes {root, update(store)}.
const views = { overview, servers, partitions, moves, events };
const names = { overview: "Overview", servers: "Servers", partitions: "Partitions", moves: "Moves", events: "Events" };
let view = null, shown = "";

function route() {
  const [name, arg] = location.hash.slice(1).split("/");
  const to = views[name] ? name : "overview";
  const path = to + (arg ? "/" + arg : "");
  for (const a of $("nav").children) {
    if (a.dataset.view === to) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  if (path === shown) return;
  shown = path;
  store.watched = to === "servers" && arg ? arg : null;
  store.history = null;
  view = to === "servers" && arg ? server(arg, store) : views[to](store);
  $("main").replaceChildren(...[view.root].flat());
  document.title = names[to] + " – kumofs";
  window.scrollTo(0, 0);
  if (store.data) view.update(store);
  if (store.data && store.session?.commands) offerCommands(store, poll);
  if (store.watched) poll(); // its history at once
}

// ---- asking

let timer = null, asking = null, wait = every;

async function get(path) {
  const limit = AbortSignal.timeout(patience);
  const r = await fetch(path, { signal: asking ? AbortSignal.any([asking.signal, limit]) : limit, cache: "no-store" });
  const body = await r.json().catch(() => ({}));
  if (!r.ok) throw new Error(body.error || "the manager answered " + r.status);
  return body;
}

async function poll() {
  clearTimeout(timer);
  if (document.hidden) return; // nobody looks: the servers need not be asked
  asking?.abort();
  const mine = (asking = new AbortController());
  const q = new URLSearchParams();
  if (store.data) {
    q.set("boot", store.data.boot);
    q.set("clock", store.parts ? store.parts.clock : 0);
    q.set("event", store.events.length ? store.events[store.events.length - 1].seq : 0);
    q.set("sample", store.series && store.series.t.length ? store.series.t[store.series.t.length - 1] : 0);
  }
  if (store.watched) q.set("server", store.watched);
  try {
    if (!store.session) store.session = await get("session");
    const d = await get("data?" + q);
    if (asking !== mine) return;
    take(d);
    wait = every;
  } catch (e) {
    if (asking !== mine) return;
    const why = e.name === "TimeoutError" ? "it does not answer" : e instanceof TypeError ? "it cannot be reached" : e.message;
    if (!store.failed) { store.since = Date.now(); wait = 1000; } else wait = Math.min(longest, wait * 2);
    store.failed = why;
    // It may be another run of it that answers next, with another token.
    if (e instanceof TypeError) store.session = null;
    await localEvents(mine);
  }
  if (asking !== mine) return;
  asking = null;
  draw();
  timer = setTimeout(poll, wait);
}

// localEvents: while nobody leads, what this manager itself has logged tells why.
async function localEvents(mine) {
  try {
    const e = await get("events");
    if (asking === mine) store.events = e.events;
  } catch { /* it is away: what was heard stays */ }
}

function take(d) {
  const anew = !store.data || store.data.boot !== d.boot || store.failed;
  if (store.data && store.data.boot !== d.boot) { store.parts = null; store.events = []; } // another manager leads; what was measured stays
  store.failed = null;
  store.data = d;
  store.at = Date.now();
  store.history = d.server && d.server.id === store.watched ? d.server : null;
  const known = store.events.length ? store.events[store.events.length - 1].seq : 0;
  store.events = anew && d.events.length && d.events[0].seq <= known ? d.events : store.events.concat(d.events).slice(-200);
  if (!store.series) store.series = d.samples;
  else {
    const s = store.series;
    const last = s.t.length ? s.t[s.t.length - 1] : 0, from = d.samples.t.findIndex((t) => t > last);
    if (from >= 0) for (const k of Object.keys(s)) s[k] = s[k].concat(d.samples[k].slice(from));
    const old = s.t.findIndex((t) => t >= s.t[s.t.length - 1] - keep);
    if (old > 0) for (const k of Object.keys(s)) s[k] = s[k].slice(old);
  }
  const p = d.partitions;
  if (p) {
    if (!p.at) store.parts = { clock: p.clock, servers: p.servers, rows: p.rows };
    else if (store.parts) {
      p.at.forEach((i, n) => { store.parts.rows[i] = p.rows[n]; });
      store.parts.clock = p.clock;
    }
  }
}

// ---- what is always there

const links = Object.fromEntries(Object.keys(views).map((v) => [v, h("a", { href: "#" + v, "data-view": v }, names[v])]));
$("nav").append(...Object.values(links));

function badge(name, n, level) {
  put(links[name], `${n} ${level}`, () => [names[name], n ? h("span", { class: "badge " + level, "aria-label": plural(n, "item", "items") }, num(n)) : null]);
}

function draw() {
  const { data: d, failed } = store;
  document.body.classList.toggle("stale", !!failed && !!d);
  $("banner").hidden = !failed;
  if (failed) {
    put($("banner"), failed + store.since, () => h("div", null, `No news since ${clock(d ? store.at : store.since)}: ${failed}. `, d ? "What is shown is what was heard last. " : "", "This page goes on trying."));
  }
  if (d) {
    const level = failed ? "error" : d.health.level;
    put($("link"), [failed, d.manager, d.clock, level].join(), () => [h("span", { class: "dot " + level }), failed ? "no answer" : h("span", null, h("span", { class: "where" }, d.manager + "  "), h("span", { class: "num", title: "version of the cluster map" }, "clock " + d.clock))]);
    const errors = d.health.problems.filter((p) => p.level === "error").length, warnings = d.health.problems.filter((p) => p.level === "warning").length;
    badge("overview", errors || warnings, errors ? "error" : "warning");
    badge("servers", d.safety.fault_servers, "error");
    badge("moves", d.status.copies_to_make, "");
    view?.update(store);
    put($("footer"), d.version + d.status.cluster + store.session?.why, () => [
      `kumofs ${d.version} · cluster ${d.status.cluster || "none yet"} · `,
      store.session && store.session.commands ? "commands are enabled" : h("span", { title: store.session ? store.session.why : "" }, "read-only"),
      " · times are local, UTC on hover"]);
  }
  document.body.dataset.polls = Number(document.body.dataset.polls || 0) + 1;
  document.body.dataset.link = failed ? "lost" : d ? "ok" : "";
  if (store.session && store.session.commands) offerCommands(store, poll);
}

// ---- light and dark

const themes = ["auto", "light", "dark"];
function remembered() { try { return localStorage.getItem("kumofs-theme"); } catch { return null; } }
function setTheme(t) {
  if (t === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = t;
  try { localStorage.setItem("kumofs-theme", t); } catch { /* not kept then */ }
  const words = `Colours: ${t === "auto" ? "as the system has them" : t}. Press for ${themes[(themes.indexOf(t) + 1) % 3]}`;
  $("theme").replaceChildren(icon(t));
  $("theme").title = words;
  $("theme").setAttribute("aria-label", words);
  $("theme").dataset.at = t;
  if (view && store.data) view.update(store, true);
}
$("theme").addEventListener("click", () => setTheme(themes[(themes.indexOf($("theme").dataset.at) + 1) % 3]));
setTheme(themes.includes(remembered()) ? remembered() : "auto");
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (view && store.data) view.update(store, true); });

$("skip").addEventListener("click", (e) => { e.preventDefault(); $("main").focus(); });
addEventListener("hashchange", route);
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
route();
poll();
