// The flow view: queries at the left, keys at the right, between them curves as wide and dense as the weight.

const READABLE = 24; // queries whose curves can be drawn together
const BETWEEN = 13; // pixels that two labels need

function flowLayout(context, matrix, width) {
  setFont(context, 13);
  const { queries, keys } = matrix.tokens;
  const widest = (names) => names.reduce((most, name) => Math.max(most, context.measureText(name).width), 0);
  const most = Math.max(matrix.queries, matrix.keys);
  const step = most <= 30 ? 28 : most <= 70 ? BETWEEN : Math.max(1.5, Math.min(4, 880 / most));
  const room = Math.min(170, 0.3 * width);
  const [left, right] = [Math.min(widest(queries), room) + 22, Math.min(widest(keys), room) + 22];
  // Curves longer than this are harder to follow.
  const between = Math.min(width - left - right, 620);
  const x = left + (width - left - right - between) / 2;
  const height = most * step;
  const place = (count) => (at) => 26 + (height - count * step) / 2 + (at + 0.5) * step;
  return {
    x0: x, x1: x + between, left, right, height: height + 30, step, isLabelled: step >= BETWEEN - 1,
    queryAt: place(matrix.queries), keyAt: place(matrix.keys),
  };
}

function flowQueries({ matrix, query, hover, drawn }) {
  const isOne = drawn === "one" || (drawn === "auto" && matrix.queries > READABLE);
  if (isOne) return [hover ? hover.query : query];
  return Array.from({ length: matrix.queries }, (_, at) => at);
}

function flowCurves(state) {
  const { matrix, most } = state;
  const curves = flowQueries(state).flatMap((query) => {
    const row = matrix.row(query);
    return strongest(row, most).map((key) => ({ query, key, weight: row[key] }));
  });
  return curves.sort((a, b) => a.weight - b.weight);
}

function drawCurves(context, curves, layout, active) {
  const largest = curves.length > 0 ? curves[curves.length - 1].weight : 1;
  const isMany = new Set(curves.map(({ query }) => query)).size > 1;
  const middle = (layout.x0 + layout.x1) / 2;
  context.lineCap = "round";
  for (const isActive of [false, true]) {
    for (const { query, key, weight } of curves) {
      if ((query === active) !== isActive) continue;
      const share = weight / largest;
      context.strokeStyle = theme(isActive || !isMany ? "accent" : "faint");
      context.globalAlpha = (isActive || !isMany ? 0.25 : 0.08) + (isActive || !isMany ? 0.65 : 0.4) * share;
      context.lineWidth = 0.8 + Math.min(9, Math.max(5, 0.4 * layout.step)) * share;
      context.beginPath();
      const [y0, y1] = [layout.queryAt(query), layout.keyAt(key)];
      context.moveTo(layout.x0 + 5, y0);
      context.bezierCurveTo(middle, y0, middle, y1, layout.x1 - 5, y1);
      context.stroke();
    }
  }
  context.globalAlpha = 1;
}

// Names that do not touch: those that matter most first.
function drawFlowNames(context, { names, order, x, placeOf, align, room, chosen }) {
  const taken = [];
  context.textAlign = align;
  context.textBaseline = "middle";
  for (const at of order) {
    const y = placeOf(at);
    if (taken.some((other) => Math.abs(other - y) < BETWEEN)) continue;
    taken.push(y);
    setFont(context, 13, at === chosen ? "600" : "");
    context.fillStyle = theme(at === chosen ? "accent" : "ink");
    context.fillText(fitted(context, names[at], room), x, y);
  }
}

function drawDots(context, x, count, placeOf, marked, step) {
  const radius = Math.max(1, Math.min(3, 0.3 * step));
  for (let at = 0; at < count; at++) {
    context.fillStyle = theme(marked.has(at) ? "accent" : "dot");
    context.beginPath();
    context.arc(x, placeOf(at), marked.has(at) ? Math.max(radius, 2.5) : radius, 0, 2 * Math.PI);
    context.fill();
  }
}

const flowView = {
  hint: "Move over a query at the left to see where it attends, and click to choose it.",
  draw(canvas, state, width) {
    const { matrix, query, hover } = state;
    const layout = flowLayout(canvas.getContext("2d"), matrix, width);
    const context = sized(canvas, width, layout.height);
    const active = hover ? hover.query : query;
    const curves = flowCurves(state);
    drawCurves(context, curves, layout, active);
    const own = curves.filter((curve) => curve.query === active).map(({ key }) => key).reverse();
    const marked = new Set(curves.map(({ key }) => key));
    drawDots(context, layout.x0, matrix.queries, layout.queryAt, new Set([active]), layout.step);
    drawDots(context, layout.x1, matrix.keys, layout.keyAt, marked, layout.step);
    const everyOne = (count) => (layout.isLabelled ? Array.from({ length: count }, (_, at) => at) : []);
    const pointed = hover && hover.key !== undefined ? [hover.key] : [];
    const queryNames = new Set([active, ...everyOne(matrix.queries)]);
    const keyNames = new Set([...pointed, ...own, ...everyOne(matrix.keys)]);
    const { queries, keys } = matrix.tokens;
    drawFlowNames(context, {
      names: queries, order: queryNames, x: layout.x0 - 9, placeOf: layout.queryAt, align: "right",
      room: layout.left - 14, chosen: active,
    });
    drawFlowNames(context, {
      names: keys, order: keyNames, x: layout.x1 + 9, placeOf: layout.keyAt, align: "left",
      room: layout.right - 14, chosen: pointed[0],
    });
    setFont(context, 11);
    context.fillStyle = theme("faint");
    context.textBaseline = "top";
    context.textAlign = "center";
    context.fillText("query", layout.x0, 0);
    context.fillText("key", layout.x1, 0);
    this.layout = layout;
  },
  hit({ matrix, query, layer }, x, y) {
    const { layout } = this;
    const nearest = (count, placeOf) => {
      const at = Math.floor((y - placeOf(0)) / layout.step + 0.5);
      return at >= 0 && at < count ? at : null;
    };
    if (x < (layout.x0 + layout.x1) / 2) {
      const found = nearest(matrix.queries, layout.queryAt);
      return found === null ? null : { query: found, chosen: found };
    }
    const key = nearest(matrix.keys, layout.keyAt);
    return key === null ? null : { query, key, chosen: layer.is_self ? key : undefined };
  },
};
