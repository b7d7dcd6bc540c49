// A heat map over a picture: drawn smooth, its strongest places outlined, so that it is not told by colour alone.

const STANDS_OUT = 0.25; // log-odds; less than this moves a probability of one half by six points
const STRONG = 0.5; // of the strongest place

// The map's strongest value, the places at half of it or more, and where most of them lie, in words.
export function summary(values) {
  const cells = values.length;
  const all = values.flatMap((row, top) => row.map((value, left) => ({ value, top, left })));
  const most = Math.max(...all.map((place) => place.value));
  if (most < STANDS_OUT) return { most, places: [], words: "No single place stands out: the finding is spread over the picture, or hardly there." };
  const places = all.filter((place) => place.value >= STRONG * most);
  const counts = new Map();
  for (const { top, left } of places) {
    const name = region((top + 0.5) / cells, (left + 0.5) / cells);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const names = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 3).map(([name]) => name);
  return { most, places, words: `Outlined: what speaks loudest for it (${names.join(", ")}).` };
}

function region(down, right) {
  const row = down < 1 / 3 ? "upper" : down < 2 / 3 ? "" : "lower";
  const column = right < 1 / 3 ? "left" : right < 2 / 3 ? "" : "right";
  return [row, column].filter(Boolean).join(" ") || "middle";
}

export function draw(canvas, values, { most, places }) {
  const cells = values.length;
  const side = canvas.width;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, side, canvas.height);
  if (!places.length) return;
  const small = new OffscreenCanvas(cells, cells);
  const pixels = new ImageData(cells, cells);
  values.flat().forEach((value, place) => {
    const share = Math.max(0, value / most);
    pixels.data.set([...colour(share), Math.round(190 * Math.min(1, 1.4 * share))], 4 * place);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, side, canvas.height);
  outline(context, new Set(places.map(({ top, left }) => top * cells + left)), cells, side / cells, canvas.height / cells);
}

// Dark blue over cyan to yellow: ordered by lightness too, and far from the reds of a fundus.
function colour(share) {
  const stops = [[20, 40, 160], [0, 190, 220], [250, 250, 90]];
  const at = Math.min(0.999, share) * (stops.length - 1);
  const low = Math.floor(at);
  return stops[low].map((value, part) => Math.round(value + (at - low) * (stops[low + 1][part] - value)));
}

function outline(context, strong, cells, width, height) {
  const edges = new Path2D();
  const has = (row, column) => row >= 0 && column >= 0 && row < cells && column < cells && strong.has(row * cells + column);
  for (let row = 0; row < cells; row += 1) {
    for (let column = 0; column < cells; column += 1) {
      if (!has(row, column)) continue;
      const [x, y] = [column * width, row * height];
      if (!has(row - 1, column)) { edges.moveTo(x, y); edges.lineTo(x + width, y); }
      if (!has(row + 1, column)) { edges.moveTo(x, y + height); edges.lineTo(x + width, y + height); }
      if (!has(row, column - 1)) { edges.moveTo(x, y); edges.lineTo(x, y + height); }
      if (!has(row, column + 1)) { edges.moveTo(x + width, y); edges.lineTo(x + width, y + height); }
    }
  }
  for (const [stroke, line] of [["rgba(0,0,0,0.75)", 5], ["#ffffff", 2.5]]) {
    context.strokeStyle = stroke;
    context.lineWidth = line;
    context.stroke(edges);
  }
}
