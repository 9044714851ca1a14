/** Extending the picture beyond its edges: handles on its sides, shapes, and pixels. */
import { Button, Segments, html, t, useRef } from "./ui.js";
import { tool } from "./drawing.js";
import { MOST, SIDES, grown, isShaped, reaches, shaped, widened } from "./margins.js";
import { placed } from "./view.js";
import { ARROWS } from "./cursor.js";
import { FLUSH } from "./mask.js";

/** @typedef {import("./drawing.js").Drawing} Drawing */
/** @typedef {import("./margins.js").Side} Side */

const SHAPES = ["1:1", "4:3", "16:9", "9:16"];
const STEP = 8;
const LEAP = 64;
/** How far a handle stays from the board's edges, in pixels. */
const INSIDE = 28;

/** Where each side lies from the picture's middle. @type {Record<Side, [number, number]>} */
const OUTWARDS = { left: [-1, 0], top: [0, -1], right: [1, 0], bottom: [0, 1] };

/** Return by how much a key moves a handle, null where it does not. @param {KeyboardEvent} event @param {Side} side */
function moved(event, side) {
  const step = event.shiftKey ? LEAP : STEP;
  if (event.key === "PageUp") return LEAP;
  if (event.key === "PageDown") return -LEAP;
  const arrow = ARROWS[event.key];
  if (!arrow) return null;
  const along = arrow[0] * OUTWARDS[side][0] + arrow[1] * OUTWARDS[side][1];
  // Arrows across the handle's way count as they do on any slider.
  return step * (along || arrow[0] - arrow[1]);
}

/**
 * The four handles, where the view has the sides of the picture.
 * @param {{board: Drawing, width: number, height: number}} props the board's size
 */
export function Handles({ board, width, height }) {
  const drag = useRef(/** @type {{x: number, y: number, was: number} | null} */ (null));
  const view = board.view.value;
  if (tool.value !== "extend" || !view) return null;
  const box = placed(view, board.frame.value);
  const margins = board.extend.value;
  const inside = (/** @type {number} */ x, /** @type {number} */ room) => Math.max(INSIDE, Math.min(room - INSIDE, x));

  return SIDES.map((side) => {
    const [dx, dy] = OUTWARDS[side];
    const x = inside(box.x + (box.width * (1 + dx)) / 2, width);
    const y = inside(box.y + (box.height * (1 + dy)) / 2, height);
    const events = {
      onPointerDown: (/** @type {any} */ event) => {
        if (event.button) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        drag.current = { x: event.clientX, y: event.clientY, was: margins[side] };
      },
      onPointerMove: (/** @type {any} */ event) => {
        if (!drag.current) return;
        const out = (event.clientX - drag.current.x) * dx + (event.clientY - drag.current.y) * dy;
        board.reach.value = widened(board, margins, side, drag.current.was + out / view.scale);
      },
      onPointerUp: () => {
        drag.current = null;
        if (board.reach.value) board.extendTo(board.reach.value);
      },
      onPointerCancel: () => {
        drag.current = null;
        board.reach.value = null;
      },
      onKeyDown: (/** @type {any} */ event) => {
        const by = event.key === "Home" ? -margins[side] : moved(event, side);
        if (by === null || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        event.stopPropagation();
        board.extendTo(widened(board, margins, side, margins[side] + by), side);
      },
    };
    return html`<div
      key=${side}
      class=${`board-handle ${side}`}
      style=${{ transform: `translate(${x}px, ${y}px)` }}
      role="slider"
      tabindex="0"
      aria-label=${t(`board.extend.${side}`)}
      aria-orientation=${dx ? "horizontal" : "vertical"}
      aria-valuemin="0"
      aria-valuemax=${widened(board, margins, side, MOST)[side]}
      aria-valuenow=${margins[side]}
      aria-valuetext=${t("board.px", { n: margins[side] })}
      ...${events}
    >
      <i></i>
    </div>`;
  });
}

/** The settings of the tool. @param {{board: Drawing}} props */
export function ExtendBar({ board }) {
  const margins = board.extend.value;
  const { width, height } = grown(board, margins);
  const extends_ = reaches(margins);
  const options = SHAPES.map((shape) => ({ value: shape, label: shape, disabled: !shaped(board, shape) }));
  return html`
    <${Segments}
      label=${t("board.extend.shape")}
      hideLabel
      value=${(extends_ && SHAPES.find((shape) => isShaped(board, margins, shape))) || ""}
      options=${options}
      onChange=${(/** @type {string} */ shape) => board.extendTo(shaped(board, shape) ?? FLUSH, "shape")}
    />
    <div class="board-sides">
      ${SIDES.map(
        (side) => html`<label key=${side}>
          <span>${t(`board.side.${side}`)}</span>
          <input
            type="number"
            inputmode="numeric"
            min="0"
            max=${MOST}
            step=${STEP}
            value=${margins[side]}
            onChange=${(/** @type {any} */ event) => {
              const next = widened(board, margins, side, Number(event.target.value));
              event.target.value = next[side];
              board.extendTo(next, side);
            }}
          />
        </label>`,
      )}
    </div>
    <output class="muted board-size">${t("board.size", { width: String(width), height: String(height) })}</output>
    <${Button} disabled=${!extends_} icon="rotate-ccw" label=${t("board.extend.reset")} onClick=${() => board.extendTo(FLUSH)} />
  `;
}
