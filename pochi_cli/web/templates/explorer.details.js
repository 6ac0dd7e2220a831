// Beside the view: what the chosen query attends to, as a picture or a sentence and as numbers.

const LISTED = 10;
const WORDS = 400; // keys up to which they are written out

function showDetails(state, choose) {
  const { matrix, query, hover, layer, head } = state;
  const active = hover ? hover.query : query;
  const row = matrix.row(active);
  const { queries } = matrix.tokens;
  const heading = document.getElementById("chosen");
  heading.textContent = queries[active];
  heading.title = queries[active];
  showSmallPicture(state, active);
  showWords(state, active, choose);
  showStrongest(matrix, row);
  const facts = layer.heads && head !== MEAN ? layer.heads[head] : null;
  document.getElementById("spread").textContent = describeSpread(row, facts, layer, head);
}

function describeSpread(row, facts, layer, head) {
  const entropy = rowEntropy(row);
  const told = [];
  if (!Number.isNaN(entropy)) told.push(`Entropy of this row: ${entropy.toFixed(2)}.`);
  if (facts === null) return told.join(" ");
  told.push(`Over all rows, head ${head + 1} has an entropy of ${facts.entropy.toFixed(2)}`);
  const unit = layer.grid === null ? "tokens" : "patches";
  if (facts.distance !== null) told.push(`and looks ${facts.distance.toFixed(1)} ${unit} far`);
  const toClass = facts.to_class === null ? "" : `; ${(100 * facts.to_class).toFixed(1)} % goes to the class token`;
  return `${told.join(" ")}${toClass}.`;
}

function showSmallPicture({ matrix, image, view }, query) {
  const canvas = document.getElementById("small");
  canvas.hidden = image === null || matrix.tokens.grid === null || view === "picture";
  if (canvas.hidden) return;
  const width = Math.min(canvas.parentElement.clientWidth - 40, 320);
  const layout = pictureLayout(matrix, image, width, 320);
  const context = sized(canvas, width, layout.total);
  drawPicture(context, matrix, image, query, layout);
  canvas.layout = layout;
}

// The sentence itself, each word as strongly coloured as the query attends to it.
function showWords({ matrix, layer }, query, choose) {
  const room = document.getElementById("words");
  const { keys, grid } = matrix.tokens;
  room.hidden = grid !== null || keys.length > WORDS;
  if (room.hidden) return;
  if (room.children.length !== keys.length || room.dataset.block !== layer.block) {
    room.dataset.block = layer.block;
    room.replaceChildren(...keys.map((name, key) => makeWord(name, layer.is_self ? () => choose(key) : null)));
  }
  const row = matrix.row(query);
  const largest = largestOf(row);
  keys.forEach((name, key) => {
    const word = room.children[key];
    const colour = rampColour(largest > 0 && row[key] > 0 ? row[key] / largest : 0);
    word.style.backgroundColor = css(colour);
    word.style.color = inkOn(colour);
    word.title = `${name}: ${weightText(row[key])}`;
    word.classList.toggle("query", layer.is_self && key === query);
  });
  if (!layer.is_self) return;
  const { offsetTop, offsetHeight } = room.children[query];
  const isSeen = offsetTop >= room.scrollTop && offsetTop + offsetHeight <= room.scrollTop + room.clientHeight;
  if (!isSeen) room.scrollTop = offsetTop - room.clientHeight / 2;
}

function makeWord(name, choose) {
  const word = document.createElement(choose ? "button" : "span");
  if (choose) {
    word.type = "button";
    word.addEventListener("click", choose);
  }
  word.className = "word";
  word.textContent = name;
  return word;
}

function showStrongest(matrix, row) {
  const list = document.getElementById("strongest");
  const keys = ranked(row).slice(0, LISTED);
  list.replaceChildren(...keys.map((key) => {
    const [item, name, bar, number] = ["li", "span", "i", "b"].map((tag) => document.createElement(tag));
    name.textContent = matrix.tokens.keys[key];
    name.title = matrix.tokens.keys[key];
    bar.style.width = `${(100 * row[key]) / row[keys[0]]}%`;
    const track = document.createElement("em");
    track.append(bar);
    number.textContent = weightText(row[key]);
    item.append(name, track, number);
    return item;
  }));
  if (keys.length === 0) {
    const item = document.createElement("li");
    item.className = "none";
    item.textContent = "none: every key is masked";
    list.append(item);
  }
}

// One line that says what the pointer is on, or what the query attends to most.
function readingOf({ matrix, query, hover }) {
  const active = hover ? hover.query : query;
  const row = matrix.row(active);
  const { queries, keys } = matrix.tokens;
  const order = ranked(row);
  if (order.length === 0) return `${queries[active]} sees no key: all are masked`;
  const isAt = hover && hover.key !== undefined;
  const key = isAt ? hover.key : order[0];
  const rank = order.indexOf(key) + 1;
  const place = rank > 0 ? `number ${rank} of ${row.length} keys` : `of ${row.length} keys`;
  return `${queries[active]} → ${keys[key]}: ${weightText(row[key])} (${isAt ? place : "its strongest key"})`;
}

// Maps of what matters in an image, whatever is chosen.
function showMaps(input, image) {
  const part = document.getElementById("maps");
  part.hidden = image === null || input.maps.length === 0;
  if (part.hidden) return;
  const list = document.getElementById("map-list");
  list.replaceChildren(...input.maps.map((map) => {
    const [figure, canvas, caption] = ["figure", "canvas", "figcaption"].map((tag) => document.createElement(tag));
    const [method, told] = [document.createElement("b"), document.createElement("p")];
    method.textContent = map.method;
    told.textContent = [map.layer, map.told].filter(Boolean).join(" · ");
    caption.append(method, told);
    figure.append(canvas, caption);
    drawMap(canvas, map, image);
    return figure;
  }));
}

function drawMap(canvas, map, image) {
  const width = 224;
  const height = Math.round((width * image.naturalHeight) / image.naturalWidth);
  const context = sized(canvas, width, height);
  drawDimmed(context, image, { x: 0, y: 0, width, height });
  const [w, h] = [width / map.columns, height / map.rows];
  map.shares.forEach((share, at) => {
    context.fillStyle = css(rampColour(share, tables.glow), 0.86 * Math.sqrt(share));
    context.fillRect((at % map.columns) * w, Math.floor(at / map.columns) * h, w, h);
  });
}
