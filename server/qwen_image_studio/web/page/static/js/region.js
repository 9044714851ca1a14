/**
 * Sets of pixels, as runs in each row. A pixel belongs to a shape where its centre lies inside, so that a set is the
 * same whatever draws it. Operations share the rows that they leave alone, which makes every step of a drawing cheap to
 * keep.
 */

/**
 * For each row the columns at which the set begins and ends, rising: [from, to, from, to, …]. Rows may be missing.
 * @typedef {ReadonlyArray<readonly number[]>} Region
 */
/** @typedef {{width: number, height: number}} Size */
/** @typedef {[left: number, top: number, right: number, bottom: number]} Box */

/** @type {readonly number[]} */
const NONE = [];

/** The set of no pixel. @type {Region} */
export const EMPTY = [];

/** Return the first column whose centre is at `x` or right of it. @param {number} x */
const from = (x) => Math.ceil(x - 0.5);

/** Collects the runs of shapes, within a picture. */
export class Shapes {
  /** @param {Size} size */
  constructor({ width, height }) {
    this.width = width;
    this.height = height;
    /** @type {number[][]} */
    this.rows = [];
  }

  /** Add the columns whose centres lie between two places of a row. @param {number} y @param {number} left @param {number} right */
  span(y, left, right) {
    const start = Math.max(0, from(left));
    const end = Math.min(this.width, from(right));
    if (start >= end) return;
    const row = (this.rows[y] ??= []);
    const last = row.length - 2;
    if (last >= 0 && start <= row[last + 1] && end >= row[last]) {
      row[last] = Math.min(row[last], start);
      row[last + 1] = Math.max(row[last + 1], end);
    } else row.push(start, end);
  }

  /** Call `each` with the rows whose centres lie between two heights. @param {number} top @param {number} bottom @param {(y: number, centre: number) => void} each */
  between(top, bottom, each) {
    const end = Math.min(this.height, from(bottom));
    for (let y = Math.max(0, from(top)); y < end; y++) each(y, y + 0.5);
  }

  /** Add a box, by two corners. @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 */
  box(x0, y0, x1, y1) {
    const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)];
    this.between(Math.min(y0, y1), Math.max(y0, y1), (y) => this.span(y, left, right));
  }

  /**
   * Add what a disc covers on its way from one place to another, while its radius changes evenly.
   * @param {number} x0 @param {number} y0 @param {number} r0 @param {number} x1 @param {number} y1 @param {number} r1
   */
  sweep(x0, y0, r0, x1, y1, r1) {
    const corners = tangents(x0, y0, r0, x1, y1, r1);
    this.between(Math.min(y0 - r0, y1 - r1), Math.max(y0 + r0, y1 + r1), (y, centre) => {
      let left = Infinity;
      let right = -Infinity;
      const reach = (/** @type {number} */ x, /** @type {number} */ half) => {
        left = Math.min(left, x - half);
        right = Math.max(right, x + half);
      };
      if (Math.abs(centre - y0) <= r0) reach(x0, Math.sqrt(r0 * r0 - (centre - y0) ** 2));
      if (Math.abs(centre - y1) <= r1) reach(x1, Math.sqrt(r1 * r1 - (centre - y1) ** 2));
      for (let i = 0; i < corners.length; i += 2) {
        const [ax, ay] = [corners[i], corners[i + 1]];
        const [bx, by] = [corners[(i + 2) % corners.length], corners[(i + 3) % corners.length]];
        if (ay !== by && (ay <= centre) !== (by <= centre)) reach(ax + ((centre - ay) / (by - ay)) * (bx - ax), 0);
      }
      this.span(y, left, right);
    });
  }

  /** Add what a line goes around; loops that cross are one area. @param {readonly number[]} points x, y, x, y, … */
  polygon(points) {
    /** @type {[x: number, turn: number][][]} */
    const crossings = [];
    for (let i = 0; i < points.length; i += 2) {
      const [ax, ay] = [points[i], points[i + 1]];
      const [bx, by] = [points[(i + 2) % points.length], points[(i + 3) % points.length]];
      this.between(Math.min(ay, by), Math.max(ay, by), (y, centre) => {
        (crossings[y] ??= []).push([ax + ((centre - ay) / (by - ay)) * (bx - ax), Math.sign(by - ay)]);
      });
    }
    crossings.forEach((row, y) => {
      let winding = 0;
      let start = 0;
      for (const [x, turn] of row.sort((a, b) => a[0] - b[0])) {
        if (winding === 0) start = x;
        winding += turn;
        if (winding === 0) this.span(y, start, x);
      }
    });
  }

  /** Return the set of what was added. @returns {Region} */
  region() {
    return this.rows.map(tidy);
  }
}

/**
 * Return the four corners between two discs, where the lines touch that lie against both; none where one disc holds
 * the other. As x, y, x, y, ….
 * @param {number} x0 @param {number} y0 @param {number} r0 @param {number} x1 @param {number} y1 @param {number} r1
 * @returns {number[]}
 */
