// Lines over optimizer steps, as SVG. A pointer over the drawing reads the nearest point.

const [LEFT, BELOW, EDGE] = [60, 45, 15]; // room around the lines, in pixels

function drawCurves(box, curves, column, on, logarithmic) {
  const drawn = curves
    .map((curve, place) => ({ curve, place, points: on.has(curve.key) ? curve.columns[column] : undefined }))
    .filter((line) => line.points !== undefined)
    .map((line) => ({ ...line, points: positive(line.points, logarithmic) }))
    .filter((line) => line.points.length);
  const drawing = box.querySelector(".drawing");
  if (!drawn.length) {
    return fill(drawing, el("p", { class: "gap" }, on.size && !on.has("none")
      ? `No chosen step has a ${column} that can be drawn.` : "No training step is chosen: tick some below."));
  }
  const wide = Math.max(300, drawing.clientWidth);
  const high = Math.min(420, Math.round(0.75 * wide));
  const all = drawn.flatMap((line) => line.points);
  const x = axis(all.map((point) => point[0]), LEFT, wide - EDGE, false);
  const y = axis(all.map((point) => point[1]), high - BELOW, EDGE, logarithmic);
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${wide} ${high}`, role: "img",
    "aria-label": `${column} over optimizer steps, ${counted(drawn.length, "curve")}` },
    y.ticks.map((tick) => [
      svg("line", { class: "grid", x1: LEFT, x2: wide - EDGE, y1: y.at(tick), y2: y.at(tick) }),
      svg("text", { x: LEFT - 8, y: y.at(tick) + 4, "text-anchor": "end" }, short(tick))]),
    x.ticks.map((tick) => svg("text", { x: x.at(tick), y: high - BELOW + 18, "text-anchor": "middle" }, short(tick))),
    svg("text", { x: (LEFT + wide) / 2, y: high - 6, "text-anchor": "middle" }, "optimizer step"),
    svg("text", { x: LEFT, y: 11, "text-anchor": "start" }, column.replaceAll("_", " ")),
    drawn.map(({ points, place }) => svg("path", { class: curveClass(place), d: points
      .map((point, at) => `${at ? "L" : "M"}${x.at(point[0]).toFixed(1)} ${y.at(point[1]).toFixed(1)}`).join("") })),
    drawn.filter((line) => line.points.length === 1).map(({ points, place }) =>
      svg("circle", { class: curveClass(place), cx: x.at(points[0][0]), cy: y.at(points[0][1]), r: 3 })));
  const reading = el("p", { class: "status" }, "Point at the drawing to read a value.");
  readable(chart, reading, drawn, x, y);
  return fill(drawing, chart, reading);
}

function positive([xs, ys], logarithmic) {
  return xs.map((x, place) => [x, ys[place]]).filter((point) => !logarithmic || point[1] > 0);
}

function axis(values, from, to, logarithmic) {
  const scale = logarithmic ? Math.log10 : (value) => value;
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (low === high) [low, high] = logarithmic ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const at = (value) => from + ((scale(value) - scale(low)) / (scale(high) - scale(low))) * (to - from);
  return { at, ticks: logarithmic ? powers(low, high) : rounds(low, high) };
}

function rounds(low, high) {
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step); tick * step <= high * (1 + 1e-9); tick += 1) ticks.push(tick * step);
  return ticks;
}

function powers(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
    ticks.push(...[1, 2, 5].map((factor) => factor * 10 ** power).filter((tick) => tick >= low && tick <= high));
  }
  return ticks.length > 12 ? ticks.filter((tick) => Number.isInteger(Math.round(Math.log10(tick) * 1e9) / 1e9)) : ticks;
}

const short = (value) => {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(1) : String(Number(value.toPrecision(4)));
};

function readable(chart, reading, drawn, x, y) {
  const dot = svg("circle", { class: "pick", r: 4, cx: -9, cy: -9 });
  chart.append(dot);
  chart.addEventListener("pointermove", (event) => {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    let best = null;
    for (const { points, curve } of drawn) {
      for (const point of points) {
        const far = (x.at(point[0]) - place.x) ** 2 + (y.at(point[1]) - place.y) ** 2;
        if (best === null || far < best.far) best = { far, point, curve };
      }
    }
    set(dot, { cx: x.at(best.point[0]), cy: y.at(best.point[1]) });
    fill(reading, `Step ${best.point[0]}: ${best.point[1]} — ${best.curve.role} ${best.curve.label}`);
  });
}
