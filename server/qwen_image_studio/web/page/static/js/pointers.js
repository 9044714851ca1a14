/** What mouse, pen and fingers do on the board. */
import { LEAST_RADIUS } from "./mask.js";
import { brush, erasing, tool } from "./drawing.js";
import { pinch, toImage, wheel } from "./view.js";

/** @typedef {import("./drawing.js").Drawing} Drawing */
/** @typedef {import("./view.js").Point} Point */
/** @typedef {import("./mask.js").Stroke} Stroke */
/**
 * @typedef {{kind: "pan", id: number, at: Point}
 *   | {kind: "pinch", view: import("./view.js").View, from: [Point, Point]}
 *   | {kind: "rest"}
 *   | {kind: "draw", id: number, stroke: Stroke, pen: boolean, first: Point, last: Point, travel: number}} Gesture
 */

/** A stroke shorter than this was the first finger of a pinch, in pixels of the screen. */
const BEGUN = 48;
/** A brush's points lie at least this far apart, in pixels of the screen. */
const APART = 1.5;
/** Buttons of a pen's other end, and of the middle of a mouse. */
const ERASER = 5;
const MIDDLE = 1;
const RIGHT = 2;
const ERASER_HELD = 32;

const KINDS = /** @type {const} */ ({ brush: "brush", eraser: "brush", lasso: "lasso", box: "box" });

/**
 * Draw, pan and zoom as the pointers over a stage say; return what ends that.
 * @param {HTMLElement} stage
 * @param {Drawing} board
 * @param {{overlay: import("./overlay.js").Overlay, camera: import("./camera.js").Camera, locked: () => boolean,
 *   held: () => boolean, ring: (at: Point | null) => void,
 *   box: (corners: number[] | null, erase: boolean) => void}} parts `locked`: nothing can be drawn; `held`: the space bar is
 */
