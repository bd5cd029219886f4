/** The live page in a real browser, in front of a real server. Screenshots are written to target/page. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DEADLINE, Scene, screenshots } from "./scene.js";

const HOSTILE = "<img src=x onerror=alert(1)>";

let scene;

before(async () => {
  scene = await Scene.start();
});

after(() => scene?.close());

/** Opens the page, runs the test on it, and fails if the page has reported an error. */
function pageTest(name, options, run) {
  test(name, { timeout: 3 * DEADLINE }, async () => {
    const page = await scene.open(options);
    try {
      await run(page);
      assert.deepEqual(page.errors, []);
    } finally {
      await page.screenshot({ path: `${screenshots}/${name.replaceAll(/\W+/g, "-")}.png` });
      await page.browserContext().close();
    }
  });
}

/** Waits until an element has a text in it. */
function shows(page, selector, text) {
  const has = (selector, text) => [...document.querySelectorAll(selector)].some((element) => element.textContent.includes(text));
  return page.waitForFunction(has, {}, selector, text);
}

/** Waits until the button for the dead letters of a group has a number. */
function hasDeadLetters(page, group, number) {
  return page.waitForFunction(
    (label) => document.querySelector(`button[aria-label="${CSS.escape(label)}"]`) !== null,
    {},
    `${number} dead letter${number === 1 ? "" : "s"} of ${group}: show`,
  );
}

function press(page, text, within = "body") {
  return page.locator(`${within} ::-p-text(${text})`).click();
}

let id = 0;

/** Inserts an order and returns its id. */
async function order(note) {
  id += 1;
  await scene.sql(`INSERT INTO orders VALUES (${id}, '${note.replaceAll("'", "''")}')`);
  return id;
}

pageTest("an inserted row appears as an event and in the rate of its table", {}, async (page) => {
  const id = await order("hello");
  await shows(page, "#events-table td", `public.orders ${id}`);
  await shows(page, "#events-table td", '{"note":"hello"}');
  await shows(page, "#tables-table td", "public.orders");
  await page.waitForFunction(() =>
    document.querySelector("#tables-table svg").getAttribute("aria-label").includes("/s; at most"),
  );
  await shows(page, "#clients-table td", "/v1/events");
  await scene.run("read 1");
  await scene.run("read 1");
  await shows(page, "#caches-table td", "50 %");
});

pageTest("a restart of the server shows as an interruption and a resync", {}, async (page) => {
  await scene.run("stop");
  await shows(page, "#state", "Not live");
  await shows(page, "#findings-list li", "listener not live");
  await shows(page, "#groups-age", "because the database cannot be read");
  await page.screenshot({ path: `${screenshots}/down.png`, fullPage: true });
  await scene.run("start");
  await scene.live(page);
  await shows(page, "#events-table .badge", "down");
  await shows(page, "#events-table td", "reconnected");
  await page.waitForFunction(() =>
    /interruption.*resync/.test(document.querySelector("svg.timeline").getAttribute("aria-label")),
  );
  await page.click("#changes-summary");
  await shows(page, "#changes .badge", "not live");
  await shows(page, "#changes td", "reconnected");
  // What was shown of the interruption is over.
  await page.waitForFunction(() => !document.getElementById("findings-list").textContent.includes("listener"));
});

pageTest("a dead letter is retried by a click", {}, async (page) => {
  await scene.run("fail");
  await order("bad");
  await hasDeadLetters(page, "mailer", 1);
  await shows(page, "#findings-list li", `group mailer 1 dead letter; last error: `);
  await scene.run("correct");
  await page.click('button[aria-label="1 dead letter of mailer: show"]');
  await shows(page, "dialog td", `the mail server refused ${HOSTILE}`);
  await press(page, "Retry", "dialog td");
  await shows(page, "#toast", "1 dead letter of mailer is tried again.");
  await shows(page, "dialog", "There are no dead letters.");
  await page.keyboard.press("Escape");
  await hasDeadLetters(page, "mailer", 0);
});