export function tangents(x0, y0, r0, x1, y1, r1) {
  const far = Math.hypot(x1 - x0, y1 - y0);
  if (far <= Math.abs(r1 - r0)) return [];
  const [ux, uy, along] = [(x1 - x0) / far, (y1 - y0) / far, (r0 - r1) / far];
  const aside = Math.sqrt(1 - along * along);
  const [ax, ay] = [ux * along - uy * aside, uy * along + ux * aside];
  const [bx, by] = [ux * along + uy * aside, uy * along - ux * aside];
  return [x0 + r0 * ax, y0 + r0 * ay, x1 + r1 * ax, y1 + r1 * ay, x1 + r1 * bx, y1 + r1 * by, x0 + r0 * bx, y0 + r0 * by];
}

/** Return runs in their order, with those joined that touch. @param {number[]} row */
function tidy(row) {
  if (row.length <= 2) return row;
  const pairs = [];
  for (let i = 0; i < row.length; i += 2) pairs.push([row[i], row[i + 1]]);
  /** @type {number[]} */
  const joined = [];
  for (const [start, end] of pairs.sort((a, b) => a[0] - b[0])) {
    const last = joined.length - 1;
    if (last >= 0 && start <= joined[last]) joined[last] = Math.max(joined[last], end);
    else joined.push(start, end);
  }
  return joined;
}

/**
 * Return the runs where `keep` says so of being in the one and in the other.
 * @param {readonly number[]} a @param {readonly number[]} b @param {(inA: boolean, inB: boolean) => boolean} keep
 */
function merge(a, b, keep) {
  const runs = [];
  let [i, j, inside] = [0, 0, false];
  while (i < a.length || j < b.length) {
    const x = Math.min(a[i] ?? Infinity, b[j] ?? Infinity);
    if (a[i] === x) i++;
    if (b[j] === x) j++;
    const now = keep(i % 2 === 1, j % 2 === 1);
    if (now !== inside) runs.push(x);
    inside = now;
  }
  return runs;
}

/** Return the set with another one added to it, or taken from it. @param {Region} region @param {Region} other @param {boolean} erase @returns {Region} */
export function combine(region, other, erase) {
  const rows = region.slice();
  const keep = erase ? (/** @type {boolean} */ a, /** @type {boolean} */ b) => a && !b : (/** @type {boolean} */ a, /** @type {boolean} */ b) => a || b;
  other.forEach((runs, y) => {
    if (runs.length) rows[y] = merge(rows[y] ?? NONE, runs, keep);
  });
  return rows;
}

/** Return all of a picture but the set. @param {Region} region @param {Size} size @returns {Region} */
export function inverted(region, { width, height }) {
  return Array.from({ length: height }, (_, y) => merge(region[y] ?? NONE, [0, width], (a, b) => b && !a));
}

/** Return how many pixels are in the set. @param {Region} region */
export function count(region) {
  let sum = 0;
  region.forEach((row) => {
    for (let i = 0; i < row.length; i += 2) sum += row[i + 1] - row[i];
  });
  return sum;
}

/** Return the smallest box around the set, null where it is empty. @param {Region} region @returns {Box | null} */
export function bounds(region) {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  region.forEach((row, y) => {
    if (!row.length) return;
    [left, right] = [Math.min(left, row[0]), Math.max(right, row[row.length - 1])];
    [top, bottom] = [Math.min(top, y), y + 1];
  });
  return right < 0 ? null : [left, top, right, bottom];
}

/**
 * Write a value for each pixel of the set into a picture's numbers, one for each pixel, and return them.
 * @template {Uint8Array | Uint32Array} T
 * @param {Region} region @param {Size} size @param {T} pixels @param {number} value
 */
export function paint(region, { width }, pixels, value) {
  region.forEach((row, y) => {
    for (let i = 0; i < row.length; i += 2) pixels.fill(value, y * width + row[i], y * width + row[i + 1]);
  });
  return pixels;
}

const WHITE_FROM = 128;

/**
 * Return the pixels that a mask's file marks: the white ones. In a file with transparency they also have to be opaque,
 * and where that leaves none, all that is opaque is marked.
 * @param {Uint8ClampedArray | Uint8Array} rgba @param {Size} size
 * @returns {Region}
 */
export function marked(rgba, { width, height }) {
  const opaque = (/** @type {number} */ i) => rgba[i + 3] >= WHITE_FROM;
  const white = (/** @type {number} */ i) => opaque(i) && rgba[i] * 299 + rgba[i + 1] * 587 + rgba[i + 2] * 114 >= WHITE_FROM * 1000;
  const found = traced(white, width, height);
  if (count(found)) return found;
  const shape = traced(opaque, width, height);
  return count(shape) < width * height ? shape : EMPTY;
}

/** Return the pixels of which `inside` says so, asked by their place in RGBA bytes. @param {(i: number) => boolean} inside @param {number} width @param {number} height @returns {Region} */
function traced(inside, width, height) {
  return Array.from({ length: height }, (_, y) => {
    const runs = [];
    for (let x = 0; x < width; x++) if (inside(4 * (y * width + x)) !== (runs.length % 2 === 1)) runs.push(x);
    if (runs.length % 2) runs.push(width);
    return runs;
  });
}