export function followPointers(stage, board, { overlay, camera, locked, held, ring, box }) {
  /** @type {Map<number, Point>} */
  const fingers = new Map();
  /** @type {Gesture | null} */
  let gesture = null;

  const place = (/** @type {PointerEvent | WheelEvent} */ event) => {
    const { left, top } = stage.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  const view = () => /** @type {import("./view.js").View} */ (board.view.value);
  const round = (/** @type {number} */ x) => Math.round(x * 100) / 100;

  /** Return the radius in the picture. @param {PointerEvent} event */
  function radius(event) {
    const pressed = event.pointerType === "pen" && event.pressure > 0 ? 0.2 + 0.8 * event.pressure : 1;
    return Math.max(LEAST_RADIUS, (brush.value / 2 / view().scale) * pressed);
  }

  /** @param {PointerEvent} event */
  function down(event) {
    if (!board.view.value || event.button === RIGHT || event.target !== stage) return;
    const pen = event.pointerType === "pen";
    if (event.pointerType === "touch") {
      if (gesture?.kind === "draw" && gesture.pen) return; // a hand that rests beside the pen
      fingers.set(event.pointerId, place(event));
    } else if (gesture && !pen) return;
    stage.setPointerCapture(event.pointerId);
    if (event.button === MIDDLE) event.preventDefault(); // it would scroll
    if (fingers.size > 1) return pinched();
    const at = place(event);
    if (event.button === MIDDLE || held() || locked() || tool.value === "hand" || tool.value === "extend") {
      gesture = { kind: "pan", id: event.pointerId, at };
      stage.dataset.panning = "";
      return;
    }
    const erase = event.altKey || event.button === ERASER || (event.buttons & ERASER_HELD) > 0 || tool.value === "eraser";
    const kind = KINDS[tool.value];
    const stroke = { kind, erase: erase || (kind !== "brush" && erasing.value), points: /** @type {number[]} */ ([]) };
    gesture = { kind: "draw", id: event.pointerId, stroke, pen, first: at, last: at, travel: 0 };
    add(gesture, [event]);
  }

  /** Take the second finger: a stroke that had only begun was none. */
  function pinched() {
    if (gesture?.kind === "draw") (gesture.travel < BEGUN ? abandon : finish)(gesture);
    const [a, b] = fingers.values();
    gesture = fingers.size === 2 ? { kind: "pinch", view: view(), from: [a, b] } : { kind: "rest" };
  }

  /** Add what a pointer did since the last time. @param {Gesture & {kind: "draw"}} drawn @param {PointerEvent[]} events */
  function add(drawn, events) {
    const { points, kind, erase } = drawn.stroke;
    /** @type {number[][]} */
    const pieces = [];
    for (const event of events) {
      const at = place(event);
      const { x, y } = toImage(view(), at);
      const far = Math.hypot(at.x - drawn.last.x, at.y - drawn.last.y);
      if (kind === "box") points.splice(0, 4, ...[...start(drawn), x, y].map(round));
      else if (points.length && far < APART) continue;
      else if (kind === "lasso") {
        points.push(round(x), round(y));
        if (points.length > 2) overlay.line(points.slice(-4));
      } else {
        points.push(round(x), round(y), round(radius(event)));
        const now = points.slice(-3);
        pieces.push([...(points.length > 3 ? points.slice(-6, -3) : now), ...now]);
      }
      drawn.travel += far;
      drawn.last = at;
    }
    if (pieces.length) overlay.sweep(pieces, erase);
    if (kind === "box") box([drawn.first.x, drawn.first.y, drawn.last.x, drawn.last.y], erase);
  }

  /** Return the corner at which a box began. @param {Gesture & {kind: "draw"}} drawn */
  function start(drawn) {
    const { x, y } = toImage(view(), drawn.first);
    return [x, y];
  }

  /** @param {PointerEvent} event */
  function move(event) {
    const at = place(event);
    if (event.pointerType !== "touch") ring(at);
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, at);
    if (gesture?.kind === "pinch") {
      const [a, b] = fingers.values();
      camera.look(pinch(gesture.view, gesture.from, [a, b], camera.least));
    } else if (gesture?.kind === "pan" && gesture.id === event.pointerId) {
      camera.pan(at.x - gesture.at.x, at.y - gesture.at.y);
      gesture.at = at;
    } else if (gesture?.kind === "draw" && gesture.id === event.pointerId) {
      const events = event.getCoalescedEvents?.() ?? [];
      add(gesture, events.length ? events : [event]);
    }
  }

  /** @param {PointerEvent} event */
  function up(event) {
    const finger = fingers.delete(event.pointerId);
    if (gesture?.kind === "draw" && gesture.id === event.pointerId) {
      const drawn = gesture;
      gesture = null;
      if (event.type === "pointerup") finish(drawn);
      else abandon(drawn);
    } else if (gesture?.kind === "pan" && gesture.id === event.pointerId) gesture = null;
    else if (finger) gesture = fingers.size ? { kind: "rest" } : null;
    delete stage.dataset.panning;
  }

  /** Keep what was drawn. @param {Gesture & {kind: "draw"}} drawn */
  function finish({ stroke }) {
    box(null, false);
    const { kind, points } = stroke;
    const [x0, y0, x1, y1] = points;
    const least = kind === "lasso" ? 6 : kind === "box" ? 4 : 3;
    if (points.length < least || (kind === "box" && (Math.abs(x1 - x0) < 1 || Math.abs(y1 - y0) < 1))) overlay.revert();
    else board.draw(stroke);
  }

  /** Take back what was drawn. @param {Gesture & {kind: "draw"}} _ */
  function abandon(_) {
    box(null, false);
    overlay.revert();
  }

  /** @param {WheelEvent} event */
  function turn(event) {
    event.preventDefault();
    if (board.view.value && gesture?.kind !== "draw") camera.look(wheel(board.view.value, event, place(event), camera.least));
  }

  /** @param {KeyboardEvent} event */
  function escape(event) {
    if (event.key !== "Escape" || gesture?.kind !== "draw") return;
    abandon(gesture);
    gesture = { kind: "rest" };
    addEventListener("pointerup", () => (gesture = null), { once: true });
  }

  /** @type {[EventTarget, string, (event: any) => void][]} */
  const listeners = [
    [stage, "pointerdown", down],
    [stage, "pointermove", move],
    [stage, "pointerup", up],
    [stage, "pointercancel", up],
    [stage, "pointerleave", () => gesture?.kind !== "draw" && ring(null)],
    // A long press is a stroke, and asks for no menu.
    [stage, "contextmenu", (event) => event.pointerType !== "mouse" && event.preventDefault()],
    [stage.parentElement ?? stage, "wheel", turn],
    [window, "keydown", escape],
  ];
  for (const [target, kind, run] of listeners) target.addEventListener(kind, run, { passive: false });
  return () => listeners.forEach(([target, kind, run]) => target.removeEventListener(kind, run));
}

