// The controls: what can be chosen, and what is.

const byId = (id) => document.getElementById(id);

// Options are only replaced where they differ: a keyboard's search in them would begin anew.
function fill(select, names, value) {
  const isSame = select.length === names.length && names.every((name, at) => select[at].label === name);
  if (!isSame) select.replaceChildren(...names.map((name, at) => new Option(name, String(at))));
  select.value = String(value);
}

function headNames(layer) {
  const heads = Array.from({ length: layer.shape[1] }, (_, head) => ({ head, name: `Head ${head + 1}` }));
  return [...heads, { head: MEAN, name: "Mean of the heads" }];
}

function windowNames(input, layer) {
  if (layer.grid === null) return layer.shape[0] > 1 ? Array.from({ length: layer.shape[0] }, (_, at) => `${at + 1}`) : [""];
  const { across, windows } = input.grids[layer.grid];
  return windows.map((_, at) => `${at + 1}: row ${Math.floor(at / across) + 1}, column ${(at % across) + 1}`);
}

// Make the controls, and the texts beside them, tell what is drawn.
function fillControls({ input, layer, matrix, image, chosen, each }, hint) {
  byId("input").value = String(chosen.input);
  fill(byId("layer"), input.layers.map(({ name }, at) => `${at + 1}: ${name}`), chosen.layer);
  const heads = headNames(layer);
  fill(byId("head"), heads.map(({ name }) => name), heads.findIndex(({ head }) => head === chosen.head));
  fill(byId("window"), windowNames(input, layer), chosen.window);
  fill(byId("query"), matrix.tokens.queries, chosen.query);
  byId("window-field").hidden = layer.shape[0] < 2;
  const isImage = input.image !== null && layer.grid !== null;
  for (const radio of document.querySelectorAll("[name=view]")) {
    radio.checked = radio.value === chosen.view;
    if (radio.value === "picture") radio.parentElement.hidden = !isImage;
  }
  for (const field of document.querySelectorAll("[data-views]")) {
    field.hidden = !field.dataset.views.split(" ").includes(chosen.view);
  }
  byId("each-field").hidden ||= !isImage;
  byId("scale-field").hidden ||= chosen.view === "heads" && each === "picture" && isImage;
  byId("about").textContent = describeInput(input, layer).filter(Boolean).join(" · ");
  byId("hint").textContent = hint;
  showMaps(input, image);
}

function describeInput(input, layer) {
  const [, heads, queries, keys] = layer.shape;
  const count = (number, name) => `${number} ${name}${number === 1 ? "" : "s"}`;
  const size = [count(heads, "head"), `${queries} × ${keys} tokens`];
  return [input.name, input.prediction, count(input.layers.length, "layer"), `here ${size.join(", ")}`];
}
