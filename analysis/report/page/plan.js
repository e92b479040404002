// The plan: distinct steps by stage, who uses them, what they cost, and what sharing saved.

function showPlan() {
  const box = document.getElementById("plan-box");
  if (box.hasChildNodes()) return;
  const { steps, runs } = page;
  const alone = steps.reduce((sum, step) => sum + step.runs.length, 0);
  const timed = steps.filter((step) => step.seconds !== null);
  const spent = timed.reduce((sum, step) => sum + step.seconds, 0);
  const unshared = timed.reduce((sum, step) => sum + step.seconds * step.runs.length, 0);
  const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  add(box, [
    el("dl", { class: "big" },
      fact(`distinct steps for ${counted(runs.length, "run")}`, `${steps.length}`),
      fact("steps if each run did its own", `${alone}`),
      fact("time the distinct steps took", duration(spent)),
      fact("time if each run did its own", duration(unshared)),
      fact("time saved", `${duration(unshared - spent)} (${percent(unshared - spent, unshared)})`)),
    timed.length < steps.length
      ? el("p", { class: "gap" }, `Times are those of ${timed.length} of ${steps.length} steps: `
        + "the others are missing (not done yet, or deleted since), or left no time.") : null,
    planTable(steps),
  ]);
}

function planTable(steps) {
  const headings = ["step", "used by", "state", "time", "fingerprint"];
  const bodies = [...new Set(steps.map((step) => step.stage))].map((stage) => {
    const mine = steps.filter((step) => step.stage === stage);
    const uses = mine.reduce((sum, step) => sum + step.runs.length, 0);
    return el("tbody", {},
      el("tr", {}, el("th", { scope: "rowgroup", colspan: headings.length },
        `${stage}: ${counted(mine.length, "distinct step")}, ${counted(uses, "step")} if not shared`)),
      mine.map(planRow));
  });
  return el("div", { class: "scroll" }, el("table", { class: "plan" },
    el("caption", { class: "hidden" }, "Steps by stage"),
    el("thead", {}, el("tr", {}, headings.map((text) =>
      el("th", { scope: "col", class: text === "time" ? "num" : null }, text)))),
    bodies));
}

function planRow(step) {
  const all = step.runs.length === page.runs.length && page.runs.length > 1;
  const what = step.label || (all ? "all runs" : "");
  const signs = { done: ["yes", "✓ done"], missing: ["no", "✗ missing"], damaged: ["no", "✗ damaged"] };
  const [kind, word] = signs[step.state];
  return el("tr", {},
    el("th", { scope: "row", class: "break" }, step.role, what ? el("span", { class: "none" }, ` ${what}`) : null),
    el("td", { class: "break" }, step.runs.length === 1
      ? runLink(step.runs[0])
      : el("details", {}, el("summary", {}, counted(step.runs.length, "run")),
        el("ul", {}, step.runs.map((run) => el("li", {}, runLink(run)))))),
    el("td", {}, el("span", { class: kind }, word), step.why ? el("div", { class: "break" }, step.why) : null),
    el("td", { class: "num" }, duration(step.seconds)),
    el("td", {}, el("code", {}, step.key.split("/")[1])));
}

views.plan = showPlan;
