// Commands, where the manager takes them from this page: each is shown before it is given.
import { h, put, text, exact, plural } from "./format.js";

const known = {
  attach: { label: "Attach", words: (p) => (p.nodes.length ? "takes these servers in: " + p.nodes.join(", ") : "There is no server to attach.") },
  detach: { label: "Detach", words: (p) => (p.nodes.length ? "takes out for good: " + p.nodes.join(", ") : "There is no server at fault to detach.") },
  replace: { label: "Replace", words: () => "plans where each partition should be, and moves what is not there." },
  pause: { label: "Pause moves", words: () => "begins no more copies until they are resumed; those that are being sent are finished." },
  resume: { label: "Resume moves", words: () => "lets paused moves go on." },
  cancel: { label: "Cancel moves", words: () => "leaves every partition where it is now. Copies that are missing are still made." },
};

let card = null;

// offerCommands puts the buttons on the overview and the page of moves.
export function offerCommands(store, asked) {
  const main = document.getElementById("main"), at = location.hash.slice(1).split("/")[0] || "overview";
  if (!card) {
    card = h("section", { class: "card", "aria-label": "Commands" }, h("div", { class: "head" }, h("h2", null, "Commands"), h("span", { class: "muted" }, "what each would do is shown first")), h("div", { class: "controls" }));
  }
  if (at !== "overview" && at !== "moves") return;
  const d = store.data, p = d && d.status.progress;
  const names = ["attach", "detach", "replace", ...(p && (p.paused || d.status.copies_to_make) ? [p.paused ? "resume" : "pause", "cancel"] : [])];
  put(card.lastChild, names.join(), () => names.map((n) => h("button", { type: "button", class: "button", "data-command": n, onclick: () => plan(n, store, asked) }, known[n].label)));
  if (card.parentNode !== main) main.append(card);
}

async function plan(name, store, asked) {
  const dialog = document.getElementById("dialog"), body = h("div"), status = h("p", { role: "alert", class: "muted" });
  const give = h("button", { type: "button", class: "button primary", disabled: true }, known[name].label);
  const cancel = h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel");
  dialog.replaceChildren(h("h2", { id: "dialog-title" }, known[name].label), body, status, h("div", { class: "buttons" }, cancel, give));
  dialog.showModal();
  text(status, "Asking what it would do ...");
  try {
    const r = await fetch("plan?" + new URLSearchParams({ command: name }), { signal: AbortSignal.timeout(10000) });
    const p = await r.json();
    if (!r.ok) throw new Error(p.error);
    const moved = p.servers.filter((s) => s.replicas !== s.then || s.copies);
    body.replaceChildren(h("p", null, known[name].words(p)), ["pause", "resume", "cancel"].includes(name) ? "" : h("p", null, p.copies ? plural(p.copies, "copy of a partition", "copies of partitions") + " would be made:" : "No copy would be made."),
      moved.length ? h("div", { class: "scroll" }, h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Server"), ["Copies now", "Copies then", "To be made"].map((t) => h("th", { scope: "col", class: "right" }, t)))),
        h("tbody", null, moved.map((s) => h("tr", null, h("td", null, s.addr), [s.replicas, s.then, s.copies].map((n) => h("td", { class: "right" }, exact(n)))))))) : "");
    text(status, "");
    give.disabled = (name === "attach" || name === "detach") && p.nodes.length === 0;
    give.addEventListener("click", async () => {
      give.disabled = true;
      text(status, "Under way ...");
      try {
        const a = await fetch("command", {
          method: "POST", headers: { "Content-Type": "application/json", "Kumofs-Console-Token": store.session.token },
          body: JSON.stringify({ command: name, nodes: p.nodes }), signal: AbortSignal.timeout(15000),
        });
        const said = await a.json();
        if (!a.ok) throw new Error(said.error);
        body.replaceChildren(...said.lines.map((l) => h("p", null, l)));
        text(status, "");
        give.remove();
        text(cancel, "Close");
        asked();
      } catch (e) {
        text(status, e.name === "TimeoutError" ? "There was no answer in time: look at the overview for whether it was done." : e.message);
      }
    });
  } catch (e) {
    text(status, "What it would do cannot be told: " + e.message);
  }
}
