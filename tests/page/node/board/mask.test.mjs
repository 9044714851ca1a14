import assert from "node:assert/strict";
import { test } from "node:test";
import * as masks from "../../../../server/qwen_image_studio/web/page/static/js/mask.js";
import { count, marked, paint } from "../../../../server/qwen_image_studio/web/page/static/js/region.js";
import { anyStep, chance } from "./chance.mjs";

const SIZE = { width: 61, height: 43 };
const SEQUENCES = 100;

/** Return a drawing made at random, with what it was after each step. */
function drawing(seed, most = 24) {
  const next = chance(seed);
  const masksSoFar = [masks.blank(SIZE)];
  for (let left = 1 + Math.floor(next() * most); left; left--) masksSoFar.push(masks.draw(masksSoFar.at(-1), anyStep(next, SIZE)));
  return masksSoFar;
}

const pixels = (mask) => Buffer.from(masks.bytesOf(mask)).toString("latin1");

test("any sequence of steps, all undone, is empty; all redone, it is as before", () => {
  for (let seed = 1; seed <= SEQUENCES; seed++) {
    const steps = drawing(seed);
    let mask = steps.at(-1);
    for (const before of steps.slice(0, -1).toReversed()) {
      mask = masks.undo(mask);
      assert.equal(pixels(mask), pixels(before), `seed ${seed}`);
      assert.deepEqual(masks.margins(mask), masks.margins(before));
    }
    assert.equal(masks.coverage(mask), 0);
    assert.equal(masks.boundsOf(mask), null);
    assert.deepEqual(masks.margins(mask), masks.FLUSH);
    assert.deepEqual(mask.done, []);
    assert.equal(masks.undo(mask), mask);
    for (const after of steps.slice(1)) {
      mask = masks.redo(mask);
      assert.equal(pixels(mask), pixels(after), `seed ${seed}`);
    }
    assert.equal(masks.redo(mask), mask);
  }
});

test("a new step forgets what was undone", () => {
  let mask = masks.draw(masks.blank(SIZE), { kind: "box", erase: false, points: [0, 0, 9, 9] });
  mask = masks.draw(masks.undo(mask), { kind: "invert" });
  assert.equal(masks.redo(mask), mask);
  assert.equal(masks.coverage(mask), 1);
});

test("clear and invert can be undone", () => {
  const drawn = masks.draw(masks.blank(SIZE), { kind: "box", erase: false, points: [5, 5, 15, 10] });
  assert.equal(masks.coverage(drawn), 50 / (61 * 43));
  const cleared = masks.draw(drawn, { kind: "clear" });
  assert.equal(masks.coverage(cleared), 0);
  const inverted = masks.draw(drawn, { kind: "invert" });
  assert.equal(masks.coverage(inverted), 1 - 50 / (61 * 43));
  for (const mask of [cleared, inverted]) assert.equal(pixels(masks.undo(mask)), pixels(drawn));
});

test("each pixel is as its centre says, counted one by one", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const steps = drawing(seed, 8);
    const mask = steps.at(-1);
    const bytes = masks.bytesOf(mask);
    let sum = 0;
    let [left, top, right, bottom] = [Infinity, Infinity, 0, 0];
    for (let y = 0; y < SIZE.height; y++) {
      for (let x = 0; x < SIZE.width; x++) {
        const inside = mask.done.reduce((was, { step }) => after(was, step, x, y), false);
        assert.equal(bytes[y * SIZE.width + x], inside ? 255 : 0, `seed ${seed} at ${x}, ${y}`);
        if (!inside) continue;
        sum++;
        [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
      }
    }
    assert.equal(masks.coverage(mask), sum / (SIZE.width * SIZE.height));
    assert.deepEqual(masks.boundsOf(mask), sum ? [left, top, right, bottom] : null);
  }
});

/** Return whether a pixel is marked after a step, worked out by itself. */
function after(was, step, x, y) {
  if (step.kind === "clear") return false;
  if (step.kind === "invert") return !was;
  if (step.kind === "extend") return was;
  if (step.kind === "image") return step.runs[y].length > 0 && x >= step.runs[y][0] && x < step.runs[y][1];
  return within(step, x + 0.5, y + 0.5) ? !step.erase : was;
}

function within({ kind, points }, x, y) {
  if (kind === "box") {
    const [x0, y0, x1, y1] = points;
    return x >= Math.min(x0, x1) && x < Math.max(x0, x1) && y >= Math.min(y0, y1) && y < Math.max(y0, y1);
  }
  if (kind === "lasso") return winding(points, x, y) !== 0;
  if (points.length === 3) return Math.hypot(x - points[0], y - points[1]) <= points[2];
  for (let i = 3; i < points.length; i += 3) if (swept(points.slice(i - 3, i + 3), x, y)) return true;
  return false;
}

