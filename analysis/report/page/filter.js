// Which prompts a choice leaves, from the index alone; only a search needs the texts.
// A choice: {lang, a, b, rules, kind, cat, change, pass, wrong, disagree, q}; a and b are places of runs, b may be null.

const LANGDETECT = "langdetect"; // the identifier that papers report

function inCategory(id, category) {
  return category === "" || id === category || id.split(":")[0] === category;
}

// The places of a prompt's instructions in the chosen category, counted over the language.
function counting(item, category) {
  return item.instructions.map((id, at) => [page.instruction_ids[id], item.from + at])
    .filter(([id]) => inCategory(id, category)).map(([, place]) => place);
}

const signs = (language, kind, run, rules) => (run === null ? "" : language[kind][run][rules] || "");

function foundBy(language, run, identifier, place) {
  const code = run === null ? -1 : (language.found[run][identifier] || [])[place] ?? -1;
  return code < 0 ? null : page.codes[code];
}

function isWrong(language, run, item) {
  const found = foundBy(language, run, LANGDETECT, item.index);
  return found !== null && found !== page.codes[item.asked];
}

function disagree(language, run, item) {
  const found = language.identifiers.map((name) => foundBy(language, run, name, item.index)).filter((name) => name !== null);
  return new Set(found).size > 1;
}

// What there is to say of one prompt under a choice.
function judge(language, item, choice) {
  const places = counting(item, choice.cat);
  const [first, second] = [choice.a, choice.b].map((run) => signs(language, choice.kind, run, choice.rules));
  const [a, b] = [first, second].map((text) => places.map((place) => text[place] || "-"));
  return {
    a,
    b,
    gained: a.filter((sign, at) => sign === "0" && b[at] === "1").length,
    lost: a.filter((sign, at) => sign === "1" && b[at] === "0").length,
  };
}

const passed = (list) => list.length > 0 && list.every((sign) => sign === "1");
const failed = (list) => list.some((sign) => sign === "0");

const CHANGES = {
  gained: (judged) => judged.gained > 0,
  lost: (judged) => judged.lost > 0,
  either: (judged) => judged.gained > 0 || judged.lost > 0,
  same: (judged) => judged.gained === 0 && judged.lost === 0,
};

const VERDICTS = {
  "a-passed": (judged) => passed(judged.a),
  "a-failed": (judged) => failed(judged.a),
  "b-passed": (judged) => passed(judged.b),
  "b-failed": (judged) => failed(judged.b),
};

function someOf(which, of, choice) {
  if (which === "a") return of(choice.a);
  if (which === "b") return of(choice.b);
  return of(choice.a) || of(choice.b);
}

// The prompts a choice leaves: [{item, judged}], in order. `hits` are those a search found, null without one.
function filtered(language, choice, hits) {
  const left = [];
  for (const item of language.items) {
    if (hits !== null && !hits.has(item.index)) continue;
    const judged = judge(language, item, choice);
    if (choice.cat && !judged.a.length) continue;
    if (choice.change && !CHANGES[choice.change](judged)) continue;
    if (choice.pass && !VERDICTS[choice.pass](judged)) continue;
    if (choice.wrong && !someOf(choice.wrong, (run) => isWrong(language, run, item), choice)) continue;
    if (choice.disagree && !someOf(choice.disagree, (run) => disagree(language, run, item), choice)) continue;
    left.push({ item, judged });
  }
  return left;
}

const folded = (text) => text.normalize("NFC").toLowerCase();

let lastSearch = { name: null, hits: null };

// The prompts in which the prompt, or the answer of A or B, holds the text. Null: another search has begun.
async function search(name, choice, tell) {
  if (!choice.q.trim()) {
    lastSearch = { name: null, hits: null };
    return lastSearch;
  }
  const wanted = folded(choice.q);
  const key = JSON.stringify([name, choice.a, choice.b, wanted]);
  if (lastSearch.name === key && lastSearch.hits !== null) return lastSearch;
  const mine = { name: key, hits: null };
  lastSearch = mine;
  const items = page.languages[name].items;
  const found = new Set();
  const seen = new Map(); // block -> place of a text -> whether it holds what is sought
  for (const [place, item] of items.entries()) {
    const begins = place === 0 || items[place - 1].block !== item.block;
    if (begins) tell(place, items.length);
    const { prompt, answer } = await openItem(item);
    if (lastSearch !== mine) return null;
    if (begins) seen.clear();
    const holds = (text) => text !== null && folded(text).includes(wanted);
    const answerHolds = (run) => {
      const given = answer(run);
      if (given === null) return false;
      if (!seen.has(given.place)) seen.set(given.place, holds(given.text));
      return seen.get(given.place);
    };
    if (holds(prompt) || answerHolds(choice.a) || answerHolds(choice.b)) found.add(item.index);
  }
  mine.hits = found;
  return mine;
}
