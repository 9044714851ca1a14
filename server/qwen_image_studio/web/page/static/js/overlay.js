/**
 * What is drawn over the picture: what may change, half transparent with a bright edge, or the preview within it.
 * Strokes are drawn at the board's own size, so a stroke costs the same on a picture of any size, and a move of the
 * brush costs its new piece only.
 */
import { boundsOf, segments, visible } from "./mask.js";
import { tangents } from "./region.js";
import { placed } from "./view.js";

/** @typedef {import("./mask.js").Mask} Mask */
/** @typedef {import("./mask.js").Step} Step */
/** @typedef {import("./view.js").View} View */
/** @typedef {import("./view.js").Rect} Rect */

const SHARE = 0.55;
/** Width of the edge, in pixels of the screen. */
const EDGE = 1.2;
const AROUND = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
/** With more points than that, a moving view moves what is drawn, and is drawn when it rests. */
const MANY = 4000;
const REST_MS = 120;
/** Longest side at which a mask from a file is shown. */
const SHOWN = 2048;

/** @type {WeakMap<Step, Path2D>} */
const paths = new WeakMap();
/** @type {WeakMap<Step, HTMLCanvasElement>} */
const pictures = new WeakMap();

export class Overlay {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.shown = context(canvas);
    this.solid = context(document.createElement("canvas"));
    this.edge = context(document.createElement("canvas"));
    this.ratio = 1;
    this.colour = "#3d64ff";
    /** @type {Mask | null} */
    this.mask = null;
    /** @type {View} */
    this.view = { scale: 1, x: 0, y: 0 };
    /** How many points are drawn. */
    this.points = 0;
    /** The timer that draws when the view rests, and what it does. */
    this.resting = 0;
    this.rest = () => {};
    /** The preview of a running job, the part of the image's plane that it shows, and what of it is drawn. @type {{image: CanvasImageSource, frame: Rect, within: "area" | "margins" | "all"} | null} */
    this.preview = null;
  }

  /** Take the size of the board. @param {number} width @param {number} height in CSS pixels */
  resize(width, height) {
    this.ratio = Math.min(2, devicePixelRatio || 1);
    this.colour = getComputedStyle(this.canvas).getPropertyValue("--mask").trim() || this.colour;
    for (const { canvas } of [this.shown, this.solid, this.edge]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    this.mask = null;
  }

  /** Show a mask where the view has it. One step more than before costs that step only. @param {Mask} mask @param {View} view */
  show(mask, view) {
    const before = this.mask;
    clearTimeout(this.resting);
    this.resting = 0;
    this.canvas.style.transform = "";
    if (mask === before && view !== this.view && this.points > MANY) {
      const ratio = view.scale / this.view.scale;
      this.canvas.style.transform = `translate(${view.x - this.view.x * ratio}px, ${view.y - this.view.y * ratio}px) scale(${ratio})`;
      this.rest = () => this.#draw(mask, view);
      this.resting = window.setTimeout(this.rest, REST_MS);
      return;
    }
    const more = mask.done.length - (before?.done.length ?? Infinity) === 1 && mask.done.at(-2) === before?.done.at(-1);
    if (view !== this.view || (mask !== before && !more)) return this.#draw(mask, view);
    this.mask = mask;
    if (more) this.#add(mask.done[mask.done.length - 1].step, mask);
    this.compose();
  }

  /** @param {Mask} mask @param {View} view */
  #draw(mask, view) {
    this.resting = 0;
    this.canvas.style.transform = "";
    this.mask = mask;
    this.view = view;
    this.solid.setTransform(1, 0, 0, 1, 0, 0);
    this.solid.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.points = 0;
    for (const step of visible(mask)) this.#add(step, mask);
    this.compose();
  }

  /** Draw where the view is now, if it was still moving. */
  settle() {
    if (!this.resting) return;
    clearTimeout(this.resting);
    this.rest();
  }

  /** Show the mask anew, without what was drawn since it was shown. */
  revert() {
    const mask = this.mask;
    this.mask = null;
    if (mask) this.#draw(mask, this.view);
  }

  /**
   * Draw the newest pieces of a brush's stroke.
   * @param {number[][]} pieces x, y and radius of both ends of each, in the picture
   * @param {boolean} erase
   */
  sweep(pieces, erase) {
    this.settle();
    if (!this.mask) return;
    this.#within(this.mask, erase, () => this.solid.fill(swept(pieces)));
    const reach = (/** @type {1 | -1} */ sign, /** @type {0 | 1} */ axis) =>
      sign * Math.max(...pieces.flatMap((ends) => [0, 3].map((end) => sign * ends[end + axis] + ends[end + 2])));
    const [x, y] = [reach(-1, 0), reach(-1, 1)];
    this.compose({ x, y, width: reach(1, 0) - x, height: reach(1, 1) - y });
  }

  /** Draw the newest piece of a lasso's line. @param {number[]} ends x, y of both, in the picture */
  line([x0, y0, x1, y1]) {
    this.settle();
    const pen = this.shown;
    const at = this.#place(pen);
    for (const [width, colour] of /** @type {const} */ ([[3.5, "#fff"], [1.75, this.colour]])) {
      pen.lineWidth = (width * this.ratio) / at;
      pen.lineCap = "round";
      pen.strokeStyle = colour;
      pen.beginPath();
      pen.moveTo(x0, y0);
      pen.lineTo(x1, y1);
      pen.stroke();
    }
  }

  /** Show what there is, all of it or a part of the picture. @param {Rect} [part] */
  compose(part) {
    const { shown, solid, edge, ratio, view } = this;
    const { width: most, height: tallest } = this.canvas;
    shown.setTransform(1, 0, 0, 1, 0, 0);
    if (!part || this.preview) shown.clearRect(0, 0, most, tallest);
    if (this.preview) return this.#compose(this.preview);
    // Where nothing is marked there is nothing to show.
    const seen = placed(view, part ?? this.#marked());
    const [x, y] = [seen.x, seen.y].map((start) => Math.max(0, Math.floor((start - 3) * ratio)));
    const width = Math.min(most, Math.ceil((seen.x + seen.width + 3) * ratio)) - x;
    const height = Math.min(tallest, Math.ceil((seen.y + seen.height + 3) * ratio)) - y;
    if (width <= 0 || height <= 0) return;
    shown.clearRect(x, y, width, height);
    const copy = (/** @type {CanvasRenderingContext2D} */ to, /** @type {CanvasRenderingContext2D} */ from) =>
      to.drawImage(from.canvas, x, y, width, height, x, y, width, height);
    edge.save();
    edge.beginPath();
    edge.rect(x, y, width, height);
    edge.clip();
    edge.clearRect(x, y, width, height);
    edge.globalCompositeOperation = "source-over";
    for (const [dx, dy] of AROUND) {
      edge.setTransform(1, 0, 0, 1, dx * EDGE * ratio, dy * EDGE * ratio);
      edge.drawImage(solid.canvas, 0, 0);
    }
    edge.setTransform(1, 0, 0, 1, 0, 0);
    edge.globalCompositeOperation = "destination-out";
    copy(edge, solid);
    edge.globalCompositeOperation = "source-in";
    edge.fillStyle = "#fff";
    edge.fillRect(x, y, width, height);
    edge.restore();
    shown.globalAlpha = SHARE;
    copy(shown, solid);
    shown.globalAlpha = 0.9;
    copy(shown, edge);
    shown.globalAlpha = 1;
  }

  /** Return the box around what is marked, for there is nothing to show elsewhere. @returns {Rect} */
  #marked() {
    const [left, top, right, bottom] = (this.mask && boundsOf(this.mask)) ?? [0, 0, 0, 0];
    return { x: left - 1, y: top - 1, width: right - left + 2, height: bottom - top + 2 };
  }

  /** Draw the preview where it belongs. @param {NonNullable<Overlay["preview"]>} preview */
  #compose({ image, frame, within }) {
    const { shown, mask } = this;
    if (!mask) return;
    shown.save();
    this.#place(shown);
    shown.imageSmoothingQuality = "high";
    if (within === "margins") {
      shown.beginPath();
      shown.rect(frame.x, frame.y, frame.width, frame.height);
      shown.rect(0, 0, mask.width, mask.height);
      shown.clip("evenodd");
    }
    shown.drawImage(image, frame.x, frame.y, frame.width, frame.height);
    shown.setTransform(1, 0, 0, 1, 0, 0);
    if (within === "area") {
      shown.globalCompositeOperation = "destination-in";
      shown.drawImage(this.solid.canvas, 0, 0);
    }
    shown.restore();
  }

  /** Have a context draw in the picture's pixels; return how many of its own one of them has. @param {CanvasRenderingContext2D} pen */
  #place(pen) {
    const { view, ratio } = this;
    const scale = view.scale * ratio;
    pen.setTransform(scale, 0, 0, scale, view.x * ratio, view.y * ratio);
    return scale;
  }

  /** Draw on the picture only. @param {Mask} mask @param {boolean} erase @param {() => void} paint */
  #within(mask, erase, paint) {
    const pen = this.solid;
    pen.save();
    this.#place(pen);
    pen.beginPath();
    pen.rect(0, 0, mask.width, mask.height);
    pen.clip();
    pen.fillStyle = pen.strokeStyle = this.colour;
    pen.lineCap = pen.lineJoin = "round";
    if (erase) pen.globalCompositeOperation = "destination-out";
    paint();
    pen.restore();
  }

  /** Draw a step. @param {Step} step @param {Mask} mask */
  #add(step, mask) {
    const pen = this.solid;
    const whole = /** @type {const} */ ([0, 0, mask.width, mask.height]);
    if (step.kind === "extend") return;
    if (step.kind === "invert") {
      this.#within(mask, false, () => {
        pen.globalCompositeOperation = "xor";
        pen.fillRect(...whole);
      });
    } else if (step.kind === "clear") this.#within(mask, true, () => pen.fillRect(...whole));
    else if (step.kind === "image") {
      this.#within(mask, true, () => pen.fillRect(...whole));
      this.#within(mask, false, () => pen.drawImage(pictured(step, mask, this.colour), ...whole));
    } else {
      const { kind, points } = step;
      this.points += points.length / 3;
      this.#within(mask, step.erase, () => {
        if (kind === "brush" && isEven(points)) {
          pen.lineWidth = 2 * points[2];
          pen.stroke(pathOf(step));
        } else pen.fill(pathOf(step));
      });
    }
  }
}

