/** Dialogs. They are modal: the browser keeps the focus inside, closes them with Escape, and gives the focus back afterwards. */

import { byId, el, setText } from "./dom.js";

/** Opens a dialog with a title. `content` are nodes; `buttons` stand in its foot, beside the one that closes it. */
export function open(title, content, { buttons = [], close = "Close", kind = "" } = {}) {
  const heading = el("h2", { id: `dialog-${++opened}` }, title);
  const dialog = el("dialog", { "aria-labelledby": heading.id, class: kind });
  const closing = el("button", { type: "button", onclick: () => dialog.close() }, close);
  dialog.append(heading, el("div", { class: "content" }, ...content), el("div", { class: "foot" }, ...buttons, closing));
  dialog.addEventListener("close", () => {
    // A message that is shown inside stays.
    if (dialog.contains(byId("toast"))) document.body.append(byId("toast"));
    dialog.remove();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  closing.focus();
  return dialog;
}

let opened = 0;

/** Asks before something that cannot be undone. Resolves to whether it was confirmed. The focus begins on the safe answer. */
export function confirm(title, text, action) {
  return new Promise((resolve) => {
    const run = el("button", { type: "button", class: "danger" }, action);
    const dialog = open(title, [el("p", {}, text)], { buttons: [run], close: "Cancel", kind: "confirm" });
    run.addEventListener("click", () => {
      resolve(true);
      dialog.close();
    });
    dialog.addEventListener("close", () => resolve(false));
  });
}

let hiding;

/** Shows a message for a while, and reads it out. */
export function toast(text, tone = "good") {
  const box = byId("toast");
  // In a modal dialog, everything outside is inert, so the message moves inside.
  const dialogs = document.querySelectorAll("dialog[open]");
  (dialogs[dialogs.length - 1] ?? document.body).append(box);
  box.dataset.tone = tone;
  setText(box, text);
  clearTimeout(hiding);
  hiding = setTimeout(() => setText(box, ""), 8_000);
}
