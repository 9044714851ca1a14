/** What is drawn on each picture, with the tools in hand. It outlives the screen, and a reload. */
import { batch, computed, signal } from "./ui.js";
import * as masks from "./mask.js";
import { SIDES, frame, grown, reaches } from "./margins.js";
import { marked, paint } from "./region.js";

/** @typedef {import("./mask.js").Mask} Mask */
/** @typedef {import("./mask.js").Margins} Margins */
/** @typedef {import("./view.js").View} View */
/** @typedef {"hand" | "brush" | "eraser" | "lasso" | "box" | "extend"} Tool */

/** Why a file is no mask: it is no picture, has another shape, or marks nothing. */
export class NoMask extends Error {
  /** @param {"unreadable" | "shape" | "empty"} reason */
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

const PREFIX = "studio.draft.board.";
const ORDER = "studio.draft.boards";
/** How many pictures keep what is drawn on them. */
const KEPT = 20;
const SIZE = "studio.brush";
/** Smallest and largest ring of the brush, in pixels of the screen. */
export const SMALLEST = 4;
export const LARGEST = 300;
/** Largest difference in shape, as a share, at which a mask of another size is stretched: the server's rule. */
const SHAPE_GAP = 0.02;

/** The brush: the ring's width in pixels of the screen, the same for all pictures and the next time. */
export const brush = signal(Math.min(LARGEST, Math.max(SMALLEST, Number(localStorage.getItem(SIZE)) || 64)));

/** Make the brush another size, and keep that. @param {number} size */
export function resize(size) {
  brush.value = Math.round(Math.min(LARGEST, Math.max(SMALLEST, size)));
  localStorage.setItem(SIZE, String(brush.value));
}

/** The tool in hand. */
export const tool = signal(/** @type {Tool} */ ("brush"));

/** Whether lasso and box take away what they go around. */
export const erasing = signal(false);

/** What is drawn on one picture. */
export class Drawing {
  /** When to keep it: a moment after the last change. */
  #due = 0;

  /** @param {string} id of the image @param {{width: number, height: number}} size */
  constructor(id, { width, height }) {
    this.id = id;
    this.width = width;
    this.height = height;
    this.mask = signal(masks.unpack(localStorage.getItem(PREFIX + id), this));
    /** Margins while a handle is dragged. */
    this.reach = signal(/** @type {Margins | null} */ (null));
    /** Where the picture stands on the board; null until it is shown. */
    this.view = signal(/** @type {View | null} */ (null));
    /** Whether the view shows all of the picture, and is to go on doing so. */
    this.fitted = true;
    /** How far the picture is extended on each side. */
    this.extend = computed(() => this.reach.value ?? masks.margins(this.mask.value));
    /** The picture with its margins, as a part of the image's plane. */
    this.frame = computed(() => frame(this, this.extend.value));
    /** The size of the picture with its margins. */
    this.size = computed(() => grown(this, this.extend.value));
    /** The share of the picture that may change, 0 to 1. */
    this.coverage = computed(() => masks.coverage(this.mask.value));
    /** What follows from what is drawn. */
    this.operation = computed(() => (reaches(this.extend.value) ? "outpaint" : this.coverage.value > 0 ? "inpaint" : "edit"));
    this.canUndo = computed(() => this.mask.value.done.length > 0);
    this.canRedo = computed(() => this.mask.value.undone.length > 0);
  }

  /** @param {Mask} next */
  #change(next) {
    if (next === this.mask.value) return;
    this.mask.value = next;
    this.#due ||= window.setTimeout(this.keep, 300);
  }

  /** Take one step more. @param {masks.Step} step */
  draw = (step) => this.#change(masks.draw(this.mask.value, step));
  undo = () => this.#change(masks.undo(this.mask.value));
  redo = () => this.#change(masks.redo(this.mask.value));
  /** Mark all that is not marked, and the other way round. */
  invert = () => this.draw({ kind: "invert" });
  /** Mark nothing. This can be undone. */
  clear = () => void (this.coverage.value && this.draw({ kind: "clear" }));

