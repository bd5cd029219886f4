/** Small charts of bars, with a text in their place for those who do not see them. */

import { setAttribute, svg } from "./dom.js";

const HEIGHT = 32;
/** The width of a slot, with the gap behind it. */
const STEP = 4;

/** Returns a chart of `slots` bars, and the function that draws values in it, the latest at the right edge. */
export function bars(slots, tone) {
  const chart = svg("svg", {
    viewBox: `0 0 ${slots * STEP} ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
    class: "chart",
    "data-tone": tone,
  });
  const base = svg("rect", { class: "base", x: 0, y: HEIGHT - 1, width: slots * STEP, height: 1 });
  const rects = Array.from({ length: slots }, (_, index) =>
    svg("rect", { x: index * STEP, width: STEP - 1, y: HEIGHT, height: 0 }),
  );
  chart.append(base, ...rects);
  const draw = (values, label) => {
    const highest = Math.max(...values, 0);
    const missing = slots - values.length;
    rects.forEach((rect, index) => {
      const value = values[index - missing] ?? 0;
      // A value above zero is visible even beside a very high one.
      const height = value > 0 ? Math.max(2, (value / highest) * HEIGHT) : 0;
      setAttribute(rect, "y", String(HEIGHT - height));
      setAttribute(rect, "height", String(height));
    });
    setAttribute(chart, "aria-label", label);
  };
  return { chart, draw };
}

/** Events per second, from the last two complete slots. The current one is not complete. */
export function recentRate(events, seconds) {
  const complete = events.slice(0, -1).slice(-2);
  return complete.reduce((sum, number) => sum + number, 0) / (Math.max(1, complete.length) * seconds);
}
