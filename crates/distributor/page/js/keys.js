/** Shortcuts of one key. They can be switched off, for people whose software types keys by itself. */

import { open } from "./dialog.js";
import { byId, el } from "./dom.js";

const SECTIONS = ["health", "findings", "groups", "tables", "events", "clients", "caches"];
const SETTING = "pgherald.keys";

export class Keys {
  #actions;

  constructor({ togglePause, refresh }) {
    this.#actions = new Map([
      ["?", () => this.help()],
      ["p", togglePause],
      ["/", () => byId("filter").focus()],
      ["r", refresh],
      ...SECTIONS.map((id, index) => [String(index + 1), () => go(id)]),
    ]);
    byId("help").addEventListener("click", () => this.help());
    document.addEventListener("keydown", (event) => this.#on(event));
  }

  #on(event) {
    const isTyping = event.target.closest?.("input, select, textarea") !== null;
    if (event.key === "Escape" && event.target === byId("filter")) byId("filter").blur();
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") || !isOn()) return;
    const action = this.#actions.get(event.key);
    if (action === undefined) return;
    event.preventDefault();
    action();
  }

  help() {
    const line = (key, text) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)];
    const box = el("input", { type: "checkbox", id: "keys-on" });
    box.checked = isOn();
    box.addEventListener("change", () => localStorage.setItem(SETTING, box.checked ? "on" : "off"));
    open("Keys", [
      el(
        "dl",
        { class: "keys" },
        ...line("1 – 7", "go to a section, from Health to Caches"),
        ...line("p", "pause the events, or continue"),
        ...line("/", "filter the events"),
        ...line("↑ ↓", "move between events"),
        ...line("Enter", "inspect an event, open a list"),
        ...line("r", "read the state now"),
        ...line("Esc", "close a dialog"),
        ...line("?", "show this list"),
      ),
      el("p", {}, box, " ", el("label", { for: "keys-on" }, "Use keys without Ctrl or Alt")),
    ]);
  }
}

function isOn() {
  return localStorage.getItem(SETTING) !== "off";
}

function go(id) {
  const section = byId(id);
  section.scrollIntoView();
  section.focus({ preventScroll: true });
}
