/** What comes of the form: the picture as large as fits, how far it is, what to do with it, and this visit's strip. */
import { Button, html, Icon, isTyping, t, useLayoutEffect, useRef, useSignal } from "./ui.js";
import { can, cancelJob, health } from "./store.js";
import { go } from "./router.js";
import { JobBar, standing } from "./job.js";
import { again, attempt, cancelOthers, open, share, sidesOf, vary } from "./acting.js";
import { look, shots, shown } from "./looking.js";
import { Layered, TakeApart } from "./apart.js";
import { useLater } from "./later.js";
import "./words/results.js";

/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {import("./types.js").ImageView} ImageView */
/** @typedef {import("./looking.js").Shot} Shot */

/** What is looked at, and the strip of all others. @param {{onReuse: (job: JobView, image: ImageView | null) => void}} props */
export function Results({ onReuse }) {
  const current = shown.value;
  const strip = useRef(/** @type {HTMLElement | null} */ (null));
  if (!current) return null;
  /** Step through the pictures by arrow keys. @param {KeyboardEvent} event */
  const step = (event) => {
    const way = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    const next = shots.value[shots.value.findIndex((shot) => shot.key === current.key) + way];
    if (!way || !next || event.ctrlKey || event.altKey || event.metaKey || isTyping(event)) return;
    event.preventDefault();
    look(next.job.id, next.image?.id);
    const inStrip = strip.current?.contains(/** @type {Node} */ (event.target));
    if (inStrip) requestAnimationFrame(() => /** @type {HTMLElement | null} */ (strip.current?.querySelector("[aria-current=true]"))?.focus());
  };
  return html`<div class="results-rows" onKeyDown=${step}>
    ${current.job.rows
      ? html`<${Campaign} key=${current.job.id} job=${current.job} onReuse=${onReuse} />`
      : html`<${Large} key=${current.job.id} job=${current.job} image=${current.image} onReuse=${onReuse} />`}
    <div class="strip" ref=${strip}>
      <ul aria-label=${t("paint.visit")}>
        ${shots.value.map((shot) => html`<li key=${shot.key}><${Tile} shot=${shot} isShown=${shot.key === current.key} /></li>`)}
      </ul>
      ${open.value.length > 1 && html`<${Button} kind="quiet" icon="ban" onClick=${cancelOthers}>${t("paint.cancelOthers", { n: open.value.length - 1 })}<//>`}
    </div>
  </div>`;
}

const PIECES = () => import("./pieces.js");

/** The pieces of a campaign, whose code comes with the first one. @param {{job: JobView, onReuse: any}} props */
function Campaign(props) {
  const found = useLater(PIECES);
  return found ? html`<${found.Pieces} ...${props} />` : html`<div class="looked" aria-busy="true"></div>`;
}

/**
 * One picture, or the place where it will be.
 * @param {{job: JobView, image: ImageView | null, back?: unknown, more?: unknown, onReuse: (job: JobView, image: ImageView | null) => void}} props
 */
export function Large({ job, image, back, more, onReuse }) {
  const stands = standing(job);
  const isOpen = !stands.over;
  return html`<div class="looked">
    ${back}
    ${job.operation === "layers" && image ? html`<${Layered} job=${job} />` : html`<${Canvas} job=${job} image=${image} />`}
    <div class="below">
      ${isOpen && html`<${JobBar} job=${job} onCancel=${() => cancelJob(job.id)} />`}
      ${image && html`<${Actions} job=${job} image=${image} more=${more} onReuse=${onReuse} />`}
      ${!isOpen && image && job.held > 0 && html`<p class="note"><${Icon} name="eye" /> ${t("paint.held", { n: job.held })}</p>`}
      <${Notes} job=${job} />
    </div>
  </div>`;
}

/** The canvas: noise, then the preview, then the picture, in a frame that has its shape from the beginning. @param {{job: JobView, image: ImageView | null}} props */
function Canvas({ job, image }) {
  const [width, height] = image ? [image.width, image.height] : sidesOf(job);
  const isThere = useSignal("");
  const isOpen = !standing(job).over;
  const alt = job.request?.prompt || t("paint.result");
  const arrived = isThere.value === image?.id;
  return html`<div class="canvas">
    <figure class=${`frame ${isOpen ? "growing" : ""}`} style=${{ "--ratio": width / height }} aria-busy=${isOpen}>
      ${(isOpen || (image && !arrived)) && html`<${Preview} url=${job.progress.preview_url} />`}
      ${image && html`<img key=${image.id} class=${`final ${arrived ? "there" : ""}`} src=${image.url} alt=${alt} width=${image.width} height=${image.height} onLoad=${() => (isThere.value = image.id)} />`}
      ${!image && !isOpen && html`<${Ending} job=${job} />`}
    </figure>
  </div>`;
}

/** The newest preview that has come: the next one may be gone before it is there. @param {{url: string | null}} props */
function Preview({ url }) {
  const good = useSignal("");
  const all = [...new Set([good.value, url ?? ""])].filter(Boolean);
  return all.map((each) => html`<img key=${each} class="preview" src=${each} alt=${t("paint.preview")} hidden=${each !== good.value} onLoad=${() => (good.value = each)} />`);
}

/** Why there is no picture, and the one button that helps. @param {{job: JobView}} props */
function Ending({ job }) {
  const busy = useSignal(false);
  const retry = async () => {
    busy.value = true;
    await attempt(() => again(job));
    busy.value = false;
  };
  if (job.state === "review") return html`<figcaption class="ending"><${Icon} name="eye" /><strong>${t("paint.held", { n: job.held })}</strong><p class="muted">${t("paint.held.hint")}</p></figcaption>`;
  const { text, detail } = standing(job);
  return html`<figcaption class=${`ending ${job.state}`} role=${job.state === "failed" ? "alert" : undefined}>
    <${Icon} name=${job.state === "failed" ? "triangle-alert" : "ban"} />
    <strong>${text}</strong>
    ${detail && html`<p>${detail}</p>`}
    <${Button} icon="rotate-ccw" busy=${busy.value} onClick=${retry}>${t("job.again")}<//>
  </figcaption>`;
}

/** What to do with a picture. @param {{job: JobView, image: ImageView, more?: unknown, onReuse: (job: JobView, image: ImageView) => void}} props */
function Actions({ job, image, more, onReuse }) {
  const busy = useSignal(false);
  const varied = async () => {
    busy.value = true;
    await attempt(() => vary(job, image));
    busy.value = false;
  };
  const extension = image.mime_type.replace("image/", "");
  const facts = [image.seed === null ? "" : t("paint.seed.is", { seed: String(image.seed) }), `${image.width} × ${image.height}`];
  return html`<div class="actions" role="group" aria-label=${t("paint.actions")}>
    ${can("edit") && html`<${Button} icon="square-pen" onClick=${() => go("edit", image.id)}>${t("paint.edit")}<//>`}
    ${can("edit") && html`<${TakeApart} image=${image} />`}
    ${more ?? (can("generate") && job.operation !== "layers" && html`<${Button} icon="shuffle" busy=${busy.value} onClick=${varied}>${t("paint.vary")}<//>`)}
    <a class="button plain" href=${image.url} download=${`${image.id}.${extension}`}><${Icon} name="download" /><span>${t("paint.download")}</span></a>
    <${Button} icon="link" onClick=${() => share(image)}>${t("paint.link")}<//>
    ${job.operation !== "layers" && html`<${Button} kind="quiet" icon="sliders-horizontal" label=${t("paint.reuse")} onClick=${() => onReuse(job, image)} />`}
    <span class="muted facts">${facts.filter(Boolean).join(" · ")}</span>
  </div>`;
}

/** What the server has to say about a job. @param {{job: JobView}} props */
export function Notes({ job }) {
  const state = health.value?.state ?? "ready";
  const ails = job.state === "queued" && !["ready", "busy"].includes(state) ? [health.value?.message ?? ""] : [];
  const notes = [...ails, ...job.warnings, ...(job.cached ? [t("paint.cached")] : [])];
  if (!notes.length) return null;
  return html`<details class="notes">
    <summary title=${t("paint.notes")}><${Icon} name="info" /><span>${notes[0]}</span>${notes.length > 1 && html`<b>+${notes.length - 1}</b>`}</summary>
    <ul>${notes.map((note) => html`<li key=${note}>${note}</li>`)}</ul>
  </details>`;
}

/** One of this visit's results. @param {{shot: Shot, isShown: boolean}} props */
function Tile({ shot: { job, image }, isShown }) {
  const stands = standing(job);
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    if (isShown) ref.current?.scrollIntoView?.({ block: "nearest", inline: "nearest" });
  }, [isShown]);
  const prompt = job.request?.prompt ?? job.request?.brief ?? "";
  const picture = image?.thumbnail_url ?? (stands.over ? job.rows && job.images[0]?.thumbnail_url : job.progress.preview_url);
  const name = stands.over && stands.ok ? prompt || t("paint.result") : `${stands.text}: ${prompt}`;
  const wanted = Number(job.rows?.total ?? job.request?.n ?? 1);
  return html`<button type="button" ref=${ref} class=${`thumb tile ${job.state}`} aria-current=${isShown ? "true" : undefined} aria-label=${name} title=${name} onClick=${() => look(job.id, image?.id)}>
    ${picture ? html`<img src=${picture} alt="" draggable=${false} />` : html`<${Icon} name=${iconOf(job)} />`}
    ${wanted > 1 && !image && (job.rows || !stands.over) && html`<b class="badge">${wanted}</b>`}
    ${!stands.over && html`<progress max="1" value=${stands.fraction ?? undefined} aria-hidden="true"></progress>`}
  </button>`;
}

/** @param {JobView} job */
function iconOf(job) {
  if (job.state === "failed") return "triangle-alert";
  if (job.state === "cancelled") return "ban";
  if (job.state === "review") return "eye";
  return job.rows ? "layers" : job.state === "queued" ? "clock" : "sparkles";
}
