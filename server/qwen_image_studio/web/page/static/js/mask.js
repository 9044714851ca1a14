/**
 * What somebody has drawn on a picture: a list of steps in the picture's pixels. All that is shown, sent and kept
 * follows from it, so zooming loses nothing and undoing is one step less. Nothing here knows a document.
 */
import { EMPTY, Shapes, bounds, combine, count, inverted, paint } from "./region.js";

/** @typedef {import("./region.js").Region} Region */
/** @typedef {import("./region.js").Size} Size */
/** @typedef {{left: number, top: number, right: number, bottom: number}} Margins */
/**
 * One step. Points of a brush are x, y, radius, x, y, radius, …; of a lasso x, y, x, y, …; of a box two corners.
 * @typedef {{kind: "brush" | "lasso" | "box", erase: boolean, points: number[]}} Stroke
 * @typedef {{kind: "image", runs: Region}} Picture a mask from a file, in place of what was marked
 * @typedef {{kind: "extend", margins: Margins, by?: string}} Extension
 * @typedef {Stroke | Picture | Extension | {kind: "invert"} | {kind: "clear"}} Step
 */
/** @typedef {{step: Step, region: Region, margins: Margins}} State a step, and what there is after it */
/** @typedef {{width: number, height: number, done: readonly State[], undone: readonly State[]}} Mask */

/** No margin on any side. @type {Margins} */
export const FLUSH = { left: 0, top: 0, right: 0, bottom: 0 };

/** Half the diagonal of a pixel: a dab of this radius marks one at least. */
export const LEAST_RADIUS = Math.SQRT1_2;

/** Longest text that is kept of a mask; one from a noisy file may be longer. */
const MOST_KEPT = 1_000_000;

/** Return the mask of a picture on which nothing is drawn. @param {Size} size @returns {Mask} */
export const blank = ({ width, height }) => ({ width, height, done: [], undone: [] });

/** Return the pixels that may change. @param {Mask} mask @returns {Region} */
export const area = (mask) => mask.done.at(-1)?.region ?? EMPTY;

/** Return how far the picture is extended on each side. @param {Mask} mask @returns {Margins} */
export const margins = (mask) => mask.done.at(-1)?.margins ?? FLUSH;

/** Return the share of the picture that may change, 0 to 1. @param {Mask} mask */
export const coverage = (mask) => count(area(mask)) / (mask.width * mask.height);

/** Return the smallest box around what may change, or null. @param {Mask} mask */
export const boundsOf = (mask) => bounds(area(mask));

/** Return a byte for each pixel: 255 where it may change, 0 elsewhere. @param {Mask} mask */
export const bytesOf = (mask) => paint(area(mask), mask, new Uint8Array(mask.width * mask.height), 255);

/** Return the mask after one step more. What was undone is forgotten. @param {Mask} mask @param {Step} step @returns {Mask} */
export function draw(mask, step) {
  const last = step.kind === "extend" ? step.margins : margins(mask);
  const state = { step, region: after(area(mask), step, mask), margins: last };
  return { ...mask, done: [...mask.done, state], undone: [] };
}

/** Return the mask one step earlier. @param {Mask} mask @returns {Mask} */
export function undo(mask) {
  const last = mask.done.at(-1);
  return last ? { ...mask, done: mask.done.slice(0, -1), undone: [...mask.undone, last] } : mask;
}

/** Return the mask with the step again that was undone last. @param {Mask} mask @returns {Mask} */
export function redo(mask) {
  const last = mask.undone.at(-1);
  return last ? { ...mask, done: [...mask.done, last], undone: mask.undone.slice(0, -1) } : mask;
}

/** Return the steps whose traces can still be seen: those since all was cleared or replaced. @param {Mask} mask @returns {Step[]} */
export function visible(mask) {
  const steps = mask.done.map((state) => state.step);
  const from = steps.findLastIndex((step) => step.kind === "clear" || step.kind === "image");
  return steps.slice(Math.max(0, from));
}

/** @param {Region} region @param {Step} step @param {Size} size @returns {Region} */
function after(region, step, size) {
  switch (step.kind) {
    case "clear":
      return EMPTY;
    case "invert":
      return inverted(region, size);
    case "image":
      return step.runs;
    case "extend":
      return region;
    default:
      return combine(region, covered(step, size), step.erase);
  }
}

/** Return the pixels that a stroke covers. @param {Stroke} stroke @param {Size} size @returns {Region} */
export function covered({ kind, points }, size) {
  const shapes = new Shapes(size);
  if (kind === "box") shapes.box(points[0], points[1], points[2], points[3]);
  else if (kind === "lasso") shapes.polygon(points);
  else segments(points, (...ends) => shapes.sweep(...ends));
  return shapes.region();
}

/**
 * Call `each` with both ends of every piece of a brush's stroke; a single dab is a piece without length.
 * @param {readonly number[]} points
 * @param {(x0: number, y0: number, r0: number, x1: number, y1: number, r1: number) => void} each
 */
export function segments(points, each) {
  for (let i = points.length > 3 ? 3 : 0; i < points.length; i += 3) {
    const j = Math.max(0, i - 3);
    each(points[j], points[j + 1], points[j + 2], points[i], points[i + 1], points[i + 2]);
  }
}

/** Return the mask as a text to keep, null where that would be too long. @param {Mask} mask @returns {string | null} */
export function pack({ width, height, done, undone }) {
  const steps = (/** @type {readonly State[]} */ states) => states.map(({ step }) => step);
  const text = JSON.stringify({ width, height, done: steps(done), undone: steps(undone) });
  return text.length > MOST_KEPT ? null : text;
}

/**
 * Return the mask that was kept of a picture of this size; a blank one where the text is nothing of the kind.
 * @param {string | null} text @param {Size} size
 * @returns {Mask}
 */
export function unpack(text, size) {
  const empty = blank(size);
  try {
    const kept = JSON.parse(text ?? "null");
    if (kept?.width !== size.width || kept.height !== size.height) return empty;
    const steps = [...kept.done, ...kept.undone.toReversed()];
    if (!steps.every((step) => isStep(step, size))) return empty;
    let mask = steps.reduce(draw, empty);
    for (let i = 0; i < kept.undone.length; i++) mask = undo(mask);
    return mask;
  } catch {
    return empty;
  }
}

const FIELDS = { brush: 3, lasso: 2, box: 4 };

/** @param {any} step @param {Size} size @returns {step is Step} */
function isStep(step, { width, height }) {
  const numbers = (/** @type {unknown} */ list) => Array.isArray(list) && list.every(Number.isFinite);
  const within = (/** @type {number[]} */ row) => row.every((x, i) => x >= 0 && x <= width && (i === 0 || x > row[i - 1]));
  switch (step?.kind) {
    case "clear":
    case "invert":
      return true;
    case "extend":
      return Object.keys(FLUSH).every((side) => Number.isInteger(step.margins?.[side]) && step.margins[side] >= 0);
    case "image":
      return Array.isArray(step.runs) && step.runs.length <= height && step.runs.every((/** @type {any} */ row) => numbers(row) && within(row));
    default:
      return numbers(step?.points) && step.points.length > 0 && step.points.length % FIELDS[/** @type {"box"} */ (step.kind)] === 0;
  }
}