pageTest("a dead letter is discarded only after a confirmation", {}, async (page) => {
  await scene.run("fail");
  await order("bad as well");
  await hasDeadLetters(page, "mailer", 1);
  await page.click('button[aria-label="1 dead letter of mailer: show"]');
  const discard = 'dialog.large button[aria-label^="Discard insert"]';
  await page.locator(discard).click();
  await shows(page, "dialog.confirm", "It cannot be undone.");
  // The focus begins on the safe answer.
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Cancel");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("dialog.confirm") === null);
  assert.notEqual(await page.$(discard), null);
  await page.locator(discard).click();
  await press(page, "Discard", "dialog.confirm .foot");
  await shows(page, "#toast", "1 dead letter of mailer is discarded.");
  await shows(page, "dialog.large", "There are no dead letters.");
  await press(page, "Close", "dialog.large .foot");
  await hasDeadLetters(page, "mailer", 0);
});

pageTest("a group is paused and resumed, whatever its name", {}, async (page) => {
  for (const group of ["mailer", HOSTILE]) {
    await page.locator(`button[aria-label="Pause group ${group}"]`).click();
    await shows(page, "#findings-list li", `group ${group} paused`);
    await page.locator(`button[aria-label="Resume group ${group}"]`).click();
    await page.waitForFunction(() => !document.getElementById("findings-list").textContent.includes("paused"));
  }
});

pageTest("the list of events is bounded, and can be filtered and paused", {}, async (page) => {
  await scene.sql("INSERT INTO users VALUES (1, 'rare')");
  await shows(page, "#events-table td", "rare");
  await page.type("#filter", "RARE");
  await scene.sql(`INSERT INTO orders SELECT n, 'many' FROM generate_series(10001, 10900) AS n`);
  await shows(page, "#events-count", "901 events received");
  const rows = () => page.$$eval("#events-table button.row:not([hidden])", (rows) => rows.map((row) => row.textContent));
  // A burst of other events does not push out what the filter selects.
  assert.deepEqual(await rows(), ["public.users 1"]);
  await page.$eval("#filter", (filter) => {
    filter.value = "";
    filter.dispatchEvent(new Event("input"));
  });
  await shows(page, "#events-table td", "public.orders 10900");
  assert.equal((await rows()).length, 100);
  await page.click("#pause");
  const before = await rows();
  await scene.sql("UPDATE users SET name = 'while paused'");
  await shows(page, "#events-count", "902 events received; paused");
  assert.deepEqual(await rows(), before);
  await page.click("#pause");
  await shows(page, "#events-table td", "while paused");
});

pageTest("an event is inspected with the values before and after", {}, async (page) => {
  await scene.sql("UPDATE users SET name = 'inspected' WHERE id = 1");
  await shows(page, "#events-table td", "inspected");
  await page.click("#events-table button.row");
  await shows(page, "dialog td", "inspected");
  await shows(page, "dialog pre", '"operation": "update"');
});

pageTest("what comes from the database is text", {}, async (page) => {
  await scene.run("fail");
  const quoted = `"${HOSTILE}"`;
  await scene.sql(`INSERT INTO ${quoted} VALUES ('${HOSTILE}', '<script>alert(2)</script>')`);
  await order(`bad ${HOSTILE}`);
  await shows(page, "#tables-table td", `public.${HOSTILE}`);
  await shows(page, "#events-table td", `public.${HOSTILE} "${HOSTILE}"`);
  await shows(page, "#events-table td", "<script>alert(2)</script>");
  await shows(page, "#groups-table td", HOSTILE);
  await hasDeadLetters(page, "mailer", 1);
  await shows(page, "#findings-list li", `refused ${HOSTILE}`);
  await page.click('button[aria-label="1 dead letter of mailer: show"]');
  await shows(page, "dialog td", `bad ${HOSTILE}`);
  await page.keyboard.press("Escape");
  await page.type("#filter", "<script>");
  await page.click("#events-table button.row");
  await shows(page, "dialog h2", HOSTILE);
  assert.equal(await page.$$eval("img", (images) => images.filter((image) => image.getAttribute("src") === "x").length), 0);
  assert.equal(await page.$$eval("script", (scripts) => scripts.length), 1);
  await scene.run("correct");
  await page.keyboard.press("Escape");
  for (const group of ["mailer", HOSTILE]) {
    await page.locator(`#groups-table button[aria-label*=" dead letter"][aria-label$="of ${group}: show"]`).click();
    await press(page, "Retry all", "dialog .foot");
    await shows(page, "dialog", "There are no dead letters.");
    await page.keyboard.press("Escape");
  }
});

