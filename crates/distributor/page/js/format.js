/** Numbers, times and sizes for people. */

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export function whole(number) {
  return WHOLE.format(number);
}

/** A rate: one digit behind the point while it is small. */
export function rate(number) {
  return number < 10 ? SHORT.format(number) : WHOLE.format(number);
}

export function count(number, noun) {
  return `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** The two largest units of a number of seconds. */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor(s / 3_600) % 24} h`;
}

export function millis(ms) {
  if (ms < 1) return `${ms === 0 ? 0 : "<1"} ms`;
  if (ms < 1_000) return `${SHORT.format(ms < 10 ? ms : Math.round(ms))} ms`;
  return ms < 60_000 ? `${SHORT.format(ms / 1_000)} s` : duration(ms / 1_000);
}

export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 1_024 && unit + 1 < units.length) [number, unit] = [number / 1_024, unit + 1];
  return `${number < 10 && unit > 0 ? SHORT.format(number) : WHOLE.format(number)} ${units[unit]}`;
}

export function percent(ratio) {
  // Rounded down, so that only a cache without misses shows 100 %.
  return `${SHORT.format(Math.floor(ratio * 1_000) / 10)} %`;
}

/** The time of the day, in the zone of the reader; with the day if it is not today. */
export function clock(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return "";
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? CLOCK.format(date) : `${DAY.format(date)} ${CLOCK.format(date)}`;
}

/** Seconds since a time. */
export function since(at, now = Date.now()) {
  return Math.max(0, (now - new Date(at).getTime()) / 1_000);
}
