/**
 * The events as they arrive.
 *
 * The memory is bounded: the last events of all, and the last ones that match the filter, which a burst of other events does not
 * push out. Both lists end at a number of events and of characters. The list is drawn four times a second at most.
 */

import { connect } from "../client/index.js";
import { root, token } from "./api.js";
import { open } from "./dialog.js";
import { Table, byId, el, setAttribute, setText, text } from "./dom.js";
import { clock, count, whole } from "./format.js";

/** Events that are kept in each list. */
const KEPT = 500;
/** Characters of all events of a list. */
const MOST_TEXT = 4_000_000;
/** Events that are shown. */
const SHOWN = 100;
/** The least time between two drawings, in milliseconds. */
const PAUSE = 250;
/** Characters of a value in the list. */
const PREVIEW = 160;

export class Events {
  #all = new Ring();
  #matching = new Ring();
  #filter = "";
  #received = 0;
  #missed = 0;
  #paused;
  #drawing;
  #table;
  #stream;

  constructor() {
    this.#table = new Table(byId("events-table"), {
      caption: "Events, the newest first",
      key: (entry) => entry.number,
      empty: "No event has arrived yet. Change a row of a watched table, and it appears here.",
      columns: [
        { title: "Time", class: "time", cell: text((entry) => clock(entry.at)) },
        { title: "Change", cell: (td, row) => changeCell(td, row) },
        { title: "Row", class: "name", cell: (td) => this.#rowCell(td) },
        { title: "Values", class: "wide code", cell: text((entry) => entry.preview) },
      ],
    });
    byId("pause").addEventListener("click", () => this.togglePause());
    byId("filter").addEventListener("input", () => this.#setFilter(byId("filter").value));
    this.#table.body.addEventListener("keydown", (event) => move(event));
  }

  /** Follows the events, from now on. Ends an earlier stream. */
  follow() {
    this.#stream?.close();
    const bearer = token.get();
    const options = { onStatus: showStatus, ...(bearer === undefined ? {} : { token: bearer }) };
    const stream = connect(root, options);
    this.#stream = stream;
    this.#read(stream);
  }

  async #read(stream) {
    try {
      for await (const message of stream) this.#take(message);
    } catch (error) {
      setText(byId("stream"), `The stream has ended: ${error.message}`);
    }
  }

  #take(message) {
    this.#received += message.type === "event" ? 1 : 0;
    this.#missed += message.type === "lagged" ? message.missed : 0;
    const entry = entryOf(message);
    this.#all.push(entry);
    if (this.#filter === "" || matches(entry, this.#filter)) this.#matching.push(entry);
    this.#schedule();
  }

  /** Stops the list where it is, or lets it go on. Events are received meanwhile. */
  togglePause() {
    this.#paused = this.#paused === undefined ? this.#matching.newest(SHOWN) : undefined;
    const isPaused = this.#paused !== undefined;
    setAttribute(byId("pause"), "aria-pressed", String(isPaused));
    setText(byId("pause"), isPaused ? "Continue" : "Pause");
    this.#draw();
  }

  #setFilter(filter) {
    this.#filter = filter.trim().toLowerCase();
    this.#matching = new Ring();
    for (const entry of this.#all.entries()) {
      if (this.#filter === "" || matches(entry, this.#filter)) this.#matching.push(entry);
    }
    if (this.#paused !== undefined) this.#paused = this.#matching.newest(SHOWN);
    this.#draw();
  }

  #schedule() {
    this.#drawing ??= setTimeout(() => {
      this.#drawing = undefined;
      this.#draw();
    }, PAUSE);
  }

  #draw() {
    const shown = this.#paused ?? this.#matching.newest(SHOWN);
    this.#table.update(shown);
    rove(this.#table.body);
    const missed = this.#missed === 0 ? "" : `, ${whole(this.#missed)} missed because the page was too slow`;
    const newer = this.#paused === undefined ? "" : "; paused";
    setText(byId("events-count"), `${count(this.#received, "event")} received${missed}${newer}`);
  }

  /** The row, as a button that shows everything of the event. */
  #rowCell(td) {
    let entry;
    const button = el("button", { type: "button", class: "link row", tabindex: "-1", onclick: () => inspect(entry) });
    const note = el("span", { class: "quiet" });
    td.append(button, note);
    return (shown) => {
      entry = shown;
      button.hidden = shown.event === undefined;
      setText(button, shown.row);
      setText(note, shown.event === undefined ? shown.row : "");
    };
  }
}

/** A bounded list. */
class Ring {
  #entries = [];
  #size = 0;

