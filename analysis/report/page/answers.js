// The browser of answers: its controls, and what the address chooses.

const LIST_PAGE = 50; // prompts listed at once

const OPTIONS = {
  kind: [["strict", "strict"], ["loose", "loose"]],
  change: [["", "any"], ["either", "changed"], ["gained", "gained (A no, B yes)"], ["lost", "lost (A yes, B no)"],
    ["same", "not changed"]],
  pass: [["", "any"], ["a-passed", "A passed"], ["a-failed", "A failed"], ["b-passed", "B passed"], ["b-failed", "B failed"]],
  wrong: [["", "any"], ["a", "wrong in A"], ["b", "wrong in B"], ["either", "wrong in A or B"]],
  disagree: [["", "any"], ["a", "disagree on A"], ["b", "disagree on B"], ["either", "disagree on A or B"]],
};
const TITLES = { lang: "Language", a: "Run A", b: "Run B", cat: "Category", rules: "Rule set", kind: "Judged",
  change: "Verdict from A to B", pass: "All instructions", wrong: "Language found", disagree: "Identifiers" };

const browser = { left: [], choice: null, key: null, byControl: false }; // what is on the screen

// What the address says, completed: anything it does not say or says wrongly is at its default.
function readChoice(chosen) {
  const names = Object.keys(page.languages);
  const name = names.includes(chosen.lang) ? chosen.lang : names[0];
  const language = page.languages[name];
  const able = page.runs.map((_, place) => place).filter((place) => language.answered[place].includes("1")
    || Object.values(language.strict[place]).some((text) => /[01]/.test(text)));
  const runs = able.length ? able : page.runs.map((_, place) => place);
  const named = (id) => (id === undefined ? -1 : runById(id));
  const a = named(chosen.a) < 0 ? runs[0] : named(chosen.a);
  const second = runs.find((place) => place !== a) ?? null;
  const b = chosen.b === "none" ? null : named(chosen.b) < 0 ? second : named(chosen.b);
  const rules = language.rules.includes(chosen.rules) ? chosen.rules : language.rules[0] || "";
  const known = categories(language).some(([value]) => value === chosen.cat);
  const choice = { lang: name, a, b, rules, cat: known ? chosen.cat : "", q: chosen.q || "" };
  for (const [field, options] of Object.entries(OPTIONS)) {
    choice[field] = options.some(([value]) => value === chosen[field]) ? chosen[field] : options[0][0];
  }
  return choice;
}

// What can be chosen as a category: [value, text] of all, of every group, and of every instruction in it.
function categories(language) {
  const ids = [...new Set(language.items.flatMap((item) => item.instructions))].map((id) => page.instruction_ids[id]).sort();
  const groups = [...new Set(ids.map((id) => id.split(":")[0]))];
  return [["", "all"], ...groups.flatMap((group) => [[group, `${group} (all)`],
    ...ids.filter((id) => id !== group && id.startsWith(`${group}:`)).map((id) => [id, `\u2003${id}`])])];
}

// The address of a choice; what is at its default is left out.
function writeChoice(choice, key) {
  return { lang: choice.lang, a: page.runs[choice.a].id, b: choice.b === null ? "none" : page.runs[choice.b].id,
    rules: choice.rules === page.languages[choice.lang].rules[0] ? "" : choice.rules,
    kind: choice.kind === "strict" ? "" : choice.kind, cat: choice.cat, change: choice.change, pass: choice.pass,
    wrong: choice.wrong, disagree: choice.disagree, q: choice.q, key };
}

const keyOf = (item) => (item.variant ? `${item.key}~${item.variant}` : `${item.key}`);

