/**
 * Two pictures under one handle. The handle is an <input type=range> over both, so keys, touch and screen readers need
 * nothing of their own. It is as much wider than the picture as its thumb, whose middle thus goes from edge to edge.
 */
import { html, Icon, isTyping, t, fmt, useEffect, useMemo, useSignal } from "./ui.js";
import "./words/compare.js";

/**
 * Where the picture before lies in the one after, in fractions of the one after; a grown picture has margins around it.
 * @typedef {{left: number, top: number, width: number, height: number}} Place
 *
 * @typedef {object} CompareProps
 * @property {string} before Path of the picture before.
 * @property {string} after Path of the picture after.
 * @property {number} width Of the picture after, in pixels; both give its shape.
 * @property {number} height
 * @property {Place | null} [place] Where the picture before lies; all over it where left out.
 * @property {string} [alt] What the picture shows.
 */

const WHOLE = { left: 0, top: 0, width: 1, height: 1 };

/** Call `show` with true while the key `\` is down. @param {(down: boolean) => void} show */
function useHeldKey(show) {
  useEffect(() => {
    /** @param {KeyboardEvent} event */
    const down = (event) => {
      if (event.key !== "\\" || event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
      event.preventDefault();
      show(true);
    };
    /** @param {KeyboardEvent} event */
    const up = (event) => event.key === "\\" && show(false);
    const away = () => show(false);
    addEventListener("keydown", down);
    addEventListener("keyup", up);
    addEventListener("blur", away);
    return () => {
      removeEventListener("keydown", down);
      removeEventListener("keyup", up);
      removeEventListener("blur", away);
    };
  }, []);
}

/**
 * Return attributes that tell a pinch from a drag: with a second finger the handle goes back to where it was.
 * @param {import("@preact/signals").Signal<number>} at
 */
function usePinchGuard(at) {
  const { fingers, kept } = useMemo(() => ({ fingers: new Set(), kept: { at: 50 } }), []);
  const lift = (/** @type {PointerEvent} */ event) => fingers.delete(event.pointerId);
  return {
    onPointerDownCapture: (/** @type {PointerEvent} */ event) => {
      if (event.pointerType !== "touch") return;
      if (!fingers.size) kept.at = at.value;
      else at.value = kept.at;
      fingers.add(event.pointerId);
    },
    onPointerUpCapture: lift,
    onPointerCancelCapture: lift,
    onInput: (/** @type {InputEvent} */ event) => {
      const field = /** @type {HTMLInputElement} */ (event.target);
      if (fingers.size > 1) field.value = String(kept.at);
      else at.value = Number(field.value);
    },
  };
}

/** Show two pictures with a handle between them, as large as the parent allows. @param {CompareProps} props */
export function Compare({ before, after, width, height, place, alt = "" }) {
  const at = useSignal(50);
  const held = useSignal(false);
  useHeldKey((down) => (held.value = down));
  const guard = usePinchGuard(at);
  const cut = held.value ? 100 : at.value;
  const { left, top, width: wide, height: high } = place ?? WHOLE;
  const box = { left: `${left * 100}%`, top: `${top * 100}%`, width: `${wide * 100}%`, height: `${high * 100}%` };
  return html`<div class="compare" data-held=${held.value} style=${{ aspectRatio: `${width} / ${height}` }}>
    <div class="compare-before"><img src=${before} alt="" draggable=${false} style=${box} /></div>
    <img class="compare-after" src=${after} alt=${alt} draggable=${false} style=${{ clipPath: `inset(0 0 0 ${cut}%)` }} />
    <span class="compare-tag" data-side="before" data-off=${cut < 12}>${t("compare.before")}</span>
    <span class="compare-tag" data-side="after" data-off=${cut > 88}>${t("compare.after")}</span>
    <input type="range" min="0" max="100" step="1" value=${at.value} aria-label=${t("compare.handle")}
      aria-valuetext=${t("compare.at", { share: fmt.percent(at.value / 100) })} title=${t("compare.hold")} ...${guard} />
    <span class="compare-line" style=${{ left: `${cut}%` }}><span class="compare-handle"><${Icon} name="columns-2" /></span></span>
  </div>`;
}