  /**
   * Extend the picture by these margins.
   * @param {Margins} margins
   * @param {string} [by] what changes them; more changes by the same are one step
   */
  extendTo(margins, by) {
    const last = this.mask.value.done.at(-1)?.step;
    const more = by && last?.kind === "extend" && last.by === by;
    const before = more ? masks.undo(this.mask.value) : this.mask.value;
    const now = masks.margins(before);
    const same = SIDES.every((side) => margins[side] === now[side]);
    batch(() => {
      this.reach.value = null;
      this.#change(same ? before : masks.draw(before, { kind: "extend", margins, by }));
    });
  }

  /** Mark what a file marks, stretched to the picture. Throws NoMask. @param {Blob} file */
  async load(file) {
    const { width, height } = this;
    const picture = await createImageBitmap(file).catch(() => null);
    if (!picture) throw new NoMask("unreadable");
    if (Math.abs((picture.width * height) / (picture.height * width) - 1) > SHAPE_GAP) throw new NoMask("shape");
    const pen = sheet(this);
    pen.drawImage(picture, 0, 0, width, height);
    const runs = marked(pen.getImageData(0, 0, width, height).data, this);
    if (!runs.some((row) => row.length)) throw new NoMask("empty");
    this.draw({ kind: "image", runs });
  }

  /** Return the mask as the server takes it: an opaque PNG of the picture's size, white where it may change. @returns {Promise<Blob>} */
  exportMask() {
    const pen = sheet(this);
    const picture = new ImageData(this.width, this.height);
    const pixels = new Uint32Array(picture.data.buffer);
    paint(masks.area(this.mask.value), this, pixels.fill(OPAQUE_BLACK), OPAQUE_WHITE);
    pen.putImageData(picture, 0, 0);
    return new Promise((resolve, reject) => {
      pen.canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the mask could not be written"))), "image/png");
    });
  }

  /** Keep what has changed for the next visit. */
  keep = () => {
    if (!this.#due) return;
    clearTimeout(this.#due);
    this.#due = 0;
    const { done, undone } = this.mask.value;
    remember(this.id, done.length + undone.length ? masks.pack(this.mask.value) : null);
  };
}

/** @type {Map<string, Drawing>} */
const drawings = new Map();

/**
 * Return what is drawn on a picture: the same each time it is asked for.
 * @param {string} id of the image
 * @param {{width: number, height: number}} size
 */
export function openBoard(id, size) {
  const drawing = drawings.get(id) ?? new Drawing(id, size);
  drawings.set(id, drawing);
  return drawing;
}

const [OPAQUE_BLACK, OPAQUE_WHITE] = new Uint32Array(new Uint8Array([0, 0, 0, 255, 255, 255, 255, 255]).buffer);

/** Return a canvas of a size to draw on. @param {{width: number, height: number}} size */
function sheet({ width, height }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
}

addEventListener("pagehide", () => drawings.forEach((drawing) => drawing.keep()));

// -- what is kept in the browser --------------------------------------------------------------------------------------

/** @returns {string[]} the pictures of which something is kept, the oldest first */
function kept() {
  try {
    const ids = JSON.parse(localStorage.getItem(ORDER) ?? "[]");
    return Array.isArray(ids) ? ids.map(String) : [];
  } catch {
    return [];
  }
}

/** Keep a picture's drawing, or forget it; the oldest give way. @param {string} id @param {string | null} text */
function remember(id, text) {
  const others = kept().filter((each) => each !== id);
  const ids = text === null ? others : [...others, id];
  while (ids.length > KEPT) localStorage.removeItem(PREFIX + ids.shift());
  if (text === null) localStorage.removeItem(PREFIX + id);
  for (;;) {
    try {
      if (text !== null) localStorage.setItem(PREFIX + id, text);
      localStorage.setItem(ORDER, JSON.stringify(ids));
      return;
    } catch {
      // The browser's room is used up: the oldest gives way, and in the end this one stays in memory only.
      const oldest = ids.shift();
      if (oldest === undefined) return;
      localStorage.removeItem(PREFIX + oldest);
      if (oldest === id) text = null;
    }
  }
}
