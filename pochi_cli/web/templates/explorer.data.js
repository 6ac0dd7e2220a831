"use strict";

// What the page knows: names and places from the facts, weights from the block of each layer.

const facts = JSON.parse(document.getElementById("facts").textContent);
// Of base 85 (RFC 1924), with "," for "<".
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";
const MEAN = -1; // in the place of a head
const SHARES = Float64Array.from({ length: 256 }, (_, code) => (code / 255) ** 2);

const unpacked = new Map();

// Four bytes from each five digits; a last group of fewer digits holds one byte less than it has of them.
function decodeBase85(text) {
  const values = new Uint8Array(128);
  Array.from(DIGITS).forEach((digit, value) => { values[digit.charCodeAt(0)] = value; });
  const groups = Math.ceil(text.length / 5);
  const missing = 5 * groups - text.length;
  const padded = text + "~".repeat(missing);
  const bytes = new DataView(new ArrayBuffer(4 * groups));
  for (let group = 0; group < groups; group++) {
    let number = 0;
    for (let at = 5 * group; at < 5 * group + 5; at++) number = 85 * number + values[padded.charCodeAt(at)];
    bytes.setUint32(4 * group, number);
  }
  return new Uint8Array(bytes.buffer, 0, 4 * groups - missing);
}

// Unpack the weights of a layer: the largest of each row, then a byte each, in the order of the array.
async function unpack(layer) {
  if (!unpacked.has(layer.block)) {
    const bytes = decodeBase85(document.getElementById(layer.block).textContent.trim());
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const content = await new Response(stream).arrayBuffer();
    const [windows, heads, queries] = layer.shape;
    const rows = windows * heads * queries;
    unpacked.set(layer.block, {
      largest: new Float32Array(content, 0, rows),
      codes: new Uint8Array(content, 4 * rows),
    });
  }
  return unpacked.get(layer.block);
}

// The weights of a head, or of the mean, in a window: row by row, NaN where a query sees no key.
function headWeights(layer, weights, window, head) {
  const [, heads, queries, keys] = layer.shape;
  const found = new Float64Array(queries * keys);
  const taken = head === MEAN ? Array.from({ length: heads }, (_, at) => at) : [head];
  for (const at of taken) {
    for (let query = 0; query < queries; query++) {
      const row = (window * heads + at) * queries + query;
      const largest = weights.largest[row] / taken.length;
      for (let key = 0; key < keys; key++) {
        found[query * keys + key] += largest * SHARES[weights.codes[row * keys + key]];
      }
    }
  }
  return found;
}

// The tokens of a window: names of queries and keys, and the patch of each (-1: none) if it is of an image.
function tokensOf(input, layer, window) {
  if (layer.grid === null) return { queries: layer.queries, keys: layer.keys, grid: null, patches: null };
  const grid = input.grids[layer.grid];
  const { names, patches } = grid.windows[window];
  return { queries: names, keys: names, grid, patches };
}

// Which token is the patch, and in which window; the first where there is none.
function findPatch(grid, patch) {
  for (let window = 0; window < grid.windows.length; window++) {
    const token = grid.windows[window].patches.indexOf(patch);
    if (token >= 0) return { window, token };
  }
  return { window: 0, token: 0 };
}

// Matrix of one head with what belongs to it: what all views draw.
function makeMatrix(input, layer, weights, window, head) {
  const [, , queries, keys] = layer.shape;
  const values = headWeights(layer, weights, window, head);
  const largest = values.reduce((most, value) => (value > most ? value : most), 0);
  return {
    values, queries, keys, largest,
    tokens: tokensOf(input, layer, window),
    row: (query) => values.subarray(query * keys, (query + 1) * keys),
  };
}

function largestOf(row) {
  return row.reduce((most, value) => (value > most ? value : most), 0);
}

// Keys of a row, the strongest first; none of a masked row.
function ranked(row) {
  const keys = Array.from(row.keys()).filter((key) => row[key] > 0);
  return keys.sort((a, b) => row[b] - row[a]);
}

// The strongest keys: "top N", or "mass S", the fewest that hold a share S of the row.
function strongest(row, rule) {
  const [kind, number] = rule.split(" ");
  const keys = ranked(row);
  if (kind === "top") return keys.slice(0, Number(number));
  const needed = Number(number) * keys.reduce((sum, key) => sum + row[key], 0);
  let held = 0;
  const enough = keys.findIndex((key) => (held += row[key]) >= needed);
  return enough < 0 ? keys : keys.slice(0, enough + 1);
}

// Shannon's entropy over that of an even row, 0 to 1; NaN for a masked row or a single key.
function rowEntropy(row) {
  let sum = 0;
  for (const value of row) sum -= value > 0 ? value * Math.log(value) : value * 0;
  return sum / Math.log(row.length);
}

function weightText(value) {
  if (Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  return value >= 0.001 ? value.toFixed(value >= 0.1 ? 3 : 4) : value.toExponential(1);
}
