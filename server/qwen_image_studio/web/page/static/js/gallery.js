/** The gallery: all pictures, newest first, with batches as one tile each. */
import { Batch } from "./batch.js";
import { choose, choosing, chosen, download, kept, mark, remove, stop, work } from "./choice.js";
import { Detail } from "./detail.js";
import { alt } from "./facts.js";
import { standing } from "./job.js";
import { arrived, entries, failure, filter, gone, hasMore, isBatch, look, note, readOn, refresh, renew, settle, settled, sought, state, total, waiting } from "./listing.js";
import { go, href, route } from "./router.js";
import { can, isGuest, tell } from "./store.js";
import { Button, Dialog, fmt, html, Icon, isTyping, Segments, t, useEffect, useLayoutEffect, useRef, useSignal } from "./ui.js";
import "./words/gallery.js";

/** @typedef {import("./listing.js").Entry} Entry */

const SEARCH_MS = 300;
/** How far down one may be while news still come in at once, in pixels. */
const TOP = 60;

/** How far down one was; kept while another screen is open. */
let place = 0;

// -- tiles ------------------------------------------------------------------------------------------------------------

/** @type {WeakMap<Entry, unknown>} */
const tiles = new WeakMap();

/** Return the tile of an entry; the same object each time, so that what has not changed is not compared. @param {Entry} entry */
function tile(entry) {
  const known = tiles.get(entry) ?? html`<${Tile} key=${entry.id} entry=${entry} />`;
  tiles.set(entry, known);
  return known;
}

/** @param {{entry: Entry}} props */
function Tile({ entry }) {
  const { id, image, job } = entry;
  if (gone.value.has(id)) return html`<li class="tile gone"><span class="sr-only">${t("gallery.gone")}</span></li>`;
  const inside = html`<${Face} entry=${entry} />`;
  if (choosing.value) {
    const change = (/** @type {any} */ event) => mark(id, event.target.checked, shifted, entries.value);
    return html`<li class="tile"><label><input type="checkbox" checked=${chosen.value.has(id)} onChange=${change} aria-label=${alt(entry)} />${inside}</label></li>`;
  }
  const to = job ? id : isBatch(image.operation) && image.job_id ? image.job_id : id;
  return html`<li class=${`tile ${job ? "stack" : ""}`}><a href=${href("gallery", to)} data-id=${id}>${inside}</a></li>`;
}

/** @param {{entry: Entry}} props */
function Face({ entry }) {
  const { image, job } = entry;
  if (image) {
    const held = image.review === "held" || image.review === "rejected";
    return html`<img src=${image.thumbnail_url} alt=${alt(entry)} loading="lazy" decoding="async" draggable=${false} onError=${() => renewOnce(entry, image.thumbnail_url)} />
      ${held && html`<span class="tile-mark">${t(`gallery.${image.review}`)}</span>`}`;
  }
  const sheet = job.images.find((each) => !each.deleted);
  const { text, fraction, over } = standing(job);
  const rows = job.rows ?? { total: 0, succeeded: 0, failed: 0 };
  const count = over ? fmt.number(rows.total) : `${fmt.number(job.progress.step)} / ${fmt.number(rows.total)}`;
  const told = [t(`gallery.${job.operation}`), over ? t("gallery.count", { n: rows.total, number: count }) : text, rows.failed && t("gallery.n_failed", { n: rows.failed })].filter(Boolean).join(", ");
  return html`${sheet
      ? html`<img src=${sheet.thumbnail_url} alt=${alt(entry)} loading="lazy" decoding="async" draggable=${false} onError=${() => renewOnce(entry, sheet.thumbnail_url)} />`
      : html`<span class="tile-words">${alt(entry)}</span>`}
    <span class=${`tile-count ${rows.failed ? "failed" : ""}`} aria-hidden="true" style=${over ? undefined : { "--done": String(fraction ?? 0) }}>${count}</span>
    <span class="sr-only">${told}</span>`;
}

/** Links that were tried again, since each runs out once. @type {Set<string>} */
const renewed = new Set();

/** @param {Entry} entry @param {string} url */
function renewOnce(entry, url) {
  if (renewed.has(url)) return;
  renewed.add(url);
  void renew(entry).catch(() => {});
}

/** Whether Shift is held while something is chosen; a checkbox does not tell. */
let shifted = false;
for (const name of /** @type {const} */ (["pointerdown", "pointerup", "keydown", "keyup", "click"])) {
  addEventListener(name, (event) => void (shifted = event.shiftKey), true);
}

// -- head -------------------------------------------------------------------------------------------------------------

