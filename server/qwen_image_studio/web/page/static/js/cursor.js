/** Drawing by keys: the arrows move a cursor over the picture, Enter draws there. */
import { LEAST_RADIUS } from "./mask.js";
import { brush, erasing, tool } from "./drawing.js";
import { clamp, toScreen } from "./view.js";

/** @typedef {import("./view.js").Point} Point */

/** Steps of the arrow keys, in pixels of the screen; the longer one with Shift. */
const STEP = 8;
const LEAP = 64;

/** @type {Record<string, [number, number]>} */
export const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Cursor {
  /**
   * @param {import("./drawing.js").Drawing} board
   * @param {{overlay: import("./overlay.js").Overlay, camera: import("./camera.js").Camera, locked: () => boolean,
   *   ring: (at: Point | null) => void, box: (corners: number[] | null, erase: boolean) => void,
   *   told: (at: Point) => void}} parts `told`: says where the cursor is, as shares of the picture
   */
  constructor(board, parts) {
    this.board = board;
    this.parts = parts;
    /** Where it is, in the picture. @type {Point | null} */
    this.at = null;
    /** Corners of the box or lasso that is being drawn. @type {number[]} */
    this.corners = [];
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const arrow = ARROWS[event.key];
    if (!this.board.view.value || event.ctrlKey || event.metaKey) return;
    if (arrow) this.#move(...arrow, event.shiftKey ? LEAP : STEP);
    else if (event.key === "Enter") this.#draw(event.altKey);
    else if (event.key === "Escape" && this.at) this.leave();
    else return;
    event.preventDefault();
  }

  /** Put the cursor away, with what was begun. */
  leave() {
    const { overlay, ring, box } = this.parts;
    if (this.corners.length) overlay.revert();
    this.at = null;
    this.corners = [];
    box(null, false);
    ring(null);
  }

  get #draws() {
    return !this.parts.locked() && tool.value !== "hand" && tool.value !== "extend";
  }

  /** @param {number} dx @param {number} dy @param {number} step */
  #move(dx, dy, step) {
    const { board, parts } = this;
    const { camera } = parts;
    if (!this.#draws) return camera.pan(-dx * step, -dy * step);
    const view = /** @type {import("./view.js").View} */ (board.view.value);
    const from = this.at ?? { x: board.width / 2, y: board.height / 2 };
    const within = (/** @type {number} */ x, /** @type {number} */ most) => Math.max(0, Math.min(most, x));
    this.at = { x: within(from.x + (dx * step) / view.scale, board.width), y: within(from.y + (dy * step) / view.scale, board.height) };
    const seen = toScreen(view, this.at);
    const out = (/** @type {number} */ x, /** @type {number} */ most) => Math.min(0, most - 24 - x) + Math.max(0, 24 - x);
    const [px, py] = [out(seen.x, camera.width), out(seen.y, camera.height)];
    if (px || py) camera.look(clamp({ ...view, x: view.x + px, y: view.y + py }, camera, board.frame.value));
    this.show();
    parts.told({ x: this.at.x / board.width, y: this.at.y / board.height });
  }

  /** Draw the cursor where the view has it. */
  show() {
    const { board, parts, at, corners } = this;
    const view = board.view.value;
    if (!at || !view) return;
    const seen = toScreen(view, at);
    parts.ring(seen);
    if (tool.value !== "box" || !corners.length) return;
    const first = toScreen(view, { x: corners[0], y: corners[1] });
    parts.box([first.x, first.y, seen.x, seen.y], erasing.value);
  }

  /** @param {boolean} alt */
  #draw(alt) {
    if (!this.#draws || !this.at) return;
    const { board, parts, corners } = this;
    const { x, y } = this.at;
    const scale = board.view.value?.scale ?? 1;
    if (tool.value === "brush" || tool.value === "eraser") {
      const points = [x, y, Math.max(LEAST_RADIUS, brush.value / 2 / scale)];
      board.draw({ kind: "brush", erase: alt || tool.value === "eraser", points });
      return;
    }
    const ends = corners.length > 1 && corners.at(-2) === x && corners.at(-1) === y;
    const erase = alt || erasing.value;
    if (tool.value === "box" && corners.length && !ends) {
      board.draw({ kind: "box", erase, points: [...corners, x, y] });
      this.corners = [];
      parts.box(null, false);
    } else if (tool.value === "lasso" && ends) {
      // Enter twice at one place closes the line.
      if (corners.length >= 6) board.draw({ kind: "lasso", erase, points: corners });
      else parts.overlay.revert();
      this.corners = [];
    } else if (!ends) {
      this.corners = [...corners, x, y];
      if (this.corners.length > 2) parts.overlay.line(this.corners.slice(-4));
    }
  }
}
