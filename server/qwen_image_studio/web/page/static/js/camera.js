/** Where one looks at the picture: moves the view within what the board allows. */
import { tool } from "./drawing.js";
import { centred, clamp, fit, pan, zoom } from "./view.js";

/** @typedef {import("./drawing.js").Drawing} Drawing */
/** @typedef {import("./view.js").View} View */
/** @typedef {import("./view.js").Point} Point */

/** Room for the tools around a picture that is shown whole, in pixels. */
const WIDE = { left: 96, top: 84, right: 48, bottom: 84 };
/** The same where the settings stand above the board. */
const COMPACT = { left: 88, top: 28, right: 32, bottom: 76 };
/** On a phone all tools stand above and below it; handles need some room. */
const NARROW = { left: 8, top: 8, right: 8, bottom: 8 };
const HANDLED = { left: 28, top: 28, right: 28, bottom: 28 };
const IS_COMPACT = matchMedia("(max-width: 1240px)");
const IS_PHONE = matchMedia("(max-width: 760px)");

export class Camera {
  /** @param {Drawing} board */
  constructor(board) {
    this.board = board;
    this.width = 0;
    this.height = 0;
  }

  /** The part of the board that the tools leave free. */
  get room() {
    const phone = tool.value === "extend" ? HANDLED : NARROW;
    const { left, top, right, bottom } = IS_PHONE.matches ? phone : IS_COMPACT.matches ? COMPACT : WIDE;
    return { x: left, y: top, width: Math.max(40, this.width - left - right), height: Math.max(40, this.height - top - bottom) };
  }

  get middle() {
    const { x, y, width, height } = this.room;
    return { x: x + width / 2, y: y + height / 2 };
  }

  /** The view at which all of the picture is seen. */
  get whole() {
    return fit(this.room, this.board.frame.value);
  }

  /** The smallest scale. */
  get least() {
    return Math.min(1, this.whole.scale) / 2;
  }

  /** Show all of the picture, and keep to that when its place or size changes. */
  fit() {
    this.board.fitted = true;
    this.board.view.value = this.whole;
  }

  /** Show the picture's pixels as they are. */
  natural() {
    this.look(centred(this.room, this.board.frame.value, 1));
  }

  /** Look from elsewhere. @param {View} view */
  look(view) {
    this.board.fitted = false;
    this.board.view.value = clamp(view, this, this.board.frame.value);
  }

  /** @param {(view: View) => View} change */
  #change(change) {
    const view = this.board.view.value;
    if (view) this.look(change(view));
  }

  /** @param {number} dx @param {number} dy */
  pan(dx, dy) {
    this.#change((view) => pan(view, dx, dy));
  }

  /** @param {number} factor @param {Point} [at] what stays where it is */
  zoom(factor, at = this.middle) {
    this.#change((view) => zoom(view, factor, at, this.least));
  }

  /** Take the size of the board; what was in its middle still is. @param {number} width @param {number} height */
  resize(width, height) {
    const [dx, dy] = [(width - this.width) / 2, (height - this.height) / 2];
    const first = this.width === 0;
    this.width = width;
    this.height = height;
    if (this.board.fitted || !this.board.view.value) this.fit();
    else if (first) this.pan(0, 0);
    else this.pan(dx, dy);
  }
}
