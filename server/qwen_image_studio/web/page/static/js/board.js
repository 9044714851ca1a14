/**
 * The board of the Edit screen: a picture on which people draw what may change, and how far it is to be extended.
 *
 *   const board = openBoard(image.id, { width, height });         // what is drawn there, the same at each visit
 *   html`<${Board} board=${board} src=${url} alt=${words} preview=${job?.preview_url} locked=${isRunning} />`
 *   board.operation.value, board.coverage.value, board.extend.value; await board.exportMask()
 */
import { Button, effect, html, t, useEffect, useKeys, useLayoutEffect, useMemo, useRef, useSignal } from "./ui.js";
import { brush, openBoard, tool } from "./drawing.js";
import { Camera } from "./camera.js";
import { ARROWS, Cursor } from "./cursor.js";
import { Handles } from "./extend.js";
import { Overlay } from "./overlay.js";
import { followPointers } from "./pointers.js";
import { TOOLS, ToolBar, ToolColumn, Zoom, step } from "./tools.js";
import { placed } from "./view.js";
import { reaches } from "./margins.js";
import "./words/board.js";

export { openBoard, tool };

/** @typedef {import("./drawing.js").Drawing} Drawing */
/** @typedef {import("./view.js").Rect} Rect */

/** From this scale on, pixels are seen as such. */
const COARSE = 6;
const WITHIN = /** @type {const} */ ({ inpaint: "area", outpaint: "margins", edit: "all" });

/**
 * @param {{board: Drawing, src: string, alt?: string, preview?: string | null, locked?: boolean,
 *   over?: (place: Rect) => import("./ui.js").Children}} props
 *   `preview`: address of the running job's, shown where it paints; `locked`: looking only; `over`: what stands in the
 *   picture's place instead of tools and area, such as a comparison; it is told where that is
 */
export function Board({ board, src, alt = "", preview = null, locked = false, over }) {
  const stage = useRef(/** @type {HTMLDivElement | null} */ (null));
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const ring = useRef(/** @type {HTMLDivElement | null} */ (null));
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const parts = useRef(/** @type {{overlay: Overlay, cursor: Cursor} | null} */ (null));
  const size = useSignal({ width: 0, height: 0 });
  const told = useSignal("");
  const closed = useRef(false);
  closed.current = locked || Boolean(over);
  const space = useRef(false);
  const camera = useMemo(() => new Camera(board), [board]);

  /** Put the ring somewhere, at once: it may not wait for a rendering. @param {{x: number, y: number} | null} at */
  const showRing = (at) => {
    if (!ring.current) return;
    ring.current.hidden = !at;
    if (at) ring.current.style.transform = `translate(${at.x}px, ${at.y}px)`;
  };
  /** @param {number[] | null} corners @param {boolean} erase */
  const showBox = (corners, erase) => {
    if (!box.current) return;
    box.current.hidden = !corners;
    if (!corners) return;
    const [x0, y0, x1, y1] = corners;
    box.current.classList.toggle("erase", erase);
    Object.assign(box.current.style, {
      transform: `translate(${Math.min(x0, x1)}px, ${Math.min(y0, y1)}px)`,
      width: `${Math.abs(x1 - x0)}px`,
      height: `${Math.abs(y1 - y0)}px`,
    });
  };

  useLayoutEffect(() => {
    if (!stage.current || !canvas.current) return;
    const overlay = new Overlay(canvas.current);
    const shared = { overlay, camera, ring: showRing, box: showBox, locked: () => closed.current };
    const cursor = new Cursor(board, {
      ...shared,
      told: ({ x, y }) => (told.value = t("board.at", { x: Math.round(100 * x), y: Math.round(100 * y) })),
    });
    parts.current = { overlay, cursor };
    let asked = 0;
    const show = () => {
      asked = 0;
      const view = board.view.value;
      if (!view || !overlay.canvas.width) return;
      overlay.show(board.mask.value, view);
      cursor.show();
    };
    const watch = new ResizeObserver(([entry]) => {
      const { width, height } = entry.contentRect;
      if (!width || !height) return;
      camera.resize(width, height);
      size.value = { width, height };
      overlay.resize(width, height);
      show();
    });
    watch.observe(stage.current);
    const ends = [
      followPointers(stage.current, board, { ...shared, held: () => space.current }),
      effect(() => {
        board.mask.value, board.view.value;
        asked ||= requestAnimationFrame(show);
      }),
      effect(() => {
        const extent = board.frame.value;
        if (board.fitted && camera.width && !board.reach.value && extent) camera.fit();
      }),
      effect(() => {
        tool.value;
        cursor.leave();
      }),
    ];
    return () => {
      cancelAnimationFrame(asked);
      watch.disconnect();
      ends.forEach((end) => end());
      board.keep();
    };
  }, [board]);

  usePreview(parts, board, over ? null : preview);

  useEffect(() => {
    let before = board.mask.value;
    return effect(() => {
      const now = board.mask.value;
      if (now !== before) told.value = t("board.marked", { share: Math.round(100 * board.coverage.value) });
      before = now;
    });
  }, [board]);

  useEffect(() => {
    const free = () => [document.body, stage.current].includes(/** @type {any} */ (document.activeElement));
    const press = (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== " " || !(space.current || free())) return;
      event.preventDefault();
      space.current = true;
      if (stage.current) stage.current.dataset.space = "";
    };
    const release = (/** @type {Event} */ event) => {
      if (event instanceof KeyboardEvent && event.key !== " ") return;
      space.current = false;
      delete stage.current?.dataset.space;
    };
    addEventListener("keydown", press);
    addEventListener("keyup", release);
    addEventListener("blur", release);
    return () => {
      removeEventListener("keydown", press);
      removeEventListener("keyup", release);
      removeEventListener("blur", release);
    };
  }, []);

  const draws = (/** @type {() => void} */ run) => () => closed.current || run();
  const redo = draws(board.redo);
  const undo = draws(board.undo);
  useKeys({
    ...Object.fromEntries(TOOLS.map(([name, , key]) => [key.toLowerCase(), draws(() => (tool.value = name))])),
    "[": draws(() => step(-1)),
    "]": draws(() => step(1)),
    "+": () => camera.zoom(1.25),
    "=": () => camera.zoom(1.25),
    "-": () => camera.zoom(1 / 1.25),
    0: () => camera.fit(),
    1: () => camera.natural(),
    "Ctrl+z": (event) => (event.shiftKey ? redo : undo)(),
    "Ctrl+y": redo,
  }, [board]);

  const looks = locked || Boolean(over);
  const place = board.view.value && size.value.width ? placed(board.view.value, board.frame.value) : null;
  /** Show that the board has the keys, or not: a key such as B, pressed while one draws, is no reason to. @param {boolean} now */
  const byKeys = (now) => stage.current?.toggleAttribute("data-keys", now);
  /** Give the keys back to the board after a click elsewhere on it, so that the space bar pans. @param {MouseEvent} event */
  const clicked = ({ detail, target }) => {
    if (detail && target instanceof Element && target.closest("button")) stage.current?.focus({ preventScroll: true });
  };
  const sizing = (/** @type {boolean} */ now) => showRing(now ? camera.middle : null);

  return html`<section class=${`board ${looks ? "looks" : ""}`} aria-label=${t("board.name")} onClick=${clicked}>
    <div class="board-field">
      ${!looks && html`<${ToolBar} board=${board} onSizing=${sizing} />`}
      <div class="board-view">
        <div
          ref=${stage}
          class="board-stage"
          role="application"
          tabindex="0"
          aria-label=${t("board.stage")}
          aria-describedby="board-keys"
          data-tool=${looks ? "hand" : tool.value}
          onFocus=${() => stage.current?.matches(":focus-visible") && byKeys(true)}
          onPointerDown=${() => byKeys(false)}
          onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
            if (event.key in ARROWS) byKeys(true);
            parts.current?.cursor.press(event);
          }}
          onBlur=${() => {
            byKeys(false);
            parts.current?.cursor.leave();
          }}
        >
          <${Margins} board=${board} />
          <${Picture} board=${board} src=${src} alt=${alt} />
          <canvas ref=${canvas} class="board-overlay" aria-hidden="true" hidden=${Boolean(over)}></canvas>
          <div ref=${box} class="board-box" hidden></div>
          <${Ring} at=${ring} />
        </div>
        ${!looks && html`<${Handles} board=${board} ...${size.value} />`}
        ${over && place && over(place)}
        <${Zoom} board=${board} camera=${camera} />
      </div>
    </div>
    ${!over && html`<${ToolColumn} board=${board} locked=${locked} />`}
    <p id="board-keys" hidden>${t("board.keys")}</p>
    <p class="sr-only" aria-live="polite">${told.value}</p>
  </section>`;
}

