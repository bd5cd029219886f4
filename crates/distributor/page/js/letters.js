/** The parked events and dead letters of one group, with their operations. */

import { list, operate } from "./api.js";
import { confirm, open, toast } from "./dialog.js";
import { Table, el, setText, text } from "./dom.js";
import { clock, count } from "./format.js";

/** Events of a page. */
const LIMIT = 20;

const KINDS = {
  "dead-letters": { title: "Dead letters", noun: "dead letter", empty: "There are no dead letters." },
  parked: { title: "Parked events", noun: "parked event", empty: "There are no parked events." },
};

/** Opens the list. `changed` is called after each operation. */
export function openLetters(group, kind, changed) {
  new Letters(group, kind, changed).load();
}

class Letters {
  #group;
  #kind;
  #changed;
  #table;
  #note = el("p", { class: "quiet", role: "status" }, "Loading");
  #more;
  #events = [];
  #dialog;

  constructor(group, kind, changed) {
    [this.#group, this.#kind, this.#changed] = [group, kind, changed];
    const { title, empty } = KINDS[kind];
    const holder = el("div", {});
    this.#table = new Table(holder, {
      caption: `${title} of group ${group}`,
      key: (event) => event.id,
      empty,
      columns: [
        { title: "Event", class: "name", cell: text(named) },
        { title: "Error", class: "wide", cell: text((event) => event.error ?? waiting(event)) },
        { title: "Values", class: "wide code", cell: text((event) => (event.columns ?? "") + (event.is_cut ? "…" : "")) },
        { title: "Attempts", class: "number", cell: text((event) => String(event.attempts)) },
        {
          title: kind === "parked" ? "Parked" : "Given up",
          class: "time",
          cell: text((event) => clock(event.dead_at ?? event.parked_at)),
        },
        { title: "", class: "actions", cell: (td) => this.#actions(td) },
      ],
    });
    this.#more = el("button", { type: "button", onclick: () => this.load(this.#events.at(-1)?.id) }, "Show more");
    this.#more.hidden = true;
    this.#dialog = open(`${title} of ${group}`, [this.#note, holder, this.#more], { buttons: this.#buttons(), kind: "large" });
  }

  /** Loads the events behind an id, or the first ones. */
  async load(after) {
    try {
      const events = await list(this.#group, this.#kind, { after, limit: LIMIT });
      this.#events = after === undefined ? events : [...this.#events, ...events];
      this.#more.hidden = events.length < LIMIT;
      this.#table.update(this.#events);
      const { noun } = KINDS[this.#kind];
      setText(this.#note, `${count(this.#events.length, noun)}${this.#more.hidden ? "" : ", and more"}`);
    } catch (error) {
      setText(this.#note, `They cannot be read: ${error.message}`);
    }
  }

  #buttons() {
    const all = (label, action, kind) => el("button", { type: "button", class: kind, onclick: action }, label);
    const retry = all("Retry all", () => this.#run("retry"), "primary");
    if (this.#kind === "parked") return [retry];
    return [retry, all("Discard all…", () => this.#discard(), "danger")];
  }

  #actions(td) {
    let event;
    const retry = el("button", { type: "button", onclick: () => this.#run("retry", event) }, "Retry");
    td.append(retry);
    const discard = el("button", { type: "button", class: "danger", onclick: () => this.#discard(event) }, "Discard…");
    if (this.#kind === "dead-letters") td.append(discard);
    return (shown) => {
      event = shown;
      retry.setAttribute("aria-label", `Retry ${named(shown)}`);
      discard.setAttribute("aria-label", `Discard ${named(shown)}`);
    };
  }

  async #discard(event) {
    const what = event === undefined ? `all dead letters of ${this.#group}` : `the dead letter ${named(event)} of ${this.#group}`;
    const text = `This deletes ${what}. Their effects never happen. It cannot be undone.`;
    if (await confirm("Discard?", text, "Discard")) await this.#run("discard", event);
  }

  /** Runs an operation on one event, or on all of them. */
  async #run(operation, event) {
    const { noun } = KINDS[this.#kind];
    try {
      const { changed } = await operate(this.#group, `${this.#kind}/${operation}`, event && [event.id]);
      const done = operation === "retry" ? "tried again" : "discarded";
      toast(`${count(changed, noun)} of ${this.#group} ${changed === 1 ? "is" : "are"} ${done}.`);
    } catch (error) {
      toast(`Nothing has changed: ${error.message}`, "bad");
    }
    await this.load();
    this.#changed();
    this.#keepFocus();
  }

  /** The row of the button that was pressed may be gone. */
  #keepFocus() {
    if (!this.#dialog.open || this.#dialog.contains(document.activeElement)) return;
    const next = this.#dialog.querySelector("td.actions button") ?? this.#dialog.querySelector(".foot button:last-child");
    next.focus();
  }
}

function named({ id, table, operation, key }) {
  if (table === null) return `resync ${id}`;
  return `${operation} ${table} ${key ?? "(any row)"}`;
}

function waiting({ due_at: due }) {
  return due === null ? "waits behind an earlier event of the row" : `due at ${clock(due)}`;
}
