// All heads of a layer beside each other: a button each, which chooses the head.

function makeTile(head, label, choose, point) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "tile-head";
  const canvas = document.createElement("canvas");
  const title = document.createElement("b");
  title.textContent = label;
  const told = document.createElement("span");
  button.append(canvas, title, told);
  button.addEventListener("click", () => choose(head));
  canvas.addEventListener("pointermove", (event) => point(tile, event));
  canvas.addEventListener("pointerleave", () => point(null, null));
  const tile = { head, button, canvas, told, matrix: null };
  return tile;
}

const headsView = {
  hint: "Choose a head; the rest of the page then shows it.",
  tiles: [],
  key: "",

  // Make the buttons anew where the layer has other heads, so that the focus stays where it is.
  prepare(room, names, choose, point) {
    const key = names.map(({ head }) => head).join();
    if (key === this.key) return;
    this.key = key;
    this.tiles = names.map(({ head, name }) => makeTile(head, name, choose, point));
    room.replaceChildren(...this.tiles.map(({ button }) => button));
  },

  draw(state, matrixOf) {
    const { head, layer, image, query, scale, each } = state;
    for (const tile of this.tiles) {
      tile.matrix = matrixOf(tile.head);
      tile.button.setAttribute("aria-pressed", String(tile.head === head));
      const width = Math.max(80, tile.button.clientWidth - 16);
      tile.isPicture = each === "picture" && image !== null && layer.grid !== null;
      if (tile.isPicture) this.drawPicture(tile, image, query, width);
      else this.drawHeatmap(tile, scale, width);
      const entropy = layer.heads && tile.head !== MEAN ? ` · entropy ${layer.heads[tile.head].entropy.toFixed(2)}` : "";
      tile.told.textContent = `largest ${weightText(tile.matrix.largest)}${entropy}`;
    }
  },

  drawPicture(tile, image, query, width) {
    const layout = pictureLayout(tile.matrix, image, width, 1.2 * width);
    const above = layout.y;
    const context = sized(tile.canvas, width, layout.height);
    // Of tokens that are no patches there is no room to tell.
    drawPicture(context, tile.matrix, image, query, { ...layout, y: layout.y - above, prefix: 0 });
  },

  drawHeatmap(tile, scale, width) {
    const height = Math.max(40, Math.min((width * tile.matrix.queries) / tile.matrix.keys, 1.5 * width));
    const context = sized(tile.canvas, width, height);
    drawMatrix(context, tile.matrix, scale, { x: 0, y: 0, width, height });
  },

  hit(tile, x, y) {
    if (tile.isPicture) return null;
    const { matrix, canvas } = tile;
    const key = Math.floor((x / canvas.clientWidth) * matrix.keys);
    const query = Math.floor((y / canvas.clientHeight) * matrix.queries);
    return key >= 0 && key < matrix.keys && query >= 0 && query < matrix.queries ? { query, key } : null;
  },
};
