/** What is wrong, and what to do about it. */

import { byId, el } from "./dom.js";

export class Findings {
  #shown = "";

  update({ findings }) {
    // Built anew only if something has changed, so that a fix can be selected and copied.
    const json = JSON.stringify(findings);
    if (json === this.#shown) return;
    this.#shown = json;
    byId("findings-list").replaceChildren(...(findings.length === 0 ? [allIsWell()] : findings.map(item)));
  }
}

function item({ severity, subject, text, fix }) {
  const isFailed = severity === "failed";
  return el(
    "li",
    { "data-tone": isFailed ? "bad" : "warn" },
    el("span", { class: "badge", "data-tone": isFailed ? "bad" : "warn" }, isFailed ? "failed" : "warning"),
    el("p", {}, el("strong", {}, subject), ` ${text}`),
    fix === null ? undefined : el("p", { class: "fix" }, el("span", { class: "quiet" }, "What to do: "), fix),
  );
}

function allIsWell() {
  return el(
    "li",
    { "data-tone": "good" },
    el("span", { class: "badge", "data-tone": "good" }, "ok"),
    el("p", {}, "Nothing is wrong, as far as the distributor can see. ", el("code", {}, "pgherald doctor"), " checks more."),
  );
}