pageTest("the page asks for a token, and offers what the token permits", { locked: true }, async (page) => {
  const { observer, operator } = scene.addresses;
  const enter = async (token) => {
    await page.waitForSelector("#sign-in:not([hidden])");
    await page.type("#token", token);
    await page.keyboard.press("Enter");
  };
  await shows(page, "#sign-in-why", "token");
  await page.screenshot({ path: `${screenshots}/sign-in.png` });
  await audit(page);
  await enter("wrong");
  await page.waitForFunction(() => document.getElementById("token").value === "");
  await enter(observer);
  await scene.live(page);
  await shows(page, "#groups-table td", "mailer");
  assert.equal(await page.$("#groups-table button:not([hidden])"), null);
  // A reload keeps the token, which is nowhere but in this tab.
  await page.reload();
  await scene.live(page);
  assert.equal(
    await page.evaluate((token) => JSON.stringify(localStorage).includes(token) || location.href.includes(token), observer),
    false,
  );
  await page.evaluate(() => sessionStorage.clear());
  await page.reload();
  await enter(operator);
  await page.waitForSelector('button[aria-label="Pause group mailer"]:not([hidden])');
  onlyFailedRequests(page);
});

pageTest("a distributor that does not answer is reported, and found again", {}, async (page) => {
  await page.setOfflineMode(true);
  await shows(page, "#state", "No answer");
  await shows(page, "#cause", "The distributor does not answer: no connection. Trying again.");
  await page.screenshot({ path: `${screenshots}/no-answer.png` });
  await page.setOfflineMode(false);
  await scene.live(page);
  onlyFailedRequests(page);
});

/** The browser itself reports requests that were refused or failed. */
function onlyFailedRequests(page) {
  assert.deepEqual(
    page.errors.filter((error) => !error.startsWith("Failed to load resource")),
    [],
  );
  page.errors.length = 0;
}

pageTest("the browser refuses inline scripts and HTML", {}, async (page) => {
  const refused = await page.evaluate(() => {
    try {
      document.body.insertAdjacentHTML("beforeend", "<b>x</b>");
      return "it was inserted";
    } catch (error) {
      return error.name;
    }
  });
  assert.equal(refused, "TypeError");
  const response = await page.goto(scene.url);
  const policy = response.headers()["content-security-policy"];
  assert.match(policy, /^default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|\*|https?:/);
  // The browser reports what it refused.
  assert.ok(
    page.errors.every((error) => error.includes("TrustedHTML")),
    page.errors.join(),
  );
  page.errors.length = 0;
  await scene.live(page);
});

