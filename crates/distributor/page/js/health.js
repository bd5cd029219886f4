/** The verdict, the figures, the time line and the changes of health. */

import { recentRate } from "./chart.js";
import { Table, byId, el, setAttribute, setText, svg, text } from "./dom.js";
import { bytes, clock, count, duration, millis, percent, rate, since, whole } from "./format.js";

/** The width of the time line in its own units. */
const WIDTH = 1_000;
/** The least width of an interruption, so that a short one is visible. */
const LEAST = 5;
/** The parts of the axis, by the seconds that it covers. */
const DIVISIONS = { 300: 5, 900: 3, 3_600: 4, 86_400: 4 };

export class Health {
  #status;
  #answered;
  #failure;
  #hasSpan = false;
  #figures = new Map();
  #timeline = svg("svg", { viewBox: `0 0 ${WIDTH} 28`, preserveAspectRatio: "none", role: "img", class: "timeline" });
  #changes;

  constructor() {
    byId("timeline").append(this.#timeline);
    byId("span").addEventListener("change", () => this.#draw());
    this.#changes = new Table(byId("changes"), {
      caption: "Changes of health, and resyncs",
      key: (entry) => `${entry.at} ${entry.type} ${entry.index}`,
      empty: "Nothing has happened yet.",
      columns: [
        { title: "Time", class: "time", cell: text((entry) => clock(entry.at)) },
        { title: "Change", cell: (td) => changeCell(td) },
        { title: "Details", class: "wide", cell: text(detail) },
      ],
    });
    for (const name of ["Events", "Latency", "Clients", "Lag", "Dead letters", "Outbox"]) {
      const value = el("dd", { class: "value" }, "–");
      const note = el("dd", { class: "note" });
      const box = el("div", {}, el("dt", {}, name), value, note);
      byId("figures").append(box);
      this.#figures.set(name, { box, value, note });
    }
  }

  update(status) {
    [this.#status, this.#answered, this.#failure] = [status, Date.now(), undefined];
    this.#chooseSpan();
    this.tick();
    this.#showFigures();
    this.#draw();
    const entries = status.history.map((entry, index) => ({ ...entry, index }));
    this.#changes.update(entries.reverse());
    setText(byId("changes-summary"), `Changes (${entries.length})`);
  }

  /** Begins with the shortest span that covers the history, up to an hour. Afterwards, the reader chooses. */
  #chooseSpan() {
    if (this.#hasSpan) return;
    this.#hasSpan = true;
    const age = since(this.#status.started, new Date(this.#status.at).getTime());
    byId("span").value = [300, 900].find((span) => age < span) ?? 3_600;
  }

  /** The distributor has not answered. */
  fail(message) {
    this.#failure = message;
    this.tick();
  }

  /** Shows what depends on the time. */
  tick() {
    const { tone, word, text: rest, cause } = this.#verdict();
    setAttribute(byId("verdict"), "data-tone", tone);
    setText(byId("state"), word);
    setText(byId("since"), rest);
    byId("cause").hidden = cause === undefined;
    setText(byId("cause"), cause ?? "");
    const sign = { good: "●", bad: "▲", warn: "▲" }[tone] ?? "○";
    document.title = `${sign} ${word} – pgherald`;
    document.body.classList.toggle("stale", this.#failure !== undefined);
  }

  #verdict() {
    if (this.#failure !== undefined) {
      const age = this.#answered === undefined ? "" : `what is shown is ${duration((Date.now() - this.#answered) / 1_000)} old`;
      return {
        tone: "bad",
        word: "No answer",
        text: age,
        cause: `The distributor does not answer: ${this.#failure}. Trying again.`,
      };
    }
    if (this.#status === undefined) return { tone: "quiet", word: "Connecting", text: "" };
    const { health, findings } = this.#status;
    const age = health.since === undefined ? "" : `for ${duration(since(health.since))}, since ${clock(health.since)}`;
    switch (health.state) {
      case "live": {
        const failed = findings.filter((finding) => finding.severity === "failed").length;
        const tone = failed > 0 ? "bad" : findings.length > 0 ? "warn" : "good";
        const rest = findings.length === 0 ? age : `${age}; ${count(findings.length, "finding")} below`;
        return { tone, word: "Live", text: rest };
      }
      case "down":
        return { tone: "bad", word: "Not live", text: age, cause: [health.cause, health.hint].filter(Boolean).join(" – ") };
      default:
        return { tone: "quiet", word: "Connecting", text: "the listener has not been live yet" };
    }
  }

  #showFigures() {
    const { rates, clients, database } = this.#status;
    const now = sum(rates.tables.map((table) => recentRate(table.events, rates.slot_seconds)));
    const total = sum(rates.tables.map((table) => table.total)) + rates.others;
    this.#figure("Events", `${rate(now)}/s`, `${whole(total)} since the start`);
    const minute = Math.ceil(60 / rates.slot_seconds);
    const highest = Math.max(0, ...rates.tables.flatMap((table) => table.highest_latency.slice(-minute)));
    const isQuiet = sum(rates.tables.flatMap((table) => table.events.slice(-minute))) === 0;
    this.#figure("Latency", isQuiet ? "–" : millis(highest), "highest in a minute", highest > 500 ? "warn" : undefined);
    const behind = clients.waiting === 0 ? "none is behind" : `${count(clients.waiting, "event")} behind`;
    this.#figure("Clients", whole(clients.count), clients.dropped > 0 ? `${whole(clients.dropped)} dropped` : behind);
    if (database === null || (database.outbox === null && database.groups.length === 0)) {
      for (const name of ["Lag", "Dead letters", "Outbox"]) {
        this.#figure(name, "–", database === null ? "no database given" : "no outbox");
      }
      return;
    }
    const worst = database.groups.toSorted((one, other) => other.lag_seconds - one.lag_seconds)[0];
    const isCaughtUp = worst === undefined || worst.lag_events === 0;
    const lag = isCaughtUp ? ["none", "all groups are up to date"] : [duration(worst.lag_seconds), worst.name];
    // Numbers of an earlier read say so.
    const age = database.error === null || database.age_seconds === null ? undefined : `${duration(database.age_seconds)} ago`;
    this.#figure("Lag", lag[0], age ?? lag[1], worst?.lag_seconds > 300 ? "bad" : undefined);
    const dead = sum(database.groups.map((group) => group.dead_letters));
    const failing = sum(database.groups.map((group) => group.failing));
    this.#figure(
      "Dead letters",
      whole(dead),
      age ?? (failing > 0 ? `${whole(failing)} failing` : "none is failing"),
      dead > 0 ? "warn" : undefined,
    );
    if (database.outbox !== null) {
      const { bytes: size, max_bytes: most } = database.outbox;
      const share = most === 0 ? 0 : size / most;
      this.#figure(
        "Outbox",
        bytes(size),
        age ?? `${percent(share)} of the limit`,
        share >= 1 ? "bad" : share >= 0.8 ? "warn" : undefined,
      );
    }
  }

