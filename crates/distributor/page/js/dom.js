/**
 * Makes elements. Everything that is not an attribute of the page itself becomes text: nothing here parses HTML, so names, values
 * and errors from the database cannot become part of the page.
 */

const SVG = "http://www.w3.org/2000/svg";

export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  // Strings become text nodes.
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Changes the text only if it differs, so that selections and screen readers are left alone. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * A table whose rows are kept between updates, so that focus and selection stay where they are.
 *
 * A column is `{ title, class, cell }`. `cell(td)` is called once for each row, and returns the function that shows an item in it.
 */
export class Table {
  #columns;
  #key;
  #rows = new Map();
  #body = el("tbody", { role: "rowgroup" });
  #table;
  #empty;

  constructor(parent, { caption, columns, key, empty }) {
    this.#columns = columns;
    this.#key = key;
    const heads = columns.map(({ title, class: kind }) => {
      const attributes = { scope: "col", role: "columnheader", class: kind };
      return title === "" ? el("td", { role: "cell", class: kind }) : el("th", attributes, title);
    });
    this.#table = el(
      "table",
      { role: "table" },
      el("caption", { class: "hidden" }, caption),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)),
      this.#body,
    );
    this.#empty = el("p", { class: "empty" }, empty);
    parent.append(this.#table, this.#empty);
    this.update([]);
  }

  get body() {
    return this.#body;
  }

  update(items) {
    this.#table.hidden = items.length === 0;
    this.#empty.hidden = items.length !== 0;
    const gone = new Set(this.#rows.keys());
    let after = null;
    for (const item of items) {
      const key = this.#key(item);
      gone.delete(key);
      let row = this.#rows.get(key);
      if (row === undefined) {
        row = this.#row();
        this.#rows.set(key, row);
      }
      row.show(item);
      const place = after === null ? this.#body.firstChild : after.nextSibling;
      if (place !== row.element) this.#body.insertBefore(row.element, place);
      after = row.element;
    }
    for (const key of gone) {
      this.#rows.get(key).element.remove();
      this.#rows.delete(key);
    }
  }

  #row() {
    const element = el("tr", { role: "row" });
    const shows = this.#columns.map(({ title, class: kind, cell }) => {
      const td = el("td", { role: "cell", class: kind, "data-title": title });
      element.append(td);
      return cell(td, element);
    });
    return { element, show: (item) => shows.forEach((show) => show(item)) };
  }
}

/** A cell with a text. */
export function text(of) {
  return (td) => (item) => setText(td, of(item));
}
