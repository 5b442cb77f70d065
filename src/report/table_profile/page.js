// Finds, filters and sorts the cards of a profile, and makes the tables of figures that are opened.
// Names and values come from the page's JSON and only ever become text nodes.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const cards = data.columns.map((_, i) => byId(`column-${i + 1}`));
  const grid = document.querySelector(".cards");
  const several = data.tables.length > 1;

  // As on the rest of the page: controls and what turns the direction of text are seen, and do nothing.
  const HIDDEN = /[\p{Cc}\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
  const visible = (text) => String(text).replace(HIDDEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  const element = (tag, text, cls) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = visible(text);
    if (cls) made.className = cls;
    return made;
  };
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const heading = (text, scope, cls) => {
    const th = element("th", text, cls);
    th.scope = scope;
    return th;
  };
  const table = (caption, head, rows, cls) => {
    const made = element("table", undefined, cls);
    made.append(element("caption", caption));
    const line = made.createTHead().insertRow();
    head.forEach((text, i) => line.append(heading(text, "col", i && text !== "Table" ? "number" : "")));
    const body = made.createTBody();
    for (const [first, cells] of rows) {
      const row = body.insertRow();
      row.append(first instanceof Node ? first : heading(first || "(empty)", "row"));
      for (const cell of cells) row.append(cell instanceof Node ? cell : element("td", cell, "number"));
    }
    return made;
  };

  // The figures of a card, when it is opened first.
  const fill = (index, place) => {
    const { figures, counts } = data.columns[index];
    const named = figures.map(([name, cells]) => [capital(name), cells]);
    place.append(table("Figures", ["", ...(several ? data.tables : [""])], named, "small"));
    if (!counts) return;
    const heads = several ? data.tables : ["Rows"];
    place.append(table("Counts", [counts.head, ...heads], counts.rows, "small"));
    if (counts.note) place.append(element("p", counts.note, "soft"));
  };
  grid.addEventListener("toggle", (event) => {
    const place = event.target.querySelector("div");
    if (!event.target.open || place.hasChildNodes()) return;
    fill(Number(event.target.closest("article").id.slice("column-".length)) - 1, place);
  }, true);

  // One table of all columns that are shown, a line a column and table; a part at a time.
  const WANTED = ["type", "missing", "distinct", "least", "5%", "median", "95%", "most", "mean", "standard deviation"];
  const PART = 200;
  const all = byId("figures");
  let shown = data.columns.map((_, i) => i);
  const lines = (from) => shown.slice(from, from + PART).flatMap((i) => {
    const column = data.columns[i];
    const values = new Map(column.figures);
    return data.tables.flatMap((label, t) => {
      const types = values.get("type");
      if (types[t] === "-") return [];
      const first = heading(undefined, "row");
      const link = element("a");
      link.href = `#column-${i + 1}`;
      link.append(element("bdi", column.name || "(empty)", "name"));
      first.append(link);
      // What stands in brackets is told on the card.
      const cells = WANTED.map((name) => (values.get(name)?.[t] ?? "-").replace(/ \(.*/, ""));
      return [[first, several ? [element("td", label), ...cells] : cells]];
    });
  });
  const fillAll = (upTo) => {
    if (!all.open) return;
    const rows = [];
    for (let from = 0; from < Math.min(upTo, shown.length); from += PART) rows.push(...lines(from));
    const head = ["Column", ...(several ? ["Table"] : []), ...WANTED.map(capital)];
    const scroll = element("div", undefined, "scroll");
    scroll.tabIndex = 0;
    scroll.append(table("Every column that is shown", head, rows));
    all.querySelector("div").replaceChildren(scroll);
    if (shown.length > upTo) {
      const more = element("button", `Show ${Math.min(PART, shown.length - upTo)} more of ${shown.length} columns`);
      more.type = "button";
      more.addEventListener("click", () => fillAll(upTo + PART));
      all.querySelector("div").append(more);
    }
  };
  all.addEventListener("toggle", () => fillAll(PART));

  const [find, type, remark, order] = ["find", "type", "remark", "order"].map(byId);
  const ORDERS = {
    weight: (a, b) => b.weight - a.weight,
    name: (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
    missing: (a, b) => b.missing - a.missing,
    distinct: (a, b) => b.distinct - a.distinct,
  };
  let sorted = "";
  const apply = () => {
    const sought = find.value.trim().toLowerCase();
    const about = remark ? remark.value : "";
    const fits = (column) =>
      column.name.toLowerCase().includes(sought) &&
      (!type.value || column.types.includes(type.value)) &&
      (!about || (about === "*" ? column.remarks.length > 0 : column.remarks.includes(about)));
    const indices = data.columns.map((_, i) => i);
    const by = ORDERS[order.value];
    if (by) indices.sort((a, b) => by(data.columns[a], data.columns[b]) || a - b);
    if (sorted !== order.value) {
      grid.append(...indices.map((i) => cards[i]));
      sorted = order.value;
    }
    shown = indices.filter((i) => fits(data.columns[i]));
    const visible = new Set(shown);
    cards.forEach((card, i) => { card.hidden = !visible.has(i); });
    byId("shown").textContent = shown.length === cards.length
      ? `${cards.length} columns`
      : `${shown.length} of ${cards.length} columns`;
    fillAll(PART);
  };
  let waiting;
  find.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 120);
  });
  for (const select of [type, remark, order]) select?.addEventListener("change", apply);

  // A link to a card that is filtered away shows all cards again. Cards are as high as was guessed until
  // they have been drawn, so that a long way is gone at once, and corrected.
  const reveal = () => {
    const card = location.hash.startsWith("#column-") && byId(location.hash.slice(1));
    if (!card) return;
    if (card.hidden) {
      for (const field of [find, type, remark]) if (field) field.value = "";
      apply();
    }
    const go = (left) => {
      card.scrollIntoView({ behavior: "instant" });
      if (left) requestAnimationFrame(() => go(left - 1));
    };
    go(3);
  };
  addEventListener("hashchange", reveal);
  addEventListener("load", reveal);
  document.addEventListener("click", (event) => {
    // The same hash again is no change.
    if (event.target.closest("a")?.hash === location.hash) reveal();
  });

  byId("tools").hidden = false;
  all.hidden = false;
  apply();
})();
