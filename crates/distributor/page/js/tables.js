/** Rates and latencies of tables. */

import { bars, recentRate } from "./chart.js";
import { Table, byId, el, setText, text } from "./dom.js";
import { millis, rate, whole } from "./format.js";

/** The slots of the server: five minutes of five seconds. */
const SLOTS = 60;

export class Tables {
  #table;
  #more = el("p", { class: "quiet" });

  constructor() {
    this.#table = new Table(byId("tables-table"), {
      caption: "Rates and latencies of tables",
      key: (table) => table.table,
      empty: "No event has arrived yet. The tables appear here with their first event.",
      columns: [
        { title: "Table", class: "name", cell: text((table) => table.table) },
        { title: "Events", class: "chart-cell", cell: (td) => chartCell(td, "accent", rateOf, rateLabel) },
        { title: "Latency, highest", class: "chart-cell", cell: (td) => chartCell(td, "mark", latencyOf, latencyLabel) },
        { title: "Mean", class: "number", cell: text((table) => millis(mean(table))) },
        { title: "Total", class: "number", cell: text((table) => whole(table.total)) },
      ],
    });
    byId("tables-table").append(this.#more);
  }

  update({ rates }) {
    this.#table.update(rates.tables.map((table) => ({ ...table, seconds: rates.slot_seconds })));
    setText(this.#more, rates.others === 0 ? "" : `${whole(rates.others)} events of further tables are not shown.`);
  }
}

function chartCell(td, tone, valueOf, labelOf) {
  const { chart, draw } = bars(SLOTS, tone);
  const value = el("span", { class: "chart-value" });
  td.append(value, chart);
  return (table) => {
    const { values, shown } = valueOf(table);
    setText(value, shown);
    draw(values, labelOf(table, shown));
  };
}

function rateOf({ events, seconds }) {
  return { values: events, shown: `${rate(recentRate(events, seconds))}/s` };
}

function rateLabel({ events, seconds }, shown) {
  return `${shown}; at most ${rate(Math.max(...events) / seconds)}/s in five minutes`;
}

function latencyOf({ events, highest_latency: highest }) {
  const recent = highest.filter((_, index) => events[index] > 0).slice(-1);
  return { values: highest, shown: recent.length === 0 ? "–" : millis(recent[0]) };
}

function latencyLabel({ highest_latency: highest }, shown) {
  return `${shown} lately; at most ${millis(Math.max(...highest))} in five minutes`;
}

function mean({ events, mean_latency: means }) {
  const total = events.reduce((sum, number) => sum + number, 0);
  const weighted = means.reduce((sum, latency, index) => sum + latency * events[index], 0);
  return total === 0 ? 0 : weighted / total;
}