function Head() {
  const due = useRef(0);
  const typed = useSignal(sought.value);
  const { n, atLeast } = total.value;
  const names = isGuest.value ? [] : /** @type {const} */ (["all", "painted", "edited", "uploads", "batches", "approved"]);
  const search = (/** @type {any} */ event) => {
    clearTimeout(due.current);
    typed.value = event.target.value;
    due.current = setTimeout(() => look(filter.value, typed.value.trim()), event.type === "change" ? 0 : SEARCH_MS);
  };
  const mayChoose = can("generate") || can("edit");
  return html`<header class="gallery-head">
    <h1>${t("shell.gallery")}</h1>
    <p class="muted gallery-count" role="status">${state.value !== "new" && t(filter.value === "batches" && !sought.value ? "gallery.batches_count" : "gallery.count", { n, number: fmt.number(n) + (atLeast ? "+" : "") })}</p>
    ${names.length > 0 &&
    html`<div class="gallery-filters"><${Segments} hideLabel label=${t("gallery.show")} value=${filter.value} options=${names.map((value) => ({ value, label: t(`gallery.${value}`) }))} onChange=${(/** @type {any} */ to) => look(to)} /></div>`}
    <label class="gallery-search">
      <span class="sr-only">${t("gallery.search")}</span><${Icon} name="search" />
      <input type="search" class="input" value=${typed.value} placeholder=${t("gallery.search")} maxlength="200" onInput=${search} onChange=${search} />
    </label>
    ${mayChoose && !isGuest.value && html`<${Button} class="gallery-choose" icon="check" pressed=${choosing.value} disabled=${!entries.value.length} onClick=${() => choose(!choosing.value)}>${t("gallery.choose")}<//>`}
  </header>`;
}

/** What is done with the chosen ones. */
function Chosen() {
  const all = entries.value.filter((entry) => chosen.value.has(entry.id));
  const n = all.length;
  const now = work.value;
  if (now) {
    return html`<div class="gallery-bar" role="group" aria-label=${t(`gallery.${now.what}`, now)}>
      <progress max=${now.of} value=${now.done} aria-label=${t(`gallery.${now.what}`, now)}></progress>
      <strong>${t(`gallery.${now.what}`, now)}</strong>
      <${Button} icon="x" onClick=${stop}>${t("gallery.stop")}<//>
    </div>`;
  }
  return html`<div class="gallery-bar" role="group" aria-label=${t("gallery.chosen", { n })}>
    <strong role="status">${t("gallery.chosen", { n })}</strong>
    <${Button} kind="quiet" onClick=${() => (chosen.value = new Set(n === entries.value.length ? [] : entries.value.map((entry) => entry.id)))}>${t(n === entries.value.length ? "gallery.none" : "gallery.every")}<//>
    <${Button} icon="download" disabled=${!n} label=${t("gallery.download")} onClick=${() => download(all)}>${t("gallery.download")}<//>
    <${Button} icon="trash-2" kind="danger" disabled=${!n} label=${t("gallery.delete")} onClick=${() => remove(all).catch(tell)}>${t("gallery.delete")}<//>
    <${Button} kind="quiet" icon="x" label=${t("gallery.end_choosing")} onClick=${() => choose(false)} />
  </div>`;
}

/** What could not be deleted, and why. */
function Kept() {
  const left = kept.value;
  const close = () => (kept.value = []);
  return html`<${Dialog} open=${left.length > 0} onClose=${close} label=${t("gallery.kept", { n: left.length })} class="kept">
    <h2>${t("gallery.kept", { n: left.length })}</h2>
    <ul>
      ${left.map(({ entry, why }) => {
        const shown = entry.image ?? entry.job.images[0];
        return html`<li key=${entry.id}>${shown ? html`<img src=${shown.thumbnail_url} alt="" />` : html`<span></span>`}<div><p class="kept-name">${alt(entry)}</p><p class="muted">${why}</p></div></li>`;
      })}
    </ul>
    <div class="row end"><${Button} onClick=${close}>${t("shell.close")}<//></div>
  <//>`;
}

// -- grid -------------------------------------------------------------------------------------------------------------

function Empty() {
  if (sought.value) return html`<div class="empty"><h2>${t("gallery.nothing_found", { text: sought.value })}</h2><p class="muted">${t("gallery.nothing_found_hint")}</p></div>`;
  const guest = isGuest.value;
  const to = guest || filter.value === "edited" || filter.value === "uploads" ? "edit" : "paint";
  return html`<div class="empty">
    <${Icon} name="images" />
    <h2>${t(`gallery.empty_${filter.value}`)}</h2>
    <p class="muted">${t(`gallery.empty_${filter.value}_hint`)}</p>
    <a class="button primary" href=${href(to)}><${Icon} name=${to === "edit" ? "square-pen" : "sparkles"} />${t(`gallery.go_${to}`)}</a>
  </div>`;
}

/** Move between tiles by the arrow keys. @param {KeyboardEvent} event */
function step(event) {
  const focused = /** @type {HTMLElement} */ (event.target).closest(".tile");
  const grid = focused?.parentElement;
  if (!focused || !grid || event.altKey || event.ctrlKey || event.metaKey) return;
  const all = [...grid.children];
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  const to = by && all[all.indexOf(focused) + by];
  if (!to) return;
  event.preventDefault();
  /** @type {HTMLElement | null} */ (to.querySelector("a, input"))?.focus();
}

