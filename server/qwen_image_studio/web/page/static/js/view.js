/**
 * Where a picture stands on the board: one scale and one place. Nothing here knows a document.
 * Screen means pixels of the board, image means pixels of the picture.
 */

/** @typedef {{scale: number, x: number, y: number}} View screen = image × scale + (x, y) */
/** @typedef {{x: number, y: number}} Point */
/** @typedef {{x: number, y: number, width: number, height: number}} Rect */
/** @typedef {{width: number, height: number}} Size */

/** Largest zoom: a pixel of the picture is that many of the board. */
export const CLOSEST = 32;
/** How much of the picture stays on the board, in its pixels, wherever one moves it. */
export const HELD = 96;

/** @param {View} view @param {Point} point of the screen @returns {Point} */
export const toImage = ({ scale, x, y }, point) => ({ x: (point.x - x) / scale, y: (point.y - y) / scale });

/** @param {View} view @param {Point} point of the image @returns {Point} */
export const toScreen = ({ scale, x, y }, point) => ({ x: point.x * scale + x, y: point.y * scale + y });

/** Return where a part of the image stands on the screen. @param {View} view @param {Rect} part @returns {Rect} */
export const placed = ({ scale, x, y }, part) => ({
  x: part.x * scale + x,
  y: part.y * scale + y,
  width: part.width * scale,
  height: part.height * scale,
});

/**
 * Return the view that shows a part of the image as large as fits into a part of the board; small pictures are enlarged
 * up to four times their size.
 * @param {Rect} room @param {Rect} part @param {number} [most]
 * @returns {View}
 */
export function fit(room, part, most = 4) {
  const scale = Math.min(most, Math.max(1, room.width) / part.width, Math.max(1, room.height) / part.height);
  return centred(room, part, scale);
}

/** Return the view that shows the middle of a part of the image in the middle of the room. @param {Rect} room @param {Rect} part @param {number} scale @returns {View} */
export function centred(room, part, scale) {
  return {
    scale,
    x: room.x + room.width / 2 - (part.x + part.width / 2) * scale,
    y: room.y + room.height / 2 - (part.y + part.height / 2) * scale,
  };
}

/** Return the view moved over the screen. @param {View} view @param {number} dx @param {number} dy @returns {View} */
export const pan = ({ scale, x, y }, dx, dy) => ({ scale, x: x + dx, y: y + dy });

/**
 * Return the view zoomed by a factor; what is at a point of the screen stays there.
 * @param {View} view @param {number} factor @param {Point} at @param {number} least smallest scale
 * @returns {View}
 */
export function zoom(view, factor, at, least) {
  const scale = Math.min(CLOSEST, Math.max(least, view.scale * factor));
  const ratio = scale / view.scale;
  return { scale, x: at.x - (at.x - view.x) * ratio, y: at.y - (at.y - view.y) * ratio };
}

/**
 * Return the view moved so that some of the picture stays on the board.
 * @param {View} view @param {Size} board @param {Rect} part
 * @returns {View}
 */
export function clamp(view, board, part) {
  const box = placed(view, part);
  const shift = (/** @type {number} */ start, /** @type {number} */ length, /** @type {number} */ room) => {
    const held = Math.min(HELD, length, room);
    return Math.max(held - start - length, Math.min(0, room - held - start));
  };
  return pan(view, shift(box.x, box.width, board.width), shift(box.y, box.height, board.height));
}

/**
 * Return the view after two fingers have moved: what was below each of them still is.
 * @param {View} view @param {[Point, Point]} before @param {[Point, Point]} now @param {number} least smallest scale
 * @returns {View}
 */
export function pinch(view, before, now, least) {
  const middle = (/** @type {[Point, Point]} */ [a, b]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  const apart = (/** @type {[Point, Point]} */ [a, b]) => Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
  const [from, to] = [middle(before), middle(now)];
  return zoom(pan(view, to.x - from.x, to.y - from.y), apart(now) / apart(before), to, least);
}

/** Pixels of a line and of a page, for wheels that count those. */
const UNITS = [1, 16, 400];

/**
 * Return the view after a turn of the wheel: with Ctrl, as trackpads tell a pinch, it zooms to the pointer, else it pans.
 * @param {View} view @param {{deltaX: number, deltaY: number, deltaMode: number, ctrlKey: boolean}} turn
 * @param {Point} at @param {number} least smallest scale
 * @returns {View}
 */
export function wheel(view, turn, at, least) {
  const unit = UNITS[turn.deltaMode] ?? 1;
  if (!turn.ctrlKey) return pan(view, -turn.deltaX * unit, -turn.deltaY * unit);
  // A notch of a mouse counts 100 or 120, a pinch a few: neither may leap.
  const travel = Math.max(-60, Math.min(60, turn.deltaY * unit));
  return zoom(view, Math.exp(-travel / 150), at, least);
}
