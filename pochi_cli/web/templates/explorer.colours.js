// Colours, canvases, and texts cut to their room.

const isDark = window.matchMedia("(prefers-color-scheme: dark)");
// From 0 to 1, each of even steps in lightness, from that of the page's paper on.
const RAMPS = {
  light: ["#f4f7fb", "#cfe1f0", "#9cc5e2", "#5aa0cf", "#1f78b4", "#0a4f86", "#08294f"],
  dark: ["#1c222b", "#1b3a55", "#1b5a86", "#2580b8", "#56a9dc", "#9ad0f1", "#e9f6ff"],
  glow: ["#3b1f5e", "#7a2a6c", "#bb3a62", "#ec5f4c", "#fb9540", "#fdca5a", "#fcf6b8"],
};
const STEPS = 256;
const tables = Object.fromEntries(Object.entries(RAMPS).map(([name, stops]) => [name, interpolate(stops)]));

function interpolate(stops) {
  const colours = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  return Array.from({ length: STEPS }, (_, step) => {
    const place = (step / (STEPS - 1)) * (colours.length - 1);
    const from = Math.min(Math.floor(place), colours.length - 2);
    return colours[from].map((part, at) => Math.round(part + (colours[from + 1][at] - part) * (place - from)));
  });
}

function rampTable() {
  return isDark.matches ? tables.dark : tables.light;
}

function rampColour(share, table = rampTable()) {
  return table[Math.max(0, Math.min(STEPS - 1, Math.round(share * (STEPS - 1))))];
}

function css(colour, opacity = 1) {
  return `rgba(${colour.join(",")},${opacity})`;
}

// Ink for text on a colour.
function inkOn(colour) {
  const [red, green, blue] = colour;
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#10151d" : "#ffffff";
}

function theme(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Give a canvas a size in CSS pixels and as many real ones as the screen has; return its context, cleared.
function sized(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function line(context, x0, y0, x1, y1) {
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
}

function setFont(context, size, weight = "") {
  context.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`.trim();
}

// The text itself, or as much of it as there is room for and an ellipsis.
function fitted(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  const characters = Array.from(text);
  let [low, high] = [0, characters.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    const cut = `${characters.slice(0, middle).join("")}…`;
    if (context.measureText(cut).width <= room) low = middle;
    else high = middle - 1;
  }
  return `${characters.slice(0, low).join("")}…`;
}

// A bar that tells what the colours mean; "spread" turns a share of the largest into a place on the ramp.
function drawScale(context, box, largest, spread, label, table) {
  const { x, y, width } = box;
  for (let at = 0; at < width; at++) {
    context.fillStyle = css(rampColour(spread(at / (width - 1)), table));
    context.fillRect(x + at, y, 1.5, 8);
  }
  setFont(context, 11);
  context.fillStyle = theme("faint");
  context.textBaseline = "top";
  context.textAlign = "left";
  context.fillText("0", x, y + 12);
  context.textAlign = "right";
  const end = largest === 1 ? "1" : weightText(largest);
  context.fillText(end, x + width, y + 12);
  context.textAlign = "center";
  const room = width - 2 * context.measureText(end).width - 16;
  context.fillText(fitted(context, label, room), x + width / 2, y + 12);
}
