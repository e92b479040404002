// Learning curves: which stage, which column, which steps; drawn by chart.js.

const FIRST = 8; // curves drawn unless others are chosen: as many as there are colours
let curveSteps = null; // what the list of steps was last made for

function showCurves(chosen) {
  const box = document.getElementById("curves-box");
  if (!page.curves.length) return fill(box, el("p", { class: "gap" }, "No learning curves: ", noCurves()));
  if (!box.hasChildNodes()) add(box, curveFrame());
  const stages = [...new Set(page.curves.map((curve) => curve.stage))];
  const stage = stages.includes(chosen.stage) ? chosen.stage : stages[stages.length - 1];
  const mine = page.curves.filter((curve) => curve.stage === stage);
  const columns = [...new Set(mine.flatMap((curve) => Object.keys(curve.columns)))];
  const column = columns.includes(chosen.y) ? chosen.y : columns.includes("loss") ? "loss" : columns[0];
  const on = chosen.on === undefined
    ? new Set(mine.slice(0, FIRST).map((curve) => curve.key)) : new Set(chosen.on.split(","));
  const [stageField, columnField, logField] = ["stage", "y", "log"].map((name) => box.querySelector(`[name=${name}]`));
  fill(stageField, stages.map((name) => el("option", { value: name }, name)));
  fill(columnField, columns.map((name) => el("option", { value: name }, name.replaceAll("_", " "))));
  stageField.value = stage;
  columnField.value = column;
  logField.checked = chosen.log === "1";
  if (curveSteps !== stage) {
    fill(box.querySelector(".steps"), mine.map(curveBox));
    curveSteps = stage;
  }
  for (const field of box.querySelectorAll("[name=on]")) field.checked = on.has(field.value);
  drawCurves(box, mine, column, on, logField.checked);
}

const noCurves = () => (page.curve_gaps.length ? page.curve_gaps.join("; ") : "no run trained anything") + ".";

function curveFrame() {
  const [stage, column] = [choice("Stage", [], { name: "stage" }), choice("Column", [], { name: "y" })];
  const log = el("label", {}, el("input", { type: "checkbox", name: "log" }), " logarithmic scale");
  const frame = [
    el("div", { class: "controls" }, stage.box, column.box, log),
    el("div", { class: "drawing" }),
    el("fieldset", {}, el("legend", {}, "Training steps"),
      el("p", { class: "pager" }, ["all", "none"].map((name) => {
        const button = el("button", { type: "button" }, `Draw ${name}`);
        button.addEventListener("click", () => chooseCurves((field) => (field.checked = name === "all")));
        return button;
      })),
      el("div", { class: "steps" })),
    page.curve_gaps.length
      ? el("details", {}, el("summary", {}, `${counted(page.curve_gaps.length, "training step")} without a curve`),
        el("ul", {}, page.curve_gaps.map((gap) => el("li", { class: "break" }, gap)))) : null,
  ];
  window.addEventListener("resize", () => read().view === "curves" && show());
  stage.field.addEventListener("change", () => go("curves", { ...curveChoice(), on: undefined }));
  for (const field of [column.field, log]) field.addEventListener("change", () => go("curves", curveChoice()));
  return frame;
}

function curveBox(curve, place) {
  const field = el("input", { type: "checkbox", name: "on", value: curve.key });
  field.addEventListener("change", () => go("curves", curveChoice()));
  const line = svg("line", { x1: 0, x2: 30, y1: 5, y2: 5, class: curveClass(place) });
  const losses = curve.columns.loss;
  return el("label", {}, field, " ",
    svg("svg", { class: "swatch", viewBox: "0 0 30 10", "aria-hidden": "true" }, line), " ",
    `${curve.role} ${curve.label}`.trim(),
    el("span", { class: "none" }, ` (${counted(curve.runs.length, "run")}, ${counted(curve.rows, "row")}`,
      losses ? `, last loss ${losses[1][losses[1].length - 1]}` : null,
      curve.not_finite ? `, ${counted(curve.not_finite, "value")} that are no numbers left out` : null, ")"));
}

// Eight colours, each with four kinds of line: no two of 32 look the same, with or without colour.
const curveClass = (place) => `k${place % 8} d${(place + Math.floor(place / 8)) % 4}`;

function chooseCurves(change) {
  for (const field of document.querySelectorAll("#curves-box [name=on]")) change(field);
  go("curves", curveChoice());
}

function curveChoice() {
  const box = document.getElementById("curves-box");
  const fields = [...box.querySelectorAll("[name=on]")];
  const on = fields.filter((field) => field.checked).map((field) => field.value);
  const usual = fields.slice(0, FIRST).map((field) => field.value);
  return {
    stage: box.querySelector("[name=stage]").value,
    y: box.querySelector("[name=y]").value,
    log: box.querySelector("[name=log]").checked ? "1" : "",
    on: on.join() === usual.join() ? undefined : on.join() || "none",
  };
}

views.curves = showCurves;