/** @param {{hidden: boolean}} props */
function Grid({ hidden }) {
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  const foot = useRef(/** @type {HTMLElement | null} */ (null));
  const all = entries.value;

  useLayoutEffect(() => {
    if (!hidden) ref.current?.scrollTo({ top: place, behavior: "instant" });
  }, [hidden]);

  const wasFilter = useRef(filter.value + sought.value);
  useLayoutEffect(() => {
    if (wasFilter.current === filter.value + sought.value) return;
    wasFilter.current = filter.value + sought.value;
    place = 0;
    ref.current?.scrollTo({ top: 0, behavior: "instant" });
  }, [filter.value, sought.value]);

  // The foot comes near, or is still in sight after a page that was short.
  useEffect(() => {
    if (!foot.current || hidden || state.value === "failed") return;
    const seen = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && void readOn(), { root: ref.current, rootMargin: "1200px 0px" });
    seen.observe(foot.current);
    return () => seen.disconnect();
  }, [all.length, hidden, state.value]);

  const calm = () => place < TOP && !choosing.value && !route.value.id;
  useEffect(() => {
    if (calm()) waiting.value.size ? settle() : (settled.value = true);
    else settled.value = false;
  }, [choosing.value, route.value.id]);

  useEffect(() => {
    const press = (/** @type {KeyboardEvent} */ event) => {
      if (hidden || isTyping(event) || document.querySelector("dialog[open]") || !choosing.value) return;
      if (event.key === "Escape") choose(false);
      else if (event.key === "Delete" && chosen.value.size) void remove(entries.value.filter((entry) => chosen.value.has(entry.id))).catch(tell);
      else if (event.key === "a" && (event.ctrlKey || event.metaKey)) chosen.value = new Set(entries.value.map((entry) => entry.id));
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [hidden]);

  const scroll = (/** @type {any} */ event) => {
    if (hidden) return;
    place = event.target.scrollTop;
    if (!calm()) settled.value = false;
    else if (!settled.value) settle();
  };
  const show = () => {
    place = 0;
    settle();
    ref.current?.scrollTo({ top: 0 });
  };
  const isEmpty = state.value === "read" && !all.length;
  return html`<section class="gallery" hidden=${hidden} ref=${ref} onScroll=${scroll} onKeyDown=${step}>
    ${!hidden && html`<${Head} />`}
    ${note.value && html`<p class="gallery-note"><${Icon} name="info" />${note.value}</p>`}
    ${arrived.value > 0 && html`<div class="gallery-news"><${Button} kind="primary" onClick=${show}>${t("gallery.new", { n: arrived.value })}<//></div>`}
    ${isEmpty ? html`<${Empty} />` : html`<ul class="tiles" aria-label=${t("gallery.pictures")} aria-busy=${state.value === "reading"}>${all.map(tile)}${state.value === "new" || (state.value === "reading" && !all.length) ? BLANK.map((n) => html`<li key=${n} class="tile blank"></li>`) : null}</ul>`}
    <div class="gallery-foot" ref=${foot}>
      ${state.value === "failed" ? html`<p>${failureSaid()}</p><${Button} icon="refresh-cw" onClick=${readOn}>${t("gallery.again")}<//>` : hasMore.value && all.length > 0 && html`<${Icon} name="loader-circle" />`}
    </div>
    ${choosing.value && html`<${Chosen} />`}
    <${Kept} />
  </section>`;
}
const BLANK = Array.from({ length: 18 }, (_, n) => `blank-${n}`);

function failureSaid() {
  const error = /** @type {any} */ (failure.value);
  return error?.isLost === false ? error.message : t("shell.lost");
}

/** The grid; over it a batch or a picture, where the address names one. */
export default function Gallery() {
  const { id, query } = route.value;
  const batch = id.startsWith("job_") ? id : (query.in ?? "");
  const picture = id.startsWith("job_") ? "" : id;
  const last = useRef("");
  const wasBelow = useRef(false);
  useEffect(() => {
    if (state.value === "new") look(filter.value);
    else void refresh().catch(() => {});
    return () => choose(false);
  }, []);
  useEffect(() => {
    if (!picture) {
      wasBelow.current = true;
      const seen = last.current ? /** @type {HTMLElement | null} */ (document.querySelector(`[data-id="${CSS.escape(last.current)}"]`)) : null;
      seen?.scrollIntoView({ block: "nearest" });
      seen?.focus({ preventScroll: true });
    }
    last.current = picture;
  }, [picture]);
  // Who came from below goes back there, so that Back does not open the picture again.
  const close = () => (wasBelow.current ? history.back() : go("gallery", batch, {}, { replace: true }));
  return html`<${Grid} hidden=${batch !== ""} />${batch && html`<${Batch} key=${batch} id=${batch} />`}${picture && html`<${Detail} id=${picture} batch=${batch} onClose=${close} />`}`;
}