function frameOfAnswers(box) {
  const fields = Object.entries(TITLES).map(([name, title]) => {
    const made = choice(title, OPTIONS[name] || [], { name });
    made.field.addEventListener("change", () => changed(false));
    if (name === "a" || name === "b") made.box.classList.add("wide");
    return made.box;
  });
  const field = el("input", { type: "search", name: "q", autocomplete: "off", spellcheck: "false" });
  let waiting = 0;
  field.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => changed(true), 200);
  });
  const clear = el("button", { type: "button", class: "clear" }, "Clear all filters");
  clear.addEventListener("click", () => go("answers", { lang: browser.choice.lang, a: page.runs[browser.choice.a].id,
    b: browser.choice.b === null ? "none" : page.runs[browser.choice.b].id, key: browser.key }));
  const form = el("form", { class: "controls", role: "search", "aria-label": "Choose prompts" }, fields,
    el("label", { class: "wide" }, "Search in prompts and in the answers of A and B", field), clear);
  form.addEventListener("submit", (event) => event.preventDefault());
  add(box, [form, el("div", { class: "gaps" }),
    el("p", { class: "status", role: "status" }), el("ul", { class: "facts" }),
    el("div", { class: "browser" },
      el("div", { class: "side" },
        el("ul", { class: "list", "aria-label": "Prompts" }), el("p", { class: "pager" })),
      el("article", { class: "detail", "aria-label": "The chosen prompt" }))]);
}

function changed(typing) {
  const box = document.getElementById("answers-box");
  const chosen = Object.fromEntries([...box.querySelectorAll("[name]")].map((field) => [field.name, field.value]));
  browser.byControl = true;
  go("answers", writeChoice(readChoice(chosen), browser.key), typing);
}

function setControls(box, choice) {
  const language = page.languages[choice.lang];
  const options = (name, list) => fill(box.querySelector(`[name=${name}]`),
    list.map(([value, text]) => el("option", { value }, text)));
  options("lang", Object.keys(page.languages).map((name) => [name, name]));
  const runs = page.runs.map((run) => [run.id, run.name]);
  options("a", runs);
  options("b", [...runs, ["none", "none: A alone"]]);
  options("rules", language.rules.map((name) => [name, name.replaceAll("_", " ")]));
  options("cat", categories(language));
  const values = { ...choice, a: page.runs[choice.a].id, b: choice.b === null ? "none" : page.runs[choice.b].id };
  for (const [name, value] of Object.entries(values)) {
    const field = box.querySelector(`[name=${name}]`);
    if (document.activeElement !== field || field.value !== value) field.value = value;
  }
}

async function showAnswers(chosen) {
  const box = document.getElementById("answers-box");
  if (!Object.keys(page.languages).length) return fill(box, el("p", { class: "gap" }, "No run has answers."));
  if (!box.hasChildNodes()) frameOfAnswers(box);
  const choice = readChoice(chosen);
  const language = page.languages[choice.lang];
  setControls(box, choice);
  fill(box.querySelector(".gaps"), gapsOf(language, choice));
  const status = box.querySelector(".status");
  const mine = shows;
  const found = await search(choice.lang, choice, (done, all) => {
    fill(status, "Searching ", el("progress", { value: done, max: all }), ` ${done} of ${all} prompts`);
  });
  if (found === null || mine !== shows) return; // meanwhile something else was asked for
  Object.assign(browser, { choice, left: filtered(language, choice, found.hits) });
  const wanted = browser.left.find(({ item }) => keyOf(item) === chosen.key);
  const shownItem = (wanted || browser.left[0] || { item: null }).item;
  const leftOut = !wanted && chosen.key !== undefined && !browser.byControl ? chosen.key : null;
  browser.byControl = false;
  // If nothing is left, the prompt comes back when the filters let it.
  browser.key = shownItem === null ? chosen.key : keyOf(shownItem);
  history.replaceState(null, "", address("answers", writeChoice(choice, browser.key)));
  tellCounts(box, language, choice);
  showList(box, shownItem);
  await showDetail(box.querySelector(".detail"), shownItem, choice, leftOut);
}

function gapsOf(language, choice) {
  const gaps = [["A", choice.a], ["B", choice.b]].filter(([, run]) => run !== null)
    .flatMap(([name, run]) => (language.gaps[run] || []).map((gap) => `${name} (${page.runs[run].name}): ${gap}`));
  if (page.cut.answers) {
    gaps.push(`To keep this file small, ${page.cut.answers.toLocaleString("en")} answers are cut after `
      + `${page.cut.after.toLocaleString("en")} characters; each says so. A search sees what is left of them.`);
  }
  return gaps.map((gap) => el("p", { class: "gap" }, gap));
}

views.answers = showAnswers;
