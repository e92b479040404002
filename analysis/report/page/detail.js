// One prompt: its text, the verdicts on its instructions, and the answers of A and B side by side.

const LONG = 10_000; // characters of an answer shown at once
let detailWanted = null;

async function showDetail(box, item, choice, leftOut) {
  detailWanted = item;
  const note = leftOut === null ? null
    : el("p", { class: "gap" }, `The filters leave prompt ${leftOut} out, or there is none.${item === null ? "" : " This is another."}`);
  if (item === null) return fill(box, note);
  const { prompt, answer } = await openItem(item);
  if (detailWanted !== item) return null; // meanwhile another was asked for
  const language = page.languages[choice.lang];
  const sides = [["A", choice.a], ["B", choice.b]].filter(([, run]) => run !== null);
  const at = browser.left.findIndex((found) => found.item === item);
  const move = (text, difference, key) => {
    const place = at + difference;
    const button = el("button", { type: "button", disabled: at < 0 || !browser.left[place], title: `${text} (${key})` }, text);
    button.addEventListener("click", () => step(place));
    return button;
  };
  return fill(box,
    el("div", { class: "pager more" }, move("Previous", -1, "k"),
      el("span", {}, at < 0 ? "" : `${at + 1} of ${browser.left.length}`), move("Next", 1, "j")),
    note,
    el("h3", {}, `Prompt ${keyOf(item)}`),
    prompt === null
      ? el("p", { class: "gap" }, "Its text is not known: no run’s answers to it are in the store.")
      : el("div", { class: "text prompt", dir: "auto" }, marked(visible(prompt), choice.q)),
    verdictTable(language, item, choice, sides),
    el("div", { class: sides.length === 1 ? "pair single" : "pair" },
      sides.map(([name, run]) => answerPart(language, item, choice, name, run, answer(run)))));
}

function verdictTable(language, item, choice, sides) {
  if (!item.instructions.length) return el("p", { class: "gap" }, "No verdicts on this prompt.");
  const heads = sides.flatMap(([name]) => [`${name} strict`, `${name} loose`]);
  const both = sides.length === 2;
  const bodies = item.instructions.map((id, at) => el("tbody", {},
    el("tr", {}, el("th", { scope: "rowgroup", colspan: heads.length + 1 + Number(both) }, page.instruction_ids[id])),
    language.rules.map((rules) => {
      const sign = (kind, run) => signs(language, kind, run, rules)[item.from + at] || "-";
      const [first, second] = sides.map(([, run]) => sign(choice.kind, run));
      const change = first === "0" && second === "1" ? "▲ gained" : first === "1" && second === "0" ? "▼ lost" : "=";
      return el("tr", {}, el("th", { scope: "row" }, rules.replaceAll("_", " ")),
        sides.flatMap(([, run]) => ["strict", "loose"].map((kind) => el("td", {}, verdict(sign(kind, run))))),
        both ? el("td", { class: { "▲ gained": "yes", "▼ lost": "no" }[change] || "none" }, change) : null);
    })));
  return el("div", { class: "scroll" }, el("table", { class: "verdicts" },
    el("caption", {}, "Is each instruction followed?"),
    el("thead", {}, el("tr", {}, ["rule set", ...heads, ...(both ? [`change (${choice.kind})`] : [])]
      .map((text) => el("th", { scope: "col" }, text)))),
    bodies));
}

function answerPart(language, item, choice, name, run, given) {
  return el("section", { "aria-label": `Answer of ${name}` },
    el("h3", {}, `${name}: `, runLink(run)),
    el("ul", { class: "facts" }, languageFacts(language, item, run),
      given !== null && given.tokens !== null ? el("li", {}, counted(given.tokens, "token")) : null,
      given !== null && given.finished === "0" ? el("li", { class: "no" }, "stopped at the token limit") : null),
    given === null
      ? el("p", { class: "gap" }, "This answer is not in the store.")
      : answerText(given, choice, run));
}

function languageFacts(language, item, run) {
  const asked = page.codes[item.asked];
  const found = language.identifiers.map((name) => [name, foundBy(language, run, name, item.index)])
    .filter(([, code]) => code !== null);
  return [
    el("li", {}, `asked for: ${asked}`),
    found.map(([name, code]) => el("li", {}, `${name}: `, el("span", { class: code === asked ? "yes" : "no" },
      `${code === asked ? "✓" : "✗"} ${code}${code === asked ? "" : ", another language"}`))),
    disagree(language, run, item) ? el("li", { class: "no" }, "≠ the identifiers disagree") : null,
  ];
}

function answerText(given, choice, run) {
  const { text, whole } = given;
  const shownText = text.length > LONG ? text.slice(0, LONG) : text;
  const box = el("div", { class: "text answer", dir: "auto" }, text === ""
    ? el("span", { class: "none" }, "(an empty answer)") : marked(visible(shownText), choice.q));
  const notes = [];
  if (text.length > LONG) {
    const button = el("button", { type: "button" }, `Show all ${text.length.toLocaleString("en")} characters`);
    button.addEventListener("click", () => {
      fill(box, marked(visible(text), choice.q));
      button.remove();
    });
    notes.push(button);
  }
  if (whole !== null) {
    const key = page.runs[run].steps[`generate.${choice.lang}`];
    notes.push(el("p", { class: "gap" }, `Cut after ${text.length.toLocaleString("en")} of `
      + `${whole.toLocaleString("en")} characters; whole in `, el("code", {}, `${page.store}/${key}/responses.jsonl`)));
  }
  return [box, notes];
}

// The text with what was searched for marked; as it is where folding changes its length.
function marked(text, wanted) {
  const sought = folded(wanted || "");
  const low = folded(text);
  if (!sought.trim() || low.length !== text.length) return text;
  const parts = [];
  let from = 0;
  for (let at = low.indexOf(sought); at >= 0; at = low.indexOf(sought, from)) {
    parts.push(text.slice(from, at), el("mark", {}, text.slice(at, at + sought.length)));
    from = at + sought.length;
  }
  return [parts, text.slice(from)];
}
