// A table that can be sorted, whose rows stay where they are while they change.
import { h } from "./format.js";

// columns: [{name, label, right, lead, value(row) to sort by, cell(row) an element or text, show(rows),
// sign(row) text that is another one where the cell is}].
// key(row) names a row; sort is the first column's name.
export function table({ caption, columns, key, sort, descending = false, onpick }) {
  const head = h("tr"), body = h("tbody");
  const root = h("table", { class: "cards" }, h("caption", { class: "sr" }, caption), h("thead", null, head), body);
  const shown = new Map(); // key: {tr, tds}
  let rows = [], down = descending, by = sort, visible = "";

  const headers = columns.map((c) => {
    const b = h("button", { type: "button", title: c.title || null, onclick: () => { down = by === c.name ? !down : !!c.right; by = c.name; render(); } }, c.label);
    return h("th", { scope: "col", class: c.right ? "right" : null }, b);
  });

  function render() {
    const col = columns.find((c) => c.name === by);
    const order = rows.slice().sort((a, b) => {
      const x = col.value(a), y = col.value(b);
      const none = (v) => v === null || v === undefined;
      if (none(x) || none(y)) return none(x) - none(y); // what is unknown is last
      const d = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
      return (down ? -d : d) || (key(a) < key(b) ? -1 : 1);
    });
    const show = columns.map((c) => !c.show || c.show(rows));
    if (show.join() !== visible) {
      visible = show.join();
      head.replaceChildren(...headers.filter((_, i) => show[i]));
      shown.clear();
      body.replaceChildren();
    }
    columns.forEach((c, i) => {
      if (c.name === by) headers[i].setAttribute("aria-sort", down ? "descending" : "ascending");
      else headers[i].removeAttribute("aria-sort");
    });
    const there = new Set();
    order.forEach((row, n) => {
      const k = key(row);
      there.add(k);
      let r = shown.get(k);
      if (!r) {
        const tds = columns.map((c, i) => (show[i] ? h("td", { class: [c.right && "right", c.lead && "lead", c.wrap && "wrap"].filter(Boolean).join(" ") || null, "data-label": c.label }) : null));
        r = { tr: h("tr", { "data-id": k }, tds), tds, was: [] };
        shown.set(k, r);
      }
      columns.forEach((c, i) => {
        if (!r.tds[i]) return;
        let sign = c.sign && c.sign(row);
        if (sign !== undefined && r.was[i] === sign) return;
        const cell = c.cell(row);
        sign ??= typeof cell === "string" ? cell : cell.outerHTML;
        if (r.was[i] === sign) return;
        r.was[i] = sign;
        r.tds[i].replaceChildren(cell);
        r.tds[i].classList.toggle("blank", cell === "–");
      });
      if (body.children[n] !== r.tr) body.insertBefore(r.tr, body.children[n] || null);
    });
    for (const [k, r] of shown) if (!there.has(k)) { r.tr.remove(); shown.delete(k); }
  }

  return {
    root: h("div", { class: "scroll", tabindex: null }, root),
    update(list) { rows = list; render(); },
  };
}
