/** How far a picture is extended beyond its edges: what is possible, and the shapes that one asks for. No document. */

/** @typedef {import("./mask.js").Margins} Margins */
/** @typedef {{width: number, height: number}} Size */
/** @typedef {"left" | "top" | "right" | "bottom"} Side */

/** Longest side that the server paints, and the root of the most pixels. */
export const MOST = 4096;

/** @type {readonly Side[]} */
export const SIDES = ["left", "top", "right", "bottom"];

/** Return the size of the picture with its margins. @param {Size} size @param {Margins} margins @returns {Size} */
export const grown = (size, { left, top, right, bottom }) => ({
  width: left + size.width + right,
  height: top + size.height + bottom,
});

/** Return the picture and its margins as a part of the image's plane. @param {Size} size @param {Margins} margins */
export const frame = (size, margins) => ({ x: 0 - margins.left, y: 0 - margins.top, ...grown(size, margins) });

/** Return whether there is a margin on any side. @param {Margins} margins */
export const reaches = (margins) => SIDES.some((side) => margins[side] > 0);

/**
 * Return the margins with one side changed as far as the server paints it, in whole pixels.
 * @param {Size} size @param {Margins} margins @param {Side} side @param {number} wanted
 * @returns {Margins}
 */
export function widened(size, margins, side, wanted) {
  const rest = grown(size, { ...margins, [side]: 0 });
  const [length, across] = side === "left" || side === "right" ? [rest.width, rest.height] : [rest.height, rest.width];
  const room = Math.min(MOST, Math.floor((MOST * MOST) / across)) - length;
  return { ...margins, [side]: Math.max(0, Math.min(Math.round(wanted) || 0, room)) };
}

/**
 * Return the margins that give the picture a shape while it stays in the middle; null where that would be too large.
 * @param {Size} size @param {string} shape such as "16:9"
 * @returns {Margins | null}
 */
export function shaped(size, shape) {
  const [across, down] = shape.split(":").map(Number);
  const width = Math.max(size.width, Math.round((size.height * across) / down));
  const height = Math.max(size.height, Math.round((size.width * down) / across));
  const most = (/** @type {number} */ now) => Math.max(MOST, now);
  if (width > most(size.width) || height > most(size.height) || width * height > MOST * MOST) return null;
  const [left, top] = [Math.floor((width - size.width) / 2), Math.floor((height - size.height) / 2)];
  return { left, top, right: width - size.width - left, bottom: height - size.height - top };
}

/** Return whether the picture with these margins has a shape, to the pixel. @param {Size} size @param {Margins} margins @param {string} shape */
export function isShaped(size, margins, shape) {
  const { width, height } = grown(size, margins);
  const [across, down] = shape.split(":").map(Number);
  return Math.abs(width - (height * across) / down) <= 0.5 || Math.abs(height - (width * down) / across) <= 0.5;
}
