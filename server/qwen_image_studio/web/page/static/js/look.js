/** One picture, as large as fits; a click shows it in its own size, to be moved about. */
import { html, t, useEffect, useRef, useSignal } from "./ui.js";

const SWIPE_PX = 60;
const MOVED_PX = 4;

/**
 * @param {{id: string, src: string, thumbnail?: string, width: number, height: number, alt: string, onSwipe?: (by: 1 | -1) => void, onError?: () => void}} props
 */
export function Look({ id, src, thumbnail, width, height, alt, onSwipe, onError }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const big = useSignal(/** @type {{width: number, x: number, y: number} | null} */ (null));
  const drag = useRef(/** @type {{x: number, y: number, left: number, top: number, moved: boolean} | null} */ (null));
  useEffect(() => void (big.value = null), [id]);

  // The point that was clicked stays where it was.
  useEffect(() => {
    const view = box.current;
    if (!view || !big.value) return;
    const { x, y } = big.value;
    view.scrollTo({ left: x * view.scrollWidth - view.clientWidth / 2, top: y * view.scrollHeight - view.clientHeight / 2, behavior: "instant" });
  }, [big.value]);

  const zoom = (/** @type {MouseEvent} */ event) => {
    if (drag.current?.moved) return;
    if (big.value) return void (big.value = null);
    const shown = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect();
    const byKey = event.detail === 0;
    const [x, y] = byKey ? [0.5, 0.5] : [(event.clientX - shown.left) / shown.width, (event.clientY - shown.top) / shown.height];
    big.value = { width: Math.max(width / devicePixelRatio, 2 * shown.width), x, y };
  };
  const down = (/** @type {PointerEvent} */ event) => {
    const view = box.current;
    if (view && event.isPrimary) drag.current = { x: event.clientX, y: event.clientY, left: view.scrollLeft, top: view.scrollTop, moved: false };
  };
  const move = (/** @type {PointerEvent} */ event) => {
    const from = drag.current;
    if (!from || !box.current || !event.buttons || !event.isPrimary) return;
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    from.moved ||= Math.hypot(dx, dy) > MOVED_PX;
    if (big.value && event.pointerType === "mouse") box.current.scrollTo({ left: from.left - dx, top: from.top - dy, behavior: "instant" });
  };
  const up = (/** @type {PointerEvent} */ event) => {
    const from = drag.current;
    if (!from || !event.isPrimary || event.pointerType === "mouse" || big.value) return;
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    if (Math.abs(dx) > SWIPE_PX && Math.abs(dx) > 2 * Math.abs(dy)) onSwipe?.(dx < 0 ? 1 : -1);
  };
  const pan = (/** @type {KeyboardEvent} */ event) => {
    const by = { ArrowLeft: [-80, 0], ArrowRight: [80, 0], ArrowUp: [0, -80], ArrowDown: [0, 80] }[event.key];
    if (!big.value || !by) return;
    box.current?.scrollBy({ left: by[0], top: by[1], behavior: "instant" });
    event.preventDefault();
  };
  return html`<div class=${`look ${big.value ? "big" : ""}`} ref=${box} onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} onKeyDown=${pan}>
    <button type="button" class="look-zoom" aria-pressed=${String(big.value !== null)} aria-label=${t(big.value ? "gallery.zoom_out" : "gallery.zoom_in")} onClick=${zoom}
      style=${{ "--ratio": String(width / height), width: big.value ? `${big.value.width}px` : "" }}>
      <img key=${id} src=${src} alt=${alt} width=${width} height=${height} draggable=${false} onError=${onError}
        style=${thumbnail ? { backgroundImage: `url("${thumbnail}")` } : undefined} />
    </button>
  </div>`;
}
