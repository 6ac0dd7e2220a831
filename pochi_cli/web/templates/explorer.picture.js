// The picture view: the image, and over it where the query attends.

const CHIP = 26; // height, in pixels, of a token that is no patch
const BELOW = 34; // room for the scale

// Where things lie in a canvas of this width: tokens that are no patches above, then the image.
function pictureLayout(matrix, image, width, most) {
  const { prefix } = matrix.tokens.grid;
  const above = prefix > 0 ? CHIP + 8 : 0;
  const scale = Math.min(width / image.naturalWidth, most / image.naturalHeight);
  const [w, h] = [image.naturalWidth * scale, image.naturalHeight * scale];
  return { x: (width - w) / 2, y: above, width: w, height: h, prefix, total: above + h };
}

function cellOf(layout, grid, patch) {
  const [w, h] = [layout.width / grid.columns, layout.height / grid.rows];
  return { x: layout.x + (patch % grid.columns) * w, y: layout.y + Math.floor(patch / grid.columns) * h, w, h };
}

function chipOf(layout, token) {
  const width = Math.min(132, layout.width / layout.prefix - 4);
  return { x: layout.x + token * (width + 4), y: 1, w: width, h: CHIP - 2 };
}

function drawPicture(context, matrix, image, query, layout) {
  drawDimmed(context, image, layout);
  const row = matrix.row(query);
  const { grid, patches } = matrix.tokens;
  const largest = largestOf(row.filter((_, key) => patches[key] >= 0));
  patches.forEach((patch, key) => {
    if (patch < 0 || !(row[key] >= 0)) return;
    const share = largest > 0 ? row[key] / largest : 0;
    const cell = cellOf(layout, grid, patch);
    context.fillStyle = css(rampColour(share, tables.glow), 0.86 * Math.sqrt(share));
    context.fillRect(cell.x, cell.y, cell.w, cell.h);
  });
  if (grid.windows.length > 1) drawOutside(context, grid, patches, layout);
  for (let token = 0; token < layout.prefix; token++) drawChip(context, matrix, token, query, layout);
  if (patches[query] >= 0) outline(context, cellOf(layout, grid, patches[query]));
}

// The image without its colours and darker, so that those of the attention stand out.
function drawDimmed(context, image, { x, y, width, height }) {
  context.imageSmoothingEnabled = image.naturalWidth > width / 3;
  context.drawImage(image, x, y, width, height);
  context.globalCompositeOperation = "saturation";
  context.fillStyle = "rgba(128,128,128,0.6)";
  context.fillRect(x, y, width, height);
  context.globalCompositeOperation = "source-over";
  context.fillStyle = "rgba(12,14,22,0.36)";
  context.fillRect(x, y, width, height);
}

// Of an image in windows: darken what the window does not see, and draw the edges of its pieces.
function drawOutside(context, grid, patches, layout) {
  const seen = new Set(patches);
  context.strokeStyle = "rgba(255,255,255,0.9)";
  context.lineWidth = 1.5;
  for (let patch = 0; patch < grid.rows * grid.columns; patch++) {
    const { x, y, w, h } = cellOf(layout, grid, patch);
    if (!seen.has(patch)) {
      context.fillStyle = "rgba(12,14,22,0.45)";
      context.fillRect(x, y, w, h);
      continue;
    }
    const [row, column] = [Math.floor(patch / grid.columns), patch % grid.columns];
    context.beginPath();
    if (row > 0 && !seen.has(patch - grid.columns)) line(context, x, y, x + w, y);
    if (row < grid.rows - 1 && !seen.has(patch + grid.columns)) line(context, x, y + h, x + w, y + h);
    if (column > 0 && !seen.has(patch - 1)) line(context, x, y, x, y + h);
    if (column < grid.columns - 1 && !seen.has(patch + 1)) line(context, x + w, y, x + w, y + h);
    context.stroke();
  }
}

function drawChip(context, matrix, token, query, layout) {
  const { x, y, w, h } = chipOf(layout, token);
  const row = matrix.row(query);
  const largest = largestOf(row);
  const colour = rampColour(largest > 0 ? row[token] / largest : 0);
  context.fillStyle = css(colour);
  context.beginPath();
  context.roundRect(x, y, w, h, 6);
  context.fill();
  context.strokeStyle = theme(token === query ? "accent" : "line");
  context.lineWidth = token === query ? 2.5 : 1;
  context.stroke();
  setFont(context, 12);
  context.fillStyle = inkOn(colour);
  context.textBaseline = "middle";
  context.textAlign = "left";
  const text = `${matrix.tokens.keys[token]}  ${weightText(row[token])}`;
  context.fillText(fitted(context, text, w - 12), x + 8, y + h / 2);
}

function outline(context, { x, y, w, h }) {
  context.lineWidth = 4;
  context.strokeStyle = "rgba(0,0,0,0.75)";
  context.strokeRect(x, y, w, h);
  context.lineWidth = 2;
  context.strokeStyle = "#ffffff";
  context.strokeRect(x, y, w, h);
}

// The token or patch at a place: { token } within the window, or { patch } outside of it.
function pictureHit(matrix, layout, x, y) {
  for (let token = 0; token < layout.prefix; token++) {
    const chip = chipOf(layout, token);
    if (x >= chip.x && x < chip.x + chip.w && y >= chip.y && y < chip.y + chip.h) return { token };
  }
  const [right, down] = [(x - layout.x) / layout.width, (y - layout.y) / layout.height];
  if (!(right >= 0 && right < 1 && down >= 0 && down < 1)) return null;
  const { grid, patches } = matrix.tokens;
  const patch = Math.floor(down * grid.rows) * grid.columns + Math.floor(right * grid.columns);
  const token = patches.indexOf(patch);
  return token < 0 ? { patch } : { token };
}

// The main view.
const pictureView = {
  hint: "Click a patch, or move with the arrow keys, to choose the query; the colours show where it attends.",
  draw(canvas, { matrix, image, query, hover }, width) {
    const layout = pictureLayout(matrix, image, width, Math.min(720, Math.max(280, window.innerHeight - 220)));
    const context = sized(canvas, width, layout.total + BELOW);
    drawPicture(context, matrix, image, query, layout);
    if (hover && hover.key !== undefined && matrix.tokens.patches[hover.key] >= 0) {
      const { x, y, w, h } = cellOf(layout, matrix.tokens.grid, matrix.tokens.patches[hover.key]);
      context.lineWidth = 1.5;
      context.strokeStyle = "#ffffff";
      context.setLineDash([3, 2]);
      context.strokeRect(x, y, w, h);
      context.setLineDash([]);
    }
    const box = { x: layout.x, y: layout.total + 8, width: layout.width };
    const row = matrix.row(query).filter((_, key) => matrix.tokens.patches[key] >= 0);
    drawScale(context, box, largestOf(row), (share) => share, "attention weight", tables.glow);
    this.layout = layout;
  },
  hit({ matrix, query }, x, y) {
    const found = pictureHit(matrix, this.layout, x, y);
    return found && (found.token === undefined ? found : { query, key: found.token, chosen: found.token });
  },
};
