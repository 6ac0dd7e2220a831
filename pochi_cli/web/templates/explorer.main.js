// What is chosen, the controls that choose it, and drawing when it changes.

const VIEWS = { picture: pictureView, heatmap: heatmapView, flow: flowView, heads: headsView };
const stage = byId("stage");

const chosen = { input: 0, layer: 0, head: MEAN, window: 0, query: 0, view: "heatmap" };
const options = { scale: "root", most: "top 10", drawn: "auto", each: "heatmap" };
let state = null; // what is drawn: the choice, and what it stands for
let hover = null; // { query, key } under the pointer
let turn = 0;

// What a program that drives the page needs: whether it shows what is chosen, and what that is.
window.pochi = {
  ready: false,
  get chosen() { return { ...chosen }; },
  get hover() { return hover; },
  get matrix() { return Array.from({ length: state.matrix.queries }, (_, query) => Array.from(state.matrix.row(query))); },
};

const images = new Map();

async function imageOf(input) {
  if (input.image === null) return null;
  if (!images.has(input)) {
    const image = new Image();
    image.src = input.image;
    images.set(input, image.decode().then(() => image));
  }
  return images.get(input);
}

// Begin where there is most to see: at the class token, in the middle of the image, or at the last word, which
// sees all others even where a word sees only those before it.
function firstQuery(input, layer) {
  if (layer.grid === null) return { window: 0, token: layer.shape[2] - 1 };
  const grid = input.grids[layer.grid];
  if (grid.prefix > 0) return { window: 0, token: 0 };
  return findPatch(grid, Math.floor(grid.rows / 2) * grid.columns + Math.floor(grid.columns / 2));
}

// The query that lies at the same place in another layer.
function sameQuery(input, from, to, window, query) {
  if (from.grid === null || to.grid === null) {
    return { window: Math.min(window, to.shape[0] - 1), token: Math.min(query, to.shape[2] - 1) };
  }
  const [old, grid] = [input.grids[from.grid], input.grids[to.grid]];
  const patch = old.windows[window].patches[query];
  if (patch < 0) return query < grid.prefix ? { window: 0, token: query } : firstQuery(input, to);
  const row = Math.floor(((Math.floor(patch / old.columns) + 0.5) / old.rows) * grid.rows);
  const column = Math.floor((((patch % old.columns) + 0.5) / old.columns) * grid.columns);
  return findPatch(grid, row * grid.columns + column);
}

function chooseInput(number) {
  const input = facts.inputs[number];
  chosen.input = number;
  chosen.layer = Math.min(chosen.layer, input.layers.length - 1);
  const layer = input.layers[chosen.layer];
  chosen.head = Math.min(chosen.head, layer.shape[1] - 1);
  const { window, token } = firstQuery(input, layer);
  Object.assign(chosen, { window, query: token });
  const isImage = input.image !== null && layer.grid !== null;
  if (chosen.view === "picture" && !isImage) chosen.view = "heatmap";
  refresh();
}

function chooseLayer(number) {
  const input = facts.inputs[chosen.input];
  const [from, to] = [input.layers[chosen.layer], input.layers[number]];
  const { window, token } = sameQuery(input, from, to, chosen.window, chosen.query);
  chosen.layer = number;
  chosen.head = Math.min(chosen.head, to.shape[1] - 1);
  if (to.grid === null && chosen.view === "picture") chosen.view = "heatmap";
  Object.assign(chosen, { window, query: token });
  refresh();
}

// Keep the place in the window, unless nothing of the image is there.
function chooseWindow(window) {
  const { patches } = tokensOf(state.input, state.layer, window);
  const isPadding = patches !== null && patches[chosen.query] < 0;
  const query = isPadding ? Math.max(0, patches.findIndex((patch) => patch >= 0)) : chosen.query;
  Object.assign(chosen, { window, query });
  refresh();
}

function choose(part, value) {
  chosen[part] = value;
  refresh();
}

// Show what is chosen: unpack it, fill the controls, draw.
async function refresh() {
  window.pochi.ready = false;
  hover = null;
  const mine = ++turn;
  const input = facts.inputs[chosen.input];
  const layer = input.layers[chosen.layer];
  const [weights, image] = await Promise.all([unpack(layer), imageOf(input)]);
  if (mine !== turn) return; // something else was chosen meanwhile
  const matrix = makeMatrix(input, layer, weights, chosen.window, chosen.head);
  state = { ...chosen, ...options, chosen: { ...chosen }, input, layer, weights, image, matrix };
  fillControls(state, VIEWS[chosen.view].hint);
  draw();
  window.pochi.ready = true;
}

function draw() {
  if (state === null) return;
  Object.assign(state, options, { hover });
  const isHeads = chosen.view === "heads";
  stage.hidden = isHeads;
  byId("tiles").hidden = !isHeads;
  if (isHeads) {
    headsView.prepare(byId("tiles"), headNames(state.layer), (head) => choose("head", head), pointAtTile);
    headsView.draw(state, (head) => makeMatrix(state.input, state.layer, state.weights, chosen.window, head));
  } else {
    VIEWS[chosen.view].draw(stage, state, byId("room").clientWidth);
  }
  showDetails(state, (query) => choose("query", query));
  byId("reading").textContent = readingOf(state);
  stage.setAttribute("aria-label", `${byId("reading").textContent}. ${byId("hint").textContent}`);
}

