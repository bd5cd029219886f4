/** Reads the state every two seconds, passes it to the sections, and follows the events. */

import { readStatus, token } from "./api.js";
import { Caches } from "./caches.js";
import { Clients } from "./clients.js";
import { byId, setText } from "./dom.js";
import { Events } from "./events.js";
import { Findings } from "./findings.js";
import { Groups } from "./groups.js";
import { Health } from "./health.js";
import { Keys } from "./keys.js";
import { Tables } from "./tables.js";

/** Between two reads, while the page is visible, and while it is not. */
const EVERY_MS = 2_000;
const HIDDEN_EVERY_MS = 30_000;

const health = new Health();
const events = new Events();
const sections = [health, new Findings(), new Groups(refresh), new Tables(), new Clients(), new Caches()];

let timer;
/** The number of the latest read. An answer to an earlier one is not shown. */
let latest = 0;
let isFollowing = false;

async function refresh() {
  clearTimeout(timer);
  latest += 1;
  const number = latest;
  try {
    const status = await readStatus();
    if (number === latest) show(status);
  } catch (error) {
    if (number === latest) fail(error);
  }
  if (number === latest) timer = setTimeout(refresh, document.hidden ? HIDDEN_EVERY_MS : EVERY_MS);
}

function show(status) {
  signIn(undefined);
  for (const section of sections) section.update(status);
  if (!isFollowing) events.follow();
  isFollowing = true;
}

function fail(error) {
  if (error.status === 401 || error.status === 403) {
    isFollowing = false;
    const isFirst = error.status === 401 && token.get() === undefined;
    signIn(isFirst ? "This distributor asks for a token. “pgherald token new” makes one." : `Refused: ${error.message}.`);
  } else {
    health.fail(error.message);
  }
}

/** Shows the form and why, or hides it. */
function signIn(why) {
  const form = byId("sign-in");
  const isShown = !form.hidden;
  form.hidden = why === undefined;
  for (const id of ["main", "nav"]) byId(id).hidden = why !== undefined;
  if (why === undefined) return;
  setText(byId("sign-in-why"), why);
  if (!isShown) byId("token").focus();
}

byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token").value.trim());
  byId("token").value = "";
  refresh();
});

const THEMES = ["auto", "light", "dark"];
const THEME = "pgherald.theme";

function showTheme() {
  const theme = localStorage.getItem(THEME) ?? "auto";
  document.documentElement.dataset.theme = theme;
  setText(byId("theme"), `Theme: ${theme}`);
}

byId("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme;
  localStorage.setItem(THEME, THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
  showTheme();
});

document.addEventListener("visibilitychange", () => document.hidden || refresh());
setInterval(() => health.tick(), 1_000);
new Keys({ togglePause: () => events.togglePause(), refresh });
showTheme();
refresh();