pageTest("the keyboard is enough at a width of 360 pixels", { width: 360, height: 780 }, async (page) => {
  const focused = () =>
    page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent.trim());
  /** Presses Tab until the focus is on an element, which has to be visible and to show that it has the focus. */
  const reach = async (label, key = "Tab") => {
    for (let step = 0; step < 60; step += 1) {
      await page.keyboard.press(key);
      if ((await focused()).startsWith(label)) {
        const seen = await page.evaluate(() => {
          const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
          const { left, right, width } = document.activeElement.getBoundingClientRect();
          return { outlineStyle, isWide: parseFloat(outlineWidth) >= 2, isInside: left >= 0 && right <= innerWidth && width > 0 };
        });
        assert.deepEqual(seen, { outlineStyle: "solid", isWide: true, isInside: true }, label);
        return;
      }
    }
    assert.fail(`${label} cannot be reached; the focus is on ${await focused()}`);
  };
  await scene.run("fail");
  await order("bad, by keyboard");
  await hasDeadLetters(page, "mailer", 1);
  await reach("Skip to the findings");
  await reach("Groups");
  await page.keyboard.press("Enter");
  await reach("1 dead letter of mailer");
  await scene.run("correct");
  await page.keyboard.press("Enter");
  await shows(page, "dialog td", "bad, by keyboard");
  await reach("Retry insert public.orders");
  await page.keyboard.press("Enter");
  await shows(page, "dialog", "There are no dead letters.");
  // The button that had the focus is gone.
  await page.waitForFunction(() => document.activeElement.textContent === "Close");
  await page.keyboard.press("Enter");
  // The focus is where it was.
  assert.match(await focused(), /of mailer: show$/);
  await page.keyboard.press("/");
  await page.keyboard.type("keyboard");
  await page.keyboard.press("Escape");
  await reach("public.orders");
  await page.keyboard.press("Enter");
  await shows(page, "dialog td", "bad, by keyboard");
  await page.keyboard.press("Escape");
  await scene.sql("INSERT INTO orders VALUES (20001, 'keyboard too')");
  await shows(page, "#events-table td", "keyboard too");
  await page.keyboard.press("ArrowUp");
  assert.equal(await focused(), "public.orders 20001");
  await page.keyboard.press("5");
  assert.equal(await page.evaluate(() => document.activeElement.id), "events");
  await page.keyboard.press("p");
  await shows(page, "#pause", "Continue");
  await page.keyboard.press("?");
  await shows(page, "dialog dd", "pause the events, or continue");
  await page.keyboard.press("Escape");
  await scene.run("fail");
});

pageTest("nothing is wider than a screen of 360 pixels", { width: 360, height: 780, scheme: "dark" }, async (page) => {
  const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await shows(page, "#tables-table td", "public.orders");
  assert.equal(await overflow(), 0);
  await page.screenshot({ path: `${screenshots}/narrow.png`, fullPage: true });
  for (const [open, content] of [
    ["#help", "Keys"],
    ['button[aria-label$="of mailer: show"]', "of mailer"],
    ["#events-table button.row:not([hidden])", "public"],
  ]) {
    if (open.startsWith("#events")) {
      await scene.sql("UPDATE users SET name = repeat('a long value ', 40) WHERE id = 1");
      await page.waitForSelector(open);
    }
    await page.locator(open).click();
    await shows(page, "dialog h2", content);
    const { left, right } = await page.$eval("dialog", (dialog) => dialog.getBoundingClientRect().toJSON());
    assert.ok(left >= 0 && right <= 360, `${open}: ${left} to ${right}`);
    assert.equal(await overflow(), 0);
    await page.keyboard.press("Escape");
  }
});

for (const scheme of ["light", "dark"]) {
  for (const width of [360, 1280]) {
    pageTest(`axe finds nothing serious, ${scheme}, ${width} pixels`, { scheme, width }, async (page) => {
      await scene.run("fail");
      await order("bad, for axe");
      await shows(page, "#groups-table .badge", "dead letters");
      await shows(page, "#events-table td", "bad, for axe");
      await audit(page);
      await page.click("#changes-summary");
      await page.locator('#groups-table button[aria-label*=" dead letter"][aria-label$="of mailer: show"]').click();
      await shows(page, "dialog td", "bad, for axe");
      await audit(page);
      await page.locator('dialog button[aria-label^="Discard"]').click();
      await shows(page, "dialog.confirm", "Discard");
      await audit(page);
      await press(page, "Discard", "dialog.confirm .foot");
      await page.waitForFunction(() => document.querySelector("dialog.confirm") === null);
      await page.keyboard.press("Escape");
      await page.keyboard.press("?");
      await audit(page);
    });
  }
}

/** Runs axe-core in the page. It is injected by the browser's debugger, which no policy of the page concerns. */
async function audit(page) {
  const { readFile } = await import("node:fs/promises");
  const source = await readFile(new URL(import.meta.resolve("axe-core/axe.min.js")), "utf8");
  await page.evaluate(source);
  const violations = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run();
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join("\n")}`);
  });
  assert.deepEqual(violations, []);
}