/** @param {HTMLCanvasElement} canvas */
function context(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/** Return whether a brush's stroke is a line of one radius. @param {readonly number[]} points */
function isEven(points) {
  if (points.length < 6) return false;
  for (let i = 5; i < points.length; i += 3) if (points[i] !== points[2]) return false;
  return true;
}

/** Return the outline of a stroke, or the line along which its brush went where the radius stays. @param {import("./mask.js").Stroke} stroke */
function pathOf(stroke) {
  let path = paths.get(stroke);
  if (!path) paths.set(stroke, (path = outlined(stroke)));
  return path;
}

/** @param {import("./mask.js").Stroke} stroke */
function outlined({ kind, points }) {
  const path = new Path2D();
  if (kind === "box") path.rect(points[0], points[1], points[2] - points[0], points[3] - points[1]);
  else if (kind === "lasso") for (let i = 0; i < points.length; i += 2) path.lineTo(points[i], points[i + 1]);
  else if (isEven(points)) for (let i = 0; i < points.length; i += 3) path.lineTo(points[i], points[i + 1]);
  else {
    /** @type {number[][]} */
    const pieces = [];
    segments(points, (...ends) => pieces.push(ends));
    return swept(pieces);
  }
  return path;
}

/** Return the outline of what a brush covers; all parts turn the same way, so that they are one area. @param {number[][]} pieces */
function swept(pieces) {
  const path = new Path2D();
  for (const [x0, y0, r0, x1, y1, r1] of pieces) {
    for (const [x, y, r] of [[x0, y0, r0], [x1, y1, r1]]) {
      path.moveTo(x + r, y);
      path.arc(x, y, r, 0, 2 * Math.PI, true);
    }
    const corners = tangents(x0, y0, r0, x1, y1, r1);
    for (let i = 0; i < corners.length; i += 2) i ? path.lineTo(corners[i], corners[i + 1]) : path.moveTo(corners[0], corners[1]);
    path.closePath();
  }
  return path;
}

/** Return a mask from a file as a picture in the mask's colour. @param {import("./mask.js").Picture} step @param {Mask} mask @param {string} colour */
function pictured(step, mask, colour) {
  const known = pictures.get(step);
  if (known) return known;
  const shrink = Math.min(1, SHOWN / Math.max(mask.width, mask.height));
  const canvas = document.createElement("canvas");
  const width = (canvas.width = Math.max(1, Math.round(mask.width * shrink)));
  const height = (canvas.height = Math.max(1, Math.round(mask.height * shrink)));
  const pen = context(canvas);
  const bytes = new ImageData(width, height);
  const pixels = new Uint32Array(bytes.data.buffer);
  const column = (/** @type {number} */ x) => Math.round((x * width) / mask.width);
  for (let y = 0; y < height; y++) {
    const row = step.runs[Math.floor(((y + 0.5) * mask.height) / height)] ?? [];
    for (let i = 0; i < row.length; i += 2) pixels.fill(0xffffffff, y * width + column(row[i]), y * width + column(row[i + 1]));
  }
  pen.putImageData(bytes, 0, 0);
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = colour;
  pen.fillRect(0, 0, width, height);
  pictures.set(step, canvas);
  return canvas;
}
