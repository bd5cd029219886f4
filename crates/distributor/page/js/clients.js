/** The connected clients. */

import { Table, byId, setText, text } from "./dom.js";
import { count, duration, whole } from "./format.js";

export class Clients {
  #table;

  constructor() {
    this.#table = new Table(byId("clients-table"), {
      caption: "Connected clients, those that are furthest behind first",
      key: (client) => client.number,
      empty: "No client is connected.",
      columns: [
        { title: "Address", cell: text((client) => client.address ?? "unknown") },
        { title: "Stream", class: "name", cell: text((client) => client.path) },
        { title: "Filter", class: "wide code", cell: text((client) => decoded(client.filter)) },
        { title: "Connected", class: "number", cell: text((client) => duration(client.seconds)) },
        { title: "Delivered", class: "number", cell: text((client) => whole(client.delivered)) },
        { title: "Waiting", class: "number", cell: text((client) => whole(client.waiting)) },
        { title: "Dropped", class: "number", cell: text((client) => whole(client.dropped)) },
      ],
    });
  }

  update({ clients }) {
    this.#table.update(clients.list);
    const hidden = clients.count - clients.list.length;
    const more = hidden > 0 ? `; the ${clients.list.length} that are furthest behind are listed` : "";
    setText(byId("clients-count"), count(clients.count, "client") + more);
  }
}

/** The query as it was meant. */
function decoded(filter) {
  try {
    return decodeURIComponent(filter.replaceAll("+", " ")) || "everything";
  } catch {
    return filter;
  }
}
