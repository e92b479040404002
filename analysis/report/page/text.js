// Text and elements. Whatever comes from the store goes in as text (textContent), never as HTML.

// What cannot be seen or could mislead: controls, lone surrogates, marks that turn the direction of writing.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]|[\u{e0000}-\u{e007f}]|\p{Surrogate}/gu;

function visible(text) {
  return String(text).replace(/\r\n/g, "\n").replace(UNSEEN, (found) =>
    `⟦U+${found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟧`);
}

// el("p", {class: "lead", title: "..."}, "text", child, [more children], null)
function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  set(made, attributes);
  add(made, children);
  return made;
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(made, attributes);
  add(made, children);
  return made;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    const told = name === "title" || name === "aria-label";
    element.setAttribute(name, value === true ? "" : told ? visible(value) : value);
  }
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined) continue;
    element.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
}

function fill(element, ...children) {
  element.textContent = "";
  add(element, children);
}

const counted = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;

const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(2)} %` : "–");

function duration(seconds) {
  if (seconds === null) return "unknown";
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(1)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// A verdict "1", "0" or "-" as sign and word.
function verdict(value, yes = "yes", no = "no") {
  if (value === "1") return el("span", { class: "yes" }, `✓ ${yes}`);
  if (value === "0") return el("span", { class: "no" }, `✗ ${no}`);
  return el("span", { class: "none" }, "– none");
}

function choice(label, options, attributes) {
  const select = el("select", attributes);
  for (const [value, text] of options) select.append(el("option", { value }, text));
  return { box: el("label", {}, label, " ", select), field: select };
}

// A table: headings are texts, cells texts, elements or {num: text}; the first cell of a row names it.
function table(caption, headings, rows) {
  const numeric = (cell) => cell !== null && typeof cell === "object" && "num" in cell;
  const data = (cell) => (numeric(cell) ? el("td", { class: "num" }, cell.num) : el("td", { class: "break" }, cell));
  // The caption stands before the part that scrolls sideways, so that a narrow screen shows all of it.
  return el("div", { class: "titled" }, caption ? el("h4", {}, caption) : null, el("div", { class: "scroll" },
    el("table", { "aria-label": caption },
      el("thead", {}, el("tr", {}, headings.map((text, place) =>
        el("th", { scope: "col", class: rows.some((row) => numeric(row[place])) ? "num" : null }, text)))),
      el("tbody", {}, rows.map((row) =>
        el("tr", {}, el("th", { scope: "row", class: "break" }, row[0]), row.slice(1).map(data)))))));
}
