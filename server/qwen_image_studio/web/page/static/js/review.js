/** Review: a queue of held pictures, each with what was asked and why it waits; wholly by keyboard, too. */
import { Compare } from "./compare.js";
import { attend, bring, count, current, hasMore, more, move, passed, pictures, refresh, select, show, shown, state } from "./queue.js";
import { Facts, isCompared } from "./reviewed.js";
import { route } from "./router.js";
import { Button, Field, html, Icon, fmt, Segments, signal, t, toast, useEffect, useKeys, useRef } from "./ui.js";
import { decide, undo, verdicts } from "./verdicts.js";
import "./words/review.js";

/** @typedef {import("./types.js").ListedImage} ListedImage */

const REASONS = ["1", "2", "3", "4"];

/** The reasons of the picture that is looked at: the numbers of chips, and own words. */
const given = signal({ of: "", chips: /** @type {string[]} */ ([]), words: "" });

/** Return the reasons given so far for a picture. @param {string} id */
function reasonsOf(id) {
  return given.value.of === id ? given.value : { of: id, chips: [], words: "" };
}

/** @param {string} number */
function toggle(number) {
  const image = current.value;
  if (!image || shown.value !== "held") return;
  const now = reasonsOf(image.id);
  const chips = now.chips.includes(number) ? now.chips.filter((each) => each !== number) : [...now.chips, number].sort();
  given.value = { ...now, chips };
}

/** @param {"approved" | "rejected"} verdict */
function judge(verdict) {
  const image = current.value;
  if (!image || shown.value !== "held") return;
  const { chips, words } = reasonsOf(image.id);
  const reasons = verdict === "approved" ? [] : [...chips.map((each) => t(`review.reason_${each}`)), ...(words.trim() ? [words.trim()] : [])];
  /** @type {HTMLElement | null} */ (document.activeElement)?.matches("textarea, input[type=text]") && document.body.focus();
  decide(image, verdict, reasons);
  if (pictures.value.length < 10) void more();
}

/** Take back the last verdict, or that on one picture, with its reasons. @param {string} [id] */
function takeBack(id) {
  const found = undo(id);
  if (found?.image) bring(found.image);
}

export default function Screen() {
  useEffect(attend, []);
  useEffect(() => {
    if (state.value === "ready" && route.value.id) select(route.value.id);
  }, [state.value, route.value.id]);
  const wasPassed = useRef(passed.value);
  useEffect(() => {
    if (passed.value !== wasPassed.current) toast(t("review.passed_on"));
    wasPassed.current = passed.value;
  }, [passed.value]);
  const once = (/** @type {() => void} */ run) => (/** @type {KeyboardEvent} */ event) => event.repeat || run();
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    a: once(() => judge("approved")),
    r: once(() => judge("rejected")),
    z: once(() => takeBack()),
    "Ctrl+z": once(() => takeBack()),
    "Ctrl+Enter": once(() => judge("rejected")),
    ...Object.fromEntries(REASONS.map((number) => [number, once(() => toggle(number))])),
  });
  const image = current.value;
  return html`<div class="review" data-empty=${!image}>
    ${image && html`<${Strip} image=${image} />`}
    <section class="stage">${image ? html`<${Picture} key=${image.id} image=${image} />` : html`<${Nothing} />`}</section>
    <aside class="panel">
      <div class="panel-body">
        <header>
          <${Segments} class="small" hideLabel label=${t("review.show")} value=${shown.value} onChange=${show}
            options=${["held", "approved", "rejected"].map((value) => ({ value, label: t(`review.${value}`) }))} />
          <div class="review-title">
            <h1>${t(shown.value === "held" ? "review.title" : `review.title_${shown.value}`, { n: count.value })}</h1>
            ${image && html`<span class="muted">${fmt.ago(image.created_at)}</span>`}
          </div>
        </header>
        ${image && html`<${Facts} key=${image.id} image=${image} />`}
        ${image && shown.value !== "held" && html`<${Waiting} image=${image} />`}
      </div>
      ${image && shown.value === "held" && html`<${Verdict} key=${image.id} image=${image} />`}
    </aside>
    <p class="sr-only" aria-live="polite">${image && told(image)}</p>
  </div>`;
}

/** Return which picture is looked at, in words. @param {ListedImage} image */
function told(image) {
  const at = pictures.value.findIndex((each) => each.id === image.id) + 1;
  return t("review.picture", { at, n: count.value, prompt: image.prompt ?? t("review.unnamed") });
}

