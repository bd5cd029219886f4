/** The groups of durable handlers, with their operations. */

import { operate } from "./api.js";
import { toast } from "./dialog.js";
import { Table, byId, el, setAttribute, setText, text } from "./dom.js";
import { count, duration, whole } from "./format.js";
import { openLetters } from "./letters.js";

export class Groups {
  #table;
  #mayOperate = false;
  #changed;

  /** `changed` is called after each operation. */
  constructor(changed) {
    this.#changed = changed;
    this.#table = new Table(byId("groups-table"), {
      caption: "Groups of durable handlers",
      key: (group) => group.name,
      empty: "There are no groups. They appear here when the first consumer of a durable handler has started.",
      columns: [
        { title: "Group", class: "name", cell: text((group) => group.name) },
        { title: "State", cell: (td) => stateCell(td) },
        { title: "Lag", class: "number", cell: text(lag) },
        { title: "Consumers", class: "wide", cell: text(owners) },
        { title: "Parked", class: "number", cell: (td) => this.#listCell(td, "parked", (group) => group.parked) },
        {
          title: "Dead letters",
          class: "number",
          cell: (td) => this.#listCell(td, "dead-letters", (group) => group.dead_letters),
        },
        { title: "", class: "actions", cell: (td) => this.#actionCell(td) },
      ],
    });
  }

  update({ database, may_operate: mayOperate }) {
    this.#mayOperate = mayOperate;
    this.#table.update(database?.groups ?? []);
    setText(byId("groups-age"), age(database));
  }

  /** A number that opens the list behind it. */
  #listCell(td, kind, of) {
    let group;
    const button = el("button", { type: "button", class: "link", onclick: () => openLetters(group.name, kind, this.#changed) });
    const plain = el("span");
    td.append(button, plain);
    return (shown) => {
      group = shown;
      const number = of(shown);
      button.hidden = !this.#mayOperate;
      plain.hidden = this.#mayOperate;
      setText(plain, whole(number));
      setText(button, whole(number));
      const noun = kind === "parked" ? "parked event" : "dead letter";
      setAttribute(button, "aria-label", `${count(number, noun)} of ${shown.name}: show`);
      setAttribute(button, "data-tone", number === 0 ? "" : kind === "parked" ? "warn" : "bad");
    };
  }

  #actionCell(td) {
    let group;
    const pause = el("button", { type: "button", onclick: () => this.#setPaused(group) });
    td.append(pause);
    return (shown) => {
      group = shown;
      pause.hidden = !this.#mayOperate;
      setText(pause, shown.is_paused ? "Resume" : "Pause");
      setAttribute(pause, "aria-label", `${shown.is_paused ? "Resume" : "Pause"} group ${shown.name}`);
    };
  }

  async #setPaused({ name, is_paused: isPaused }) {
    try {
      await operate(name, isPaused ? "resume" : "pause");
      toast(isPaused ? `Group ${name} runs again.` : `Group ${name} is paused: its consumers begin no attempts.`);
    } catch (error) {
      toast(`Nothing has changed: ${error.message}`, "bad");
    }
    this.#changed();
  }
}

function age(database) {
  if (database === null) return "The page was given no database, so it cannot show groups.";
  if (database.error === null) return "";
  const last = database.age_seconds === null ? "never read" : `from ${duration(database.age_seconds)} ago`;
  return `${last}, because the database cannot be read`;
}

function lag(group) {
  if (group.lag_events === 0) return "none";
  const events = count(group.lag_events, "event");
  return `${group.lag_is_estimate ? "about " : ""}${events}, ${duration(group.lag_seconds)}`;
}

function owners({ nodes, slices }) {
  if (nodes.length === 0) return "none";
  const owner = (node) => {
    const lease = node.lease_seconds < 0 ? ", lease expired" : "";
    return `${node.description} (${node.slices} of ${count(slices, "slice")}${lease})`;
  };
  const more = nodes.length > 3 ? `, and ${nodes.length - 3} more` : "";
  return nodes.slice(0, 3).map(owner).join(", ") + more;
}

/** The same problems as in the findings, in a word each. */
function states(group) {
  const states = [];
  if (group.is_paused) states.push(["paused", "warn"]);
  if (group.nodes.length === 0) states.push(["no consumer", "bad"]);
  if (group.failing > 0) states.push([`${whole(group.failing)} failing`, "bad"]);
  if (group.dead_letters > 0) states.push(["dead letters", "warn"]);
  if (group.lag_seconds > 300 && group.nodes.length > 0 && !group.is_paused) states.push(["behind", "warn"]);
  return states.length === 0 ? [["up to date", "good"]] : states;
}

function stateCell(td) {
  let shown = "";
  return (group) => {
    const now = states(group);
    if (shown === JSON.stringify(now)) return;
    shown = JSON.stringify(now);
    const badges = now.map(([word, tone]) => el("span", { class: "badge", "data-tone": tone }, word));
    td.replaceChildren(...badges.flatMap((badge) => [badge, " "]));
  };
}