  push(entry) {
    this.#entries.push(entry);
    this.#size += entry.size;
    while (this.#entries.length > KEPT || (this.#size > MOST_TEXT && this.#entries.length > 1))
      this.#size -= this.#entries.shift().size;
  }

  entries() {
    return this.#entries;
  }

  newest(number) {
    return this.#entries.slice(-number).reverse();
  }
}

let number = 0;

function entryOf(message) {
  number += 1;
  if (message.type !== "event") {
    const row = {
      resync: () => message.reasons.join(", "),
      lagged: () => `${whole(message.missed)} missed`,
      down: () => message.reason,
    };
    return {
      number,
      at: Date.now(),
      kind: message.type,
      row: row[message.type]?.() ?? "",
      preview: meaning(message.type),
      size: 200,
    };
  }
  const { event } = message;
  const table = event.schema === undefined ? event.table : `${event.schema}.${event.table}`;
  const key = event.keys?.[0];
  const row = key === undefined ? `${table} (any row)` : `${table} ${JSON.stringify(key)}`;
  const values = JSON.stringify(event.columns?.[0] ?? {});
  const preview = values === "{}" ? "" : values.length > PREVIEW ? `${values.slice(0, PREVIEW)}…` : values;
  const searched = `${event.operation} ${row} ${values}`.toLowerCase();
  return { number, at: event.sent_at, kind: event.operation, row, preview, searched, event, size: searched.length * 3 + 500 };
}

/** What a message means for those who follow the stream. */
function meaning(type) {
  const meanings = {
    resync: "changes may have been missed before this line",
    lagged: "this page was too slow",
    down: 'changes may be late until the next line "live"',
    resumed: "nothing was missed",
    live: "from here on, no change is missed without notice",
  };
  return meanings[type] ?? "";
}

/** Lines that are no events stay, because they say what the list may lack. */
function matches(entry, filter) {
  return entry.searched === undefined || entry.searched.includes(filter);
}

function changeCell(td, row) {
  const badge = el("span", { class: "badge" });
  td.append(badge);
  const tones = {
    insert: "good",
    update: "accent",
    delete: "bad",
    truncate: "bad",
    resync: "mark",
    lagged: "warn",
    down: "bad",
    live: "good",
    resumed: "good",
  };
  return ({ kind, event }) => {
    setText(badge, kind);
    setAttribute(badge, "data-tone", tones[kind] ?? "quiet");
    row.classList.toggle("notice", event === undefined);
  };
}

/** One of the rows can be reached with Tab; the arrow keys move between them. */
function rove(body) {
  const buttons = [...body.querySelectorAll("button.row:not([hidden])")];
  const current = buttons.find((button) => button === document.activeElement) ?? buttons[0];
  for (const button of buttons) setAttribute(button, "tabindex", button === current ? "0" : "-1");
}

function move(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step === undefined) return;
  const buttons = [...event.currentTarget.querySelectorAll("button.row:not([hidden])")];
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  if (next === undefined) return;
  event.preventDefault();
  next.focus();
  rove(event.currentTarget);
}

function showStatus({ state, error }) {
  const words = { connecting: "connecting", open: "connected", closed: "closed" };
  setText(byId("stream"), words[state] ?? `connection lost: ${error?.message}`);
}

function inspect({ event, row, kind, at }) {
  const before = event.old_columns?.[0] ?? {};
  const after = event.columns?.[0] ?? {};
  const names = [...new Set([...Object.keys(after), ...Object.keys(before)])];
  const hasBefore = Object.keys(before).length > 0;
  const shown = (value) => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));
  const line = (name) => {
    const differs = hasBefore && JSON.stringify(before[name]) !== JSON.stringify(after[name]);
    const cells = [el("th", { scope: "row" }, name), el("td", { class: "code" }, shown(after[name]))];
    if (hasBefore) cells.push(el("td", { class: "code" }, shown(before[name])));
    return el("tr", { class: differs ? "differs" : undefined }, ...cells);
  };
  const heads = ["Column", "Value", ...(hasBefore ? ["Before"] : [])].map((title) => el("th", { scope: "col" }, title));
  const table = el("table", { class: "plain" }, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...names.map(line)));
  const facts = el(
    "p",
    { class: "quiet" },
    `${kind} at ${new Date(at).toISOString()}${event.xid === undefined ? "" : `, transaction ${event.xid}`}`,
  );
  const raw = el("pre", { tabindex: "0", "aria-label": "The event as JSON" }, JSON.stringify(event, null, 2));
  const content = names.length === 0 ? [facts, el("p", {}, "The event has no values."), raw] : [facts, table, raw];
  open(row, content, { kind: "large" });
}