  #figure(name, value, note, tone) {
    const figure = this.#figures.get(name);
    setText(figure.value, value);
    setText(figure.note, note);
    setAttribute(figure.box, "data-tone", tone ?? "");
  }

  #draw() {
    if (this.#status === undefined) return;
    const span = Number(byId("span").value) * 1_000;
    const end = new Date(this.#status.at).getTime();
    const begin = end - span;
    const x = (at) => ((Math.min(Math.max(at, begin), end) - begin) / span) * WIDTH;
    const { segments, resyncs } = course(this.#status, end);
    const shown = segments.filter((one) => one.to > begin);
    const stretches = shown.map(({ from, to, state }) => {
      const width = Math.max(x(to) - x(from), state === "down" ? LEAST : 0);
      const left = Math.min(x(from), WIDTH - width);
      const kind = state === "live" ? "good" : state === "down" ? "bad" : "quiet";
      return { kind, shape: svg("rect", { class: kind, x: left, y: 0, width, height: 28 }) };
    });
    // Interruptions lie above, because a short one is drawn wider than it was.
    stretches.sort((one, other) => Number(one.kind === "bad") - Number(other.kind === "bad"));
    const marks = resyncs
      .filter((at) => at > begin)
      .map((at) => svg("rect", { class: "mark", x: x(at) - 1.5, y: 0, width: 3, height: 9 }));
    this.#timeline.replaceChildren(...stretches.map((one) => one.shape), ...marks);
    setAttribute(this.#timeline, "aria-label", summary(shown, resyncs, begin, end));
    const parts = DIVISIONS[span / 1_000];
    const label = (_, index) => el("span", {}, `−${shortSpan(((span / 1_000) * (parts - index)) / parts)}`);
    byId("axis").replaceChildren(...Array.from({ length: parts }, label), el("span", {}, "now"));
  }
}

/** Returns the stretches of health, and the times of resyncs. */
function course({ history }, end) {
  const segments = [];
  const resyncs = [];
  for (const entry of history) {
    const at = new Date(entry.at).getTime();
    if (entry.type === "resync") {
      resyncs.push(at);
      continue;
    }
    const last = segments.at(-1);
    if (last !== undefined) last.to = at;
    segments.push({ from: at, to: end, state: entry.type });
  }
  return { segments, resyncs };
}

function summary(segments, resyncs, begin, end) {
  const length = (one) => Math.max(0, Math.min(one.to, end) - Math.max(one.from, begin));
  const covered = sum(segments.map(length));
  if (covered === 0) return "The listener has no history yet.";
  const live = sum(segments.filter((one) => one.state === "live").map(length));
  const down = segments.filter((one) => one.state === "down");
  const longest = Math.max(0, ...down.map(length)) / 1_000;
  const interruptions =
    down.length === 0 ? "no interruption" : `${count(down.length, "interruption")}, the longest of ${duration(longest)}`;
  const within = resyncs.filter((at) => at > begin).length;
  return `Live for ${percent(live / covered)} of the last ${duration(covered / 1_000)}: ${interruptions}, ${count(within, "resync")}.`;
}

function shortSpan(seconds) {
  return seconds >= 3_600 ? `${seconds / 3_600} h` : `${seconds / 60} min`;
}

function changeCell(td) {
  const badge = el("span", { class: "badge" });
  td.append(badge);
  return (entry) => {
    const [word, tone] = { live: ["live", "good"], down: ["not live", "bad"], resync: ["resync", "mark"] }[entry.type] ?? [
      entry.type,
      "quiet",
    ];
    setText(badge, entry.times > 1 ? `${word} ×${entry.times}` : word);
    setAttribute(badge, "data-tone", tone);
  };
}

function detail(entry) {
  if (entry.type === "down") {
    const causes = entry.latest === null ? entry.cause : `${entry.cause}; later: ${entry.latest}`;
    return [causes, entry.hint].filter(Boolean).join(" – ");
  }
  if (entry.type === "resync") return entry.reasons.join(", ") + (entry.channel === null ? "" : ` on channel ${entry.channel}`);
  return "";
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