/** The picture, where the view has it. @param {{board: Drawing, src: string, alt: string}} props */
function Picture({ board, src, alt }) {
  const failed = useSignal("");
  const view = board.view.value;
  if (failed.value === src) {
    return html`<div class="board-failed">
      <p>${t("board.failed")}</p>
      <${Button} icon="refresh-cw" onClick=${() => (failed.value = "")}>${t("board.again")}<//>
    </div>`;
  }
  const style = view
    ? {
        transform: `translate(${view.x}px, ${view.y}px) scale(${view.scale})`,
        width: `${board.width}px`,
        height: `${board.height}px`,
        imageRendering: view.scale >= COARSE ? "pixelated" : "auto",
      }
    : { visibility: "hidden" };
  return html`<img class="board-picture" src=${src} alt=${alt} draggable=${false} style=${style} onError=${() => (failed.value = src)} />`;
}

/** What the picture is extended by. @param {{board: Drawing}} props */
function Margins({ board }) {
  if (!board.view.value || !reaches(board.extend.value)) return null;
  const { x, y, width, height } = placed(board.view.value, board.frame.value);
  return html`<div class="board-margins" style=${{ transform: `translate(${x}px, ${y}px)`, width: `${width}px`, height: `${height}px` }}></div>`;
}

/** The ring of the brush: as wide as what it draws. @param {{at: {current: HTMLDivElement | null}}} props */
function Ring({ at }) {
  const ringed = tool.value === "brush" || tool.value === "eraser";
  const width = `${brush.value}px`;
  return html`<div ref=${at} class=${`board-ring ${ringed ? "" : "cross"}`} hidden><i style=${ringed ? { width, height: width } : {}}></i></div>`;
}

/**
 * Draw the preview of a running job where it paints; the last one stays until the next has come.
 * @param {{current: {overlay: Overlay} | null}} parts @param {Drawing} board @param {string | null} src
 */
function usePreview(parts, board, src) {
  useEffect(() => {
    const overlay = parts.current?.overlay;
    if (!overlay) return;
    if (!src) {
      overlay.preview = null;
      return overlay.compose();
    }
    const image = new Image();
    let current = true;
    image.onload = () => {
      if (!current) return;
      overlay.preview = { image, frame: board.frame.value, within: WITHIN[/** @type {"edit"} */ (board.operation.value)] };
      overlay.compose();
    };
    image.src = src;
    return () => {
      current = false;
    };
  }, [src, board]);
}
