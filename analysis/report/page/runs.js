// Runs: a list, one run in full, and its differences to another.

let runShown = null;

function showRuns(chosen) {
  const box = document.getElementById("runs-box");
  if (!box.hasChildNodes()) add(box, [runList(), el("div", { class: "one" })]);
  const wanted = chosen.run === undefined ? -1 : runById(chosen.run);
  const run = wanted < 0 ? 0 : wanted;
  const other = chosen.with === undefined ? -1 : runById(chosen.with);
  for (const row of box.querySelectorAll("tr[data-run]")) {
    row.querySelector("a").toggleAttribute("aria-current", Number(row.dataset.run) === run);
  }
  const one = box.querySelector(".one");
  fill(one,
    chosen.run !== undefined && wanted < 0
      ? el("p", { class: "gap" }, `The run ${chosen.run} is not in this report; this is another.`) : null,
    oneRun(run, other < 0 || other === run ? null : other));
  // A change of the other run must not make the page jump.
  if (chosen.run !== undefined && runShown !== run) one.scrollIntoView();
  runShown = run;
}

function runList() {
  const languages = [...new Set(page.runs.flatMap((run) => Object.keys(run.counts)))];
  const shares = ["instruction_strict", "prompt_strict", "response_language"];
  const heading = { instruction_strict: "instructions", prompt_strict: "prompts", response_language: "in language" };
  const made = table("All runs: strict accuracy by instruction and by prompt, and answers in the language asked for (percent)",
    ["run", ...languages.flatMap((language) => shares.map((name) => `${language} ${heading[name]}`)), "last asked for (UTC)"],
    page.runs.map((run, place) => [
      runLink(place),
      ...languages.flatMap((language) => shares.map((name) => {
        const count = (run.counts[language] || {})[name];
        return { num: count ? percent(...count) : "–" };
      })),
      el("span", { class: "whole" }, run.asked_for.slice(0, 16).replace("T", " ")),
    ]));
  made.querySelectorAll("tbody tr").forEach((row, place) => {
    row.dataset.run = String(place);
    row.id = `run-${page.runs[place].id}`;
  });
  return made;
}

function oneRun(place, other) {
  const run = page.runs[place];
  const against = other === null ? null : page.runs[other];
  const pick = choice("Compare with", [["", "no other run"],
    ...page.runs.map((item, at) => [item.id, item.name, at]).filter((item) => item[2] !== place)], {});
  pick.field.value = against ? against.id : "";
  pick.field.addEventListener("change", () => go("runs", { run: run.id, with: pick.field.value }));
  return [
    el("h3", {}, run.name),
    el("p", { class: "about" }, "Run ", el("code", {}, run.id), ". The command that makes it, or makes it again:"),
    el("pre", { class: "command", tabindex: "0" }, run.command),
    runGaps(place),
    el("p", { class: "compare" }, pick.box, " ",
      against ? el("a", { href: address("runs", { run: against.id, with: run.id }) }, "swap") : null, " ",
      el("a", { href: address("answers", { a: run.id, b: against ? against.id : "" }) },
        against ? "compare their answers" : "see its answers")),
    against ? differences(run, against) : null,
    metricTable(run, against),
    el("details", {}, el("summary", {}, `All ${Object.keys(run.settings).length} settings`),
      table(null, ["setting", "value"], Object.entries(run.settings))),
    el("details", {}, el("summary", {}, `Fingerprints of its ${counted(Object.keys(run.steps).length, "step")}`),
      table(null, ["step", "stage/fingerprint"], Object.entries(run.steps).map(([role, key]) => [role, el("code", {}, key)]))),
    el("details", {}, el("summary", {}, "Versions it was made with"),
      Object.keys(run.versions).length
        ? table(null, ["package", "version"], Object.entries(run.versions))
        : el("p", { class: "gap" }, "None of its steps is in the store.")),
  ];
}

function runGaps(place) {
  const gaps = Object.entries(page.languages).flatMap(([language, found]) =>
    (found.gaps[place] || []).map((gap) => `${language}: ${gap}`));
  return gaps.map((gap) => el("p", { class: "gap" }, gap));
}

// Settings, steps and versions that differ, both ways: what only one of the two has is told as well.
function differences(run, other) {
  const differing = (mine, others) => [...new Set([...Object.keys(mine), ...Object.keys(others)])]
    .filter((name) => mine[name] !== others[name])
    .map((name) => [name, mine[name] ?? "not there", others[name] ?? "not there"]);
  const short = { steps: differing(run.steps, other.steps), all: Object.keys(run.steps).length };
  const part = (title, rows) => (rows.length
    ? table(title, ["", run.name, other.name], rows) : el("p", {}, `${title}: none.`));
  return el("div", { class: "differences" },
    part("Settings that differ", differing(run.settings, other.settings)),
    el("details", {}, el("summary", {}, `${short.all - short.steps.filter((row) => run.steps[row[0]] !== undefined).length} of its `
      + `${short.all} steps are shared with the other run; ${short.steps.length} differ or stand in one alone`),
      part("Steps that differ", short.steps)),
    part("Versions that differ", differing(run.versions, other.versions)));
}

function metricTable(run, other) {
  const part = (count) => (count ? `${count[0]}/${count[1]}` : "–");
  return Object.keys(run.counts).map((language) => {
    const [mine, others] = [run.counts[language], other ? other.counts[language] || {} : {}];
    const names = Object.keys(mine);
    if (!names.length) return null;
    const rows = names.map((name) => {
      const [base, rules] = split(name, "@");
      const told = (page.metrics[base] || base) + (rules ? ` (rule set ${rules})` : "");
      const row = [told, { num: part(mine[name]) }, { num: percent(...mine[name]) }];
      if (!other) return row;
      const there = others[name];
      const more = there && there[1] && mine[name][1] ? 100 * (there[0] / there[1] - mine[name][0] / mine[name][1]) : null;
      return [...row, { num: part(there) }, { num: there ? percent(...there) : "–" },
        { num: more === null ? "–" : `${more > 0 ? "+" : ""}${more.toFixed(2)}` }];
    });
    const headings = ["metric", "this run", "percent"];
    return table(`Metrics, ${language} (strict, rule set paper, unless said)`,
      other ? [...headings, "other run", "percent", "other − this, points"] : headings, rows);
  });
}

views.runs = showRuns;