function placeTip(text, event) {
  const tip = byId("tip");
  tip.hidden = text === null;
  if (text === null) return;
  tip.textContent = text;
  const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 6);
  const below = event.clientY + 18;
  const isLow = below + tip.offsetHeight > window.innerHeight;
  tip.style.left = `${Math.max(6, left)}px`;
  tip.style.top = `${isLow ? event.clientY - tip.offsetHeight - 10 : below}px`;
}

function tipOf(matrix, { query, key }) {
  const { queries, keys } = matrix.tokens;
  if (key === undefined) return `query ${queries[query]}`;
  return `${queries[query]} → ${keys[key]}: ${weightText(matrix.row(query)[key])}`;
}

function point(found, event) {
  const isSame = JSON.stringify(found) === JSON.stringify(hover);
  hover = found;
  placeTip(found ? tipOf(state.matrix, found) : null, event);
  if (!isSame) draw();
}

function pointAtTile(tile, event) {
  const found = tile && headsView.hit(tile, event.offsetX, event.offsetY);
  placeTip(found ? tipOf(tile.matrix, found) : null, event);
}

// Choose a patch that another window holds.
function choosePatch(patch) {
  const { window, token } = findPatch(state.matrix.tokens.grid, patch);
  Object.assign(chosen, { window, query: token });
  refresh();
}

function takeHit(found) {
  if (found === null) return;
  if (found.patch !== undefined) choosePatch(found.patch);
  else if (found.chosen !== undefined) choose("query", found.chosen);
}

function moveQuery(event) {
  if (state === null || !event.key.startsWith("Arrow")) return;
  event.preventDefault();
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  const { grid, patches } = state.matrix.tokens;
  const patch = grid === null ? -1 : patches[chosen.query];
  if (chosen.view !== "picture" || patch < 0) {
    const next = chosen.query + (step[0] || step[1]);
    if (next >= 0 && next < state.matrix.queries) choose("query", next);
    return;
  }
  const [row, column] = [Math.floor(patch / grid.columns) + step[0], (patch % grid.columns) + step[1]];
  if (row < 0 && grid.prefix > 0) choose("query", 0);
  else if (row >= 0 && row < grid.rows && column >= 0 && column < grid.columns) choosePatch(row * grid.columns + column);
}

function listen() {
  byId("input").addEventListener("change", (event) => chooseInput(Number(event.target.value)));
  byId("layer").addEventListener("change", (event) => chooseLayer(Number(event.target.value)));
  byId("head").addEventListener("change", (event) => {
    choose("head", headNames(state.layer)[Number(event.target.value)].head);
  });
  byId("window").addEventListener("change", (event) => chooseWindow(Number(event.target.value)));
  byId("query").addEventListener("change", (event) => choose("query", Number(event.target.value)));
  for (const radio of document.querySelectorAll("[name=view]")) {
    radio.addEventListener("change", () => choose("view", radio.value));
  }
  for (const name of Object.keys(options)) {
    byId(name).addEventListener("change", (event) => {
      options[name] = event.target.value;
      refresh();
    });
  }
  stage.addEventListener("pointermove", (event) => {
    if (!window.pochi.ready) return;
    const found = VIEWS[chosen.view].hit(state, event.offsetX, event.offsetY);
    point(found && found.query !== undefined ? { query: found.query, key: found.key } : null, event);
  });
  stage.addEventListener("pointerleave", (event) => window.pochi.ready && point(null, event));
  stage.addEventListener("click", (event) => {
    if (window.pochi.ready) takeHit(VIEWS[chosen.view].hit(state, event.offsetX, event.offsetY));
  });
  stage.addEventListener("keydown", moveQuery);
  byId("small").addEventListener("click", (event) => {
    const found = pictureHit(state.matrix, event.target.layout, event.offsetX, event.offsetY);
    if (found) takeHit(found.token === undefined ? found : { chosen: found.token });
  });
  isDark.addEventListener("change", refresh);
  let width = 0;
  new ResizeObserver(() => {
    if (byId("room").clientWidth !== width) draw();
    width = byId("room").clientWidth;
  }).observe(byId("room"));
}

function begin() {
  const input = facts.inputs[0];
  fill(byId("input"), facts.inputs.map(({ name }, at) => `${at + 1}: ${name}`), 0);
  byId("input-field").hidden = facts.inputs.length < 2;
  chosen.layer = input.layers.length - 1;
  chosen.view = input.image !== null && input.layers[chosen.layer].grid !== null ? "picture" : "heatmap";
  byId("scale").value = options.scale;
  listen();
  chooseInput(0);
}

if ("DecompressionStream" in window) begin();
else byId("about").textContent = "This browser cannot unpack the weights: it needs DecompressionStream (2023 or newer).";