/** How often a line turns around a point: the sum of the angles under which its pieces are seen. */
function winding(points, x, y) {
  let turn = 0;
  for (let i = 0; i < points.length; i += 2) {
    const [ax, ay, bx, by] = [0, 1, 2, 3].map((n) => points[(i + n) % points.length] - [x, y][n % 2]);
    turn += Math.atan2(ax * by - ay * bx, ax * bx + ay * by);
  }
  return Math.round(turn / (2 * Math.PI));
}

/** Whether a disc on its way covers a point: the way's place that comes nearest, found by halving. */
function swept([x0, y0, r0, x1, y1, r1], x, y) {
  const missing = (t) => Math.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0)) - r0 - t * (r1 - r0); // convex in t
  let [from, to] = [0, 1];
  for (let i = 0; i < 50; i++) {
    const [a, b] = [from + (to - from) / 3, to - (to - from) / 3];
    if (missing(a) < missing(b)) to = b;
    else from = a;
  }
  return missing((from + to) / 2) <= 1e-9;
}

test("a dab of the least radius marks a pixel, wherever it is", () => {
  const next = chance(7);
  for (let i = 0; i < 500; i++) {
    const points = [next() * SIZE.width, next() * SIZE.height, masks.LEAST_RADIUS];
    assert.ok(count(masks.covered({ kind: "brush", erase: false, points }, SIZE)) >= 1, String(points));
  }
});

test("what is kept comes back, with what was undone", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const mask = masks.undo(masks.undo(drawing(seed).at(-1)));
    const back = masks.unpack(masks.pack(mask), SIZE);
    assert.equal(pixels(back), pixels(mask));
    assert.deepEqual(back.undone.map(({ step }) => step), mask.undone.map(({ step }) => step));
    assert.equal(pixels(masks.redo(back)), pixels(masks.redo(mask)));
  }
});

test("a text that is no mask of this picture is a blank one", () => {
  const kept = (step) => JSON.stringify({ ...SIZE, done: [step], undone: [] });
  const texts = [
    null, "", "{", "[]", "7", JSON.stringify({ ...SIZE, done: 3 }), JSON.stringify({ ...SIZE, done: [null], undone: [] }),
    JSON.stringify({ width: 60, height: 43, done: [{ kind: "invert" }], undone: [] }),
    kept({ kind: "star", points: [1, 2, 3] }), kept({ kind: "brush", points: [1, 2] }), kept({ kind: "box", points: [1, 2, 3] }),
    kept({ kind: "brush", points: ["1", 2, 3] }), kept({ kind: "lasso", points: [] }), kept({ kind: "image", runs: [[5, 99]] }),
    kept({ kind: "image", runs: [[5, 3]] }), kept({ kind: "image", runs: Array(44).fill([]) }),
    kept({ kind: "extend", margins: { left: -1, top: 0, right: 0, bottom: 0 } }), kept({ kind: "extend" }),
  ];
  for (const text of texts) assert.deepEqual(masks.unpack(text, SIZE), masks.blank(SIZE), String(text));
  assert.equal(masks.coverage(masks.unpack(kept({ kind: "invert" }), SIZE)), 1);
});

test("too long a mask is not kept", () => {
  const size = { width: 4096, height: 4096 };
  const runs = Array.from({ length: 4096 }, () => Array.from({ length: 200 }, (_, i) => i * 20));
  assert.equal(masks.pack(masks.draw(masks.blank(size), { kind: "image", runs })), null);
});

test("a file's white is marked, and what is opaque where nothing is white", () => {
  const size = { width: 4, height: 1 };
  const read = (...greys) => [...paint(marked(Uint8Array.from(greys.flatMap(([grey, alpha]) => [grey, grey, grey, alpha])), size), size, new Uint8Array(4), 255)];
  assert.deepEqual(read([0, 255], [127, 255], [128, 255], [255, 255]), [0, 0, 255, 255]);
  assert.deepEqual(read([255, 0], [255, 127], [255, 128], [0, 255]), [0, 0, 255, 0]);
  assert.deepEqual(read([0, 0], [9, 255], [0, 128], [0, 100]), [0, 255, 255, 0]);
  assert.deepEqual(read([0, 255], [0, 255], [0, 255], [0, 255]), [0, 0, 0, 0]);
  assert.deepEqual(read([0, 0], [0, 0], [0, 0], [0, 0]), [0, 0, 0, 0]);
});

test("a long stroke on a large picture is worked out at once", () => {
  const size = { width: 4096, height: 4096 };
  const points = Array.from({ length: 200 }, (_, i) => [200 + i * 18, 2000 + 900 * Math.sin(i / 9), 400]).flat();
  const began = process.cpuUsage();
  const mask = masks.draw(masks.blank(size), { kind: "brush", erase: false, points });
  const { user } = process.cpuUsage(began);
  assert.ok(masks.coverage(mask) > 0.3);
  assert.ok(user < 1_000_000, `${user} µs`); // about 40,000 on a quiet machine
});