/** All pictures as thumbnails. @param {{image: ListedImage}} props */
function Strip({ image }) {
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => list.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }), [image.id]);
  const near = (/** @type {Event} */ event) => {
    const { scrollTop, scrollHeight, clientHeight, scrollLeft, scrollWidth, clientWidth } = /** @type {HTMLElement} */ (event.currentTarget);
    if (scrollHeight - scrollTop - clientHeight < 400 && scrollWidth - scrollLeft - clientWidth < 400) void more();
  };
  return html`<ul class="review-strip" ref=${list} aria-label=${t("review.queue")} title=${t("review.keys")} onScroll=${near}>
    ${pictures.value.map(
      (each, at) => html`<li key=${each.id}>
        <button type="button" class="thumb" aria-current=${each.id === image.id ? "true" : undefined} onClick=${() => select(each.id)}
          aria-label=${t("review.picture", { at: at + 1, n: count.value, prompt: each.prompt ?? t("review.unnamed") })}>
          <img src=${each.thumbnail_url} alt="" loading="lazy" decoding="async" onError=${stale} />
          ${verdicts.value.some(({ id }) => id === each.id) && html`<${Icon} name="clock" />`}
        </button>
      </li>`,
    )}
    ${hasMore.value && html`<li><${Button} kind="quiet" icon="ellipsis" label=${t("review.more")} onClick=${more} /></li>`}
  </ul>`;
}

let renewedAt = 0;

/** A link has ended: read the list again, once in a while. */
function stale() {
  if (Date.now() - renewedAt < 10_000) return;
  renewedAt = Date.now();
  void refresh();
}

/** The picture as large as fits, over the one before where it lies over that. @param {{image: ListedImage}} props */
function Picture({ image }) {
  const [before] = image.reviewer?.made_from ?? [];
  const { width, height } = image;
  const box = { aspectRatio: `${width} / ${height}`, width: `min(100cqw, calc(100cqh * ${width / height}), ${4 * width}px)` };
  const alt = image.prompt ?? t("review.unnamed");
  return html`<div class="review-stage">
    <div class="review-picture" style=${box}>
      ${before && isCompared(image)
        ? html`<${Compare} before=${before.url} after=${image.url} width=${width} height=${height} alt=${alt} />`
        : html`<img src=${image.url} alt=${alt} width=${width} height=${height} onError=${stale} />`}
      <a class="review-full" href=${image.url} target="_blank" rel="noopener" aria-label=${t("review.full")} title=${t("review.full")}><${Icon} name="maximize" /></a>
    </div>
  </div>`;
}

/** What a reviewer says of the picture. @param {{image: ListedImage}} props */
function Verdict({ image }) {
  const { chips, words } = reasonsOf(image.id);
  return html`<div class="panel-foot review-verdict">
    <div role="group" aria-labelledby="review-why">
      <p class="label" id="review-why">${t("review.why_not")}</p>
      <div class="review-chips">
        ${REASONS.map(
          (number) => html`<button type="button" key=${number} class="chip" aria-pressed=${String(chips.includes(number))} aria-keyshortcuts=${number} onClick=${() => toggle(number)}>
            ${t(`review.reason_${number}`)}<kbd class="kbd">${number}</kbd>
          </button>`,
        )}
      </div>
    </div>
    <${Field} label=${t("review.own_words")} hideLabel>
      ${(/** @type {object} */ tied) => html`<input type="text" ...${tied} maxlength="200" value=${words} placeholder=${t("review.own_words")} title=${t("review.own_hint")} autocomplete="off"
        onInput=${(/** @type {any} */ event) => (given.value = { ...reasonsOf(image.id), words: event.target.value })}
        onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Escape" && /** @type {HTMLElement} */ (event.target).blur()} />`}
    <//>
    <${Button} kind="danger" icon="x" keys="R" onClick=${() => judge("rejected")}>${t("review.reject")}<//>
    <${Button} kind="primary" icon="check" keys="A" onClick=${() => judge("approved")}>${t("review.approve")}<//>
  </div>`;
}

/** A verdict that can still be taken back. @param {{image: ListedImage}} props */
function Waiting({ image }) {
  if (!verdicts.value.some((each) => each.id === image.id)) return null;
  return html`<div class="review-waiting">
    <${Icon} name="clock" /><span><strong>${t("review.pending")}</strong><br />${t("review.pending_why")}</span>
    <${Button} icon="undo-2" keys="Z" onClick=${() => takeBack(image.id)}>${t("review.undo")}<//>
  </div>`;
}

/** What is shown where there is no picture. */
function Nothing() {
  if (state.value === "loading") return html`<div class="empty" aria-busy="true"></div>`;
  if (state.value === "failed") {
    return html`<div class="empty"><p>${t("review.failed")}</p><${Button} icon="rotate-ccw" onClick=${refresh}>${t("review.again")}<//></div>`;
  }
  return html`<div class="empty">
    <span class="review-done"><${Icon} name="circle-check" /></span>
    <h2>${t(shown.value === "held" ? "review.empty" : `review.none_${shown.value}`)}</h2>
    ${shown.value === "held" && html`<p class="muted">${t("review.empty_why")}</p>`}
  </div>`;
}
