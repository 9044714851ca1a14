/** What is drawn on each picture, with the tools in hand. It outlives the screen, and a reload. */
import { batch, computed, signal } from "./ui.js";
import * as masks from "./mask.js";
import { frame, grown, reaches } from "./margins.js";
import { bitmap, marked } from "./region.js";

/** @typedef {import("./mask.js").Mask} Mask */
/** @typedef {import("./mask.js").Margins} Margins */
/** @typedef {import("./view.js").View} View */
/** @typedef {"hand" | "brush" | "eraser" | "lasso" | "box" | "extend"} Tool */
/** @typedef {ReturnType<typeof openBoard>} Drawing */

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
export const LARGEST = 400;
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

/** @type {Map<string, Drawing>} */
const boards = new Map();

/**
 * Return what is drawn on a picture: the same each time it is asked for.
 * @param {string} id of the image
 * @param {{width: number, height: number}} size
 */
export function openBoard(id, { width, height }) {
  const known = boards.get(id);
  if (known) return known;
  const size = { width, height };
  const mask = signal(masks.unpack(recall(id), size));
  /** Margins while a handle is dragged. */
  const reach = signal(/** @type {Margins | null} */ (null));
  const extend = computed(() => reach.value ?? masks.margins(mask.value));
  const coverage = computed(() => masks.coverage(mask.value));
  let due = 0;

  /** @param {Mask} next */
  function change(next) {
    if (next === mask.value) return;
    mask.value = next;
    due ||= window.setTimeout(keep, 300);
  }

  /** Keep what is drawn for the next visit. */
  function keep() {
    clearTimeout(due);
    due = 0;
    remember(id, mask.value.done.length + mask.value.undone.length ? masks.pack(mask.value) : null);
  }

  const board = {
    id,
    ...size,
    tool,
    brush,
    mask,
    reach,
    /** How far the picture is extended on each side. */
    extend,
    /** The picture with its margins, as a part of the image's plane. */
    frame: computed(() => frame(size, extend.value)),
    /** The size of the picture with its margins. */
    size: computed(() => grown(size, extend.value)),
    /** The share of the picture that may change, 0 to 1. */
    coverage,
    /** What follows from what is drawn. */
    operation: computed(() => (reaches(extend.value) ? "outpaint" : coverage.value > 0 ? "inpaint" : "edit")),
    canUndo: computed(() => mask.value.done.length > 0),
    canRedo: computed(() => mask.value.undone.length > 0),
    /** Where the picture stands on the board; null until it is shown. */
    view: signal(/** @type {View | null} */ (null)),
    /** Whether the view shows all of the picture, and is to go on doing so. */
    fitted: true,

    /** @param {masks.Step} step */
    draw: (step) => change(masks.draw(mask.value, step)),
    undo: () => change(masks.undo(mask.value)),
    redo: () => change(masks.redo(mask.value)),
    /** Mark all that is not marked, and the other way round. */
    invert: () => change(masks.draw(mask.value, { kind: "invert" })),
    /** Mark nothing. This can be undone. */
    clear: () => coverage.value && change(masks.draw(mask.value, { kind: "clear" })),

    /**
     * Extend the picture by these margins.
     * @param {Margins} margins
     * @param {string} [by] what changes them; more changes by the same are one step
     */
    extendTo(margins, by) {
      const now = masks.margins(mask.value);
      const last = mask.value.done.at(-1)?.step;
      batch(() => {
        reach.value = null;
        if (Object.entries(margins).every(([side, value]) => now[/** @type {"left"} */ (side)] === value)) return;
        const more = by && last?.kind === "extend" && last.by === by;
        change(masks.draw(more ? masks.undo(mask.value) : mask.value, { kind: "extend", margins, by }));
      });
    },

    /** Mark what a file marks, stretched to the picture. Throws NoMask. @param {Blob} file */
    async load(file) {
      const picture = await createImageBitmap(file).catch(() => null);
      if (!picture) throw new NoMask("unreadable");
      if (Math.abs((picture.width * height) / (picture.height * width) - 1) > SHAPE_GAP) throw new NoMask("shape");
      const pen = sheet(size);
      pen.drawImage(picture, 0, 0, width, height);
      const runs = marked(pen.getImageData(0, 0, width, height).data, size);
      if (!runs.some((row) => row.length)) throw new NoMask("empty");
      change(masks.draw(mask.value, { kind: "image", runs }));
    },

    /** Return the mask as the server takes it: an opaque PNG of the picture's size, white where it may change. @returns {Promise<Blob>} */
    exportMask() {
      const pen = sheet(size);
      const picture = new ImageData(width, height);
      const pixels = new Uint32Array(picture.data.buffer);
      bitmap(masks.area(mask.value), size).forEach((white, i) => (pixels[i] = white ? 0xffffffff : OPAQUE_BLACK));
      pen.putImageData(picture, 0, 0);
      return new Promise((resolve, reject) => {
        pen.canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the mask could not be written"))), "image/png");
      });
    },

    keep: () => due && keep(),
  };
  boards.set(id, board);
  return board;
}

const OPAQUE_BLACK = new Uint32Array(new Uint8Array([0, 0, 0, 255]).buffer)[0];

/** Return a canvas of a size to draw on. @param {{width: number, height: number}} size */
function sheet({ width, height }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
}

addEventListener("pagehide", () => boards.forEach((board) => board.keep()));

// -- what is kept in the browser --------------------------------------------------------------------------------------

/** @param {string} id */
const recall = (id) => localStorage.getItem(PREFIX + id);

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
