// The heat map: queries down, keys across.

const LABEL = 12; // pixels of a label's text

// How the colours follow the weights: the largest that a row is measured by, and the place on the ramp.
function scaleOf(matrix, name) {
  const spread = name === "linear" ? (share) => share : (share) => Math.sqrt(share);
  if (name !== "row") return { spread, largest: () => matrix.largest };
  return { spread: (share) => share, largest: (query) => largestOf(matrix.row(query)) };
}

const pictures = new WeakMap(); // of matrices: a pointer that moves draws the same one again and again

function matrixImage(matrix, name) {
  const kind = `${name} ${isDark.matches}`;
  const known = pictures.get(matrix);
  if (known === undefined || known.kind !== kind) {
    pictures.set(matrix, { kind, image: paintMatrix(matrix, name) });
  }
  return pictures.get(matrix).image;
}

// A picture of the matrix with a pixel each; masked rows stay empty.
function paintMatrix(matrix, name) {
  const canvas = document.createElement("canvas");
  canvas.width = matrix.keys;
  canvas.height = matrix.queries;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(matrix.keys, matrix.queries);
  const { spread, largest } = scaleOf(matrix, name);
  const table = rampTable();
  for (let query = 0; query < matrix.queries; query++) {
    const row = matrix.row(query);
    const most = largest(query) || 1;
    row.forEach((value, key) => {
      if (Number.isNaN(value)) return;
      const at = 4 * (query * matrix.keys + key);
      pixels.data.set(rampColour(spread(value / most), table), at);
      pixels.data[at + 3] = 255;
    });
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function drawMatrix(context, matrix, name, { x, y, width, height }) {
  hatch(context, x, y, width, height, matrix);
  context.imageSmoothingEnabled = width * (window.devicePixelRatio || 1) < matrix.keys;
  context.drawImage(matrixImage(matrix, name), x, y, width, height);
}

// Strokes behind rows that are masked.
function hatch(context, x, y, width, height, matrix) {
  const cell = height / matrix.queries;
  context.strokeStyle = theme("dot");
  context.lineWidth = 1;
  for (let query = 0; query < matrix.queries; query++) {
    if (!Number.isNaN(matrix.row(query)[0])) continue;
    context.save();
    context.beginPath();
    context.rect(x, y + query * cell, width, cell);
    context.clip();
    context.beginPath();
    for (let at = -cell; at < width; at += 6) line(context, x + at, y + (query + 1) * cell, x + at + cell, y + query * cell);
    context.stroke();
    context.restore();
  }
}

// Which tokens are named along an axis, given the pixels of a cell; of an image, the class token and the rows.
function ticks(names, grid, cell, least = LABEL + 2) {
  if (cell >= least) return names.map((name, at) => ({ at, name }));
  if (grid !== null && grid.width * cell >= least) {
    const found = [];
    if (grid.prefix > 0) found.push({ at: 0, name: names[0] });
    const rows = (names.length - grid.prefix) / grid.width;
    for (let row = 0; row < rows; row++) {
      const at = grid.prefix + row * grid.width;
      const name = grid.across > 1 ? names[at] : `row ${row + 1}`;
      if (row > 0 || grid.prefix === 0 || grid.prefix * cell >= least) found.push({ at, name });
    }
    return found;
  }
  const step = Math.ceil(least / cell);
  return names.map((name, at) => ({ at, name })).filter(({ at }) => at % step === 0);
}

function heatmapLayout(context, matrix, width) {
  setFont(context, LABEL);
  const widest = (names) => names.reduce((most, name) => Math.max(most, context.measureText(name).width), 0);
  const { queries, keys, grid } = matrix.tokens;
  const isMany = matrix.keys > 40;
  const left = Math.min(isMany && grid ? 52 : widest(queries) + 10, 0.3 * width, 150) + 16;
  const most = isMany ? 760 : 80 * matrix.keys;
  const plot = Math.min(width - left - 4, most);
  const cell = plot / matrix.keys;
  const isFlat = widest(keys) + 8 <= cell;
  const above = (isFlat ? LABEL + 8 : Math.min(isMany && grid ? 52 : widest(keys) + 10, 120)) + 18;
  // Cells are square, unless the rows would take too long or no room at all.
  const high = Math.max(Math.min(cell * matrix.queries, 900), Math.min(matrix.queries * 14, 200));
  return { x: left, y: above, width: plot, height: high, isFlat, cellWidth: cell, cellHeight: high / matrix.queries };
}

function drawAxes(context, matrix, layout) {
  const { x, y, width, height, cellWidth, cellHeight, isFlat } = layout;
  const { queries, keys, grid } = matrix.tokens;
  setFont(context, LABEL);
  context.fillStyle = theme("ink");
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (const { at, name } of ticks(queries, grid, cellHeight)) {
    context.fillText(fitted(context, name, x - 24), x - 6, y + (at + 0.5) * cellHeight);
  }
  for (const { at, name } of ticks(keys, grid, cellWidth)) {
    context.save();
    context.translate(x + (at + 0.5) * cellWidth, y - 6);
    context.textAlign = isFlat ? "center" : "left";
    context.textBaseline = isFlat ? "bottom" : "middle";
    if (!isFlat) context.rotate(-Math.PI / 2);
    context.fillText(fitted(context, name, isFlat ? cellWidth : y - 26), 0, 0);
    context.restore();
  }
  setFont(context, 11);
  context.fillStyle = theme("faint");
  context.textAlign = "left";
  context.textBaseline = "top";
  context.fillText("key (attended to)", x, 0);
  context.save();
  context.translate(0, y + height);
  context.rotate(-Math.PI / 2);
  context.fillText(fitted(context, "query (attends)", height), 0, 0);
  context.restore();
  context.strokeStyle = theme("line");
  context.lineWidth = 1;
  context.strokeRect(x - 0.5, y - 0.5, width + 1, height + 1);
}

// Numbers in cells that are large enough.
function drawNumbers(context, matrix, name, layout) {
  if (layout.cellWidth < 38 || layout.cellHeight < 18) return;
  const { spread, largest } = scaleOf(matrix, name);
  setFont(context, 11);
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let query = 0; query < matrix.queries; query++) {
    matrix.row(query).forEach((value, key) => {
      if (Number.isNaN(value)) return;
      context.fillStyle = inkOn(rampColour(spread(value / (largest(query) || 1))));
      const [x, y] = [layout.x + (key + 0.5) * layout.cellWidth, layout.y + (query + 0.5) * layout.cellHeight];
      context.fillText(value >= 0.005 ? value.toFixed(2) : value > 0 ? "<.01" : "0", x, y);
    });
  }
}

const heatmapView = {
  hint: "Move over a cell to read it; click a row, or move with the arrow keys, to choose the query.",
  draw(canvas, { matrix, query, hover, scale }, width) {
    const layout = heatmapLayout(canvas.getContext("2d"), matrix, width);
    const context = sized(canvas, width, layout.y + layout.height + BELOW + 6);
    drawMatrix(context, matrix, scale, layout);
    drawNumbers(context, matrix, scale, layout);
    drawAxes(context, matrix, layout);
    context.strokeStyle = theme("mark");
    context.lineWidth = 2;
    const row = { x: layout.x - 1, y: layout.y + query * layout.cellHeight - 1, h: layout.cellHeight + 2 };
    context.strokeRect(row.x, row.y, layout.width + 2, row.h);
    if (hover && hover.key !== undefined) drawCross(context, layout, hover);
    const box = { x: layout.x, y: layout.y + layout.height + 12, width: Math.min(Math.max(layout.width, 200), 280) };
    const isRow = scale === "row";
    const label = isRow ? "share of the row’s largest" : "attention weight";
    drawScale(context, box, isRow ? 1 : matrix.largest, scaleOf(matrix, scale).spread, label);
    this.layout = layout;
  },
  hit({ matrix }, x, y) {
    const { layout } = this;
    const query = Math.floor((y - layout.y) / layout.cellHeight);
    if (query < 0 || query >= matrix.queries || x > layout.x + layout.width) return null;
    const key = Math.floor((x - layout.x) / layout.cellWidth);
    return key < 0 ? { query, chosen: query } : { query, key: Math.min(key, matrix.keys - 1), chosen: query };
  },
};

function drawCross(context, { x, y, width, height, cellWidth, cellHeight }, { query, key }) {
  context.strokeStyle = theme("mark");
  context.lineWidth = 1;
  context.setLineDash([3, 3]);
  context.strokeRect(x, y + query * cellHeight, width, cellHeight);
  context.strokeRect(x + key * cellWidth, y, cellWidth, height);
  context.setLineDash([]);
}
