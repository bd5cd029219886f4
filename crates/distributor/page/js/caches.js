/** The caches of the process. */

import { Table, byId, el, setAttribute, setText, text } from "./dom.js";
import { percent, whole } from "./format.js";

export class Caches {
  #table;

  constructor() {
    const number = (title, of) => ({ title, class: "number", cell: text((cache) => whole(of(cache))) });
    this.#table = new Table(byId("caches-table"), {
      caption: "Caches",
      key: (cache) => cache.name,
      empty: "This process shows no caches.",
      columns: [
        { title: "Cache", class: "name", cell: text((cache) => cache.name) },
        { title: "State", cell: (td) => stateCell(td) },
        { title: "Hit ratio", cell: (td) => ratioCell(td) },
        number("Hits", (cache) => cache.hits),
        number("Misses", (cache) => cache.misses),
        number("Invalidated", (cache) => cache.invalidated),
        number("Flushes", (cache) => cache.flushes),
        number("Bypassed", (cache) => cache.bypassed),
        { title: "Values", class: "number", cell: text((cache) => `${whole(cache.entries)} of ${whole(cache.capacity)}`) },
      ],
    });
  }

  update({ caches }) {
    this.#table.update(caches);
  }
}

function stateCell(td) {
  const badge = el("span", { class: "badge" });
  td.append(badge);
  return (cache) => {
    setText(badge, cache.refused !== null ? "closed" : cache.is_live ? "live" : "bypassed");
    setAttribute(badge, "data-tone", cache.is_live ? "good" : "bad");
  };
}

function ratioCell(td) {
  const value = el("span", {});
  const meter = el("meter", { min: 0, max: 1, "aria-label": "hit ratio" });
  td.append(value, " ", meter);
  return ({ hit_ratio: ratio }) => {
    meter.hidden = ratio === null;
    meter.value = ratio ?? 0;
    setText(value, ratio === null ? "–" : percent(ratio));
  };
}
