/** One picture with all that is known of it, and what can be done with it. */
import { ApiError, request, shareable } from "./api.js";
import { Layered, TakeApart } from "./apart.js";
import { rowPictures } from "./batch.js";
import { fileName } from "./choice.js";
import { Compare } from "./compare.js";
import { alt, facts, placeOf, word } from "./facts.js";
import { JobBar } from "./job.js";
import { drop, entries, hasMore, readOn } from "./listing.js";
import { Look } from "./look.js";
import { go, href } from "./router.js";
import { can, cancelJob, isGuest, jobs, onEvent } from "./store.js";
import { Button, confirm, copy, Dialog, html, Icon, isTyping, Segments, t, useEffect, useRef, useSignal } from "./ui.js";

/** @typedef {import("./types.js").ListedImage} ListedImage */
/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {{image: ListedImage, ancestors: ListedImage[], descendants: ListedImage[], job: JobView | null}} Known */

/** What was read of pictures, so that a step back shows it at once. @type {Map<string, Known>} */
const known = new Map();
const MOST_KNOWN = 50;

/** Read a picture with its history and its job. Throws ApiError. @param {string} id */
async function read(id) {
  const chain = await request("GET", `/v1/images/${encodeURIComponent(id)}/chain`);
  const { job_id: job } = chain.image;
  const made = job ? await request("GET", `/v1/jobs/${job}`).catch(() => null) : null;
  known.set(id, { image: chain.image, ancestors: chain.ancestors, descendants: chain.descendants, job: made });
  for (const old of [...known.keys()].slice(0, -MOST_KNOWN)) known.delete(old);
}

/** Return the ids of the pictures beside which one stands, in their order. @param {string} batch */
const line = (batch) => (batch ? rowPictures.value : entries.value.flatMap((entry) => (entry.image ? [entry.id] : [])));

/** @param {{id: string, batch: string, onClose: () => void}} props `batch` is the one whose rows are stepped through */
export function Detail({ id, batch, onClose }) {
  const found = useSignal(/** @type {Known | undefined} */ (known.get(id)));
  const wrong = useSignal("");
  const again = useSignal(0);
  const own = useRef(id);
  own.current = id;

  useEffect(() => {
    found.value = known.get(id);
    wrong.value = "";
    read(id).then(
      () => own.current === id && (found.value = known.get(id)),
      (error) => {
        if (own.current !== id || (found.value && !(error instanceof ApiError && error.status === 404))) return;
        found.value = undefined;
        wrong.value = error instanceof ApiError && !error.isLost ? error.message : t("shell.lost");
      },
    );
  }, [id, again.value]);
  useEffect(
    () =>
      onEvent("image", (image) => {
        if (image.deleted && image.id === own.current) wrong.value = t("gallery.gone");
        else if (image.parent_ids?.includes(own.current) || image.id === own.current) again.value += 1;
      }),
    [],
  );

  const ids = line(batch);
  const at = ids.indexOf(id);
  const near = (/** @type {1 | -1} */ by) => (at < 0 ? undefined : ids[at + by]);
  const step = (/** @type {1 | -1} */ by) => near(by) && show(/** @type {string} */ (near(by)), batch);
  useEffect(() => {
    if (!found.value) return;
    const beside = entries.value.filter((each) => each.id === near(1) || each.id === near(-1));
    for (const { image: next } of beside) if (next) new Image().src = next.url;
  }, [id, found.value !== undefined]);
  useEffect(() => {
    if (!batch && at >= ids.length - 3 && hasMore.value) void readOn();
  }, [at, ids.length]);

  const keys = useRef((/** @type {KeyboardEvent} */ _) => {});
  keys.current = (event) => {
    const isSlider = event.target instanceof HTMLElement && event.target.matches("[type=range], [type=radio]");
    if (event.defaultPrevented || isTyping(event) || isSlider || document.querySelectorAll("dialog[open]").length > 1 || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else return;
    event.preventDefault();
  };
  useEffect(() => {
    const press = (/** @type {KeyboardEvent} */ event) => keys.current(event);
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  const entry = entries.value.find((each) => each.id === id)?.image;
  const image = found.value?.image.id === id ? found.value.image : entry;
  const gone = () => {
    const next = near(1) ?? near(-1);
    known.delete(id);
    drop([id]);
    if (next) show(next, batch);
    else onClose();
  };
  return html`<${Dialog} open label=${image ? alt({ image }) : t("gallery.picture")} class="detail" onClose=${onClose}>
    <div class="detail-body" tabindex="-1" autofocus>
      ${wrong.value || !image
        ? html`<div class="detail-stage">${wrong.value && html`<p class="detail-wrong" role="alert">${wrong.value}</p>`}</div>`
        : html`<${Stage} image=${image} known=${found.value} onSwipe=${step} onStale=${() => (again.value += 1)} />`}
      <div class="detail-side">
        <div class="detail-top">
          <${Button} kind="quiet" icon="chevron-left" keys="←" label=${t("gallery.before")} disabled=${!near(-1)} onClick=${() => step(-1)} />
          <${Button} kind="quiet" icon="chevron-right" keys="→" label=${t("gallery.next")} disabled=${!near(1)} onClick=${() => step(1)} />
          <${Button} kind="quiet" icon="x" keys="Esc" label=${t("shell.close")} onClick=${onClose} />
        </div>
        ${image && !wrong.value && html`<${Side} key=${id} image=${image} known=${found.value} batch=${batch} onGone=${gone} />`}
      </div>
    </div>
  <//>`;
}

/** Show another picture in the place of the one that is open, so that Back closes both. @param {string} id @param {string} [batch] */
function show(id, batch) {
  go("gallery", id, batch ? { in: batch } : {}, { replace: true });
}

/** The picture, alone or with the one it was made from. @param {{image: ListedImage, known?: Known, onSwipe: (by: 1 | -1) => void, onStale: () => void}} props */
function Stage({ image, known: all, onSwipe, onStale }) {
  const chosen = useSignal("");
  const retried = useRef("");
  const before = all?.ancestors.find((each) => each.id === image.parent_ids[0]);
  const place = before && all ? placeOf(before, image, all.job) : null;
  const stale = () => {
    if (retried.current === image.id) return;
    retried.current = image.id; // its link may have run out
    onStale();
  };
  const job = image.operation === "layers" ? all?.job : null;
  const usual = job && image.layer === null ? "layers" : "one"; // what layers make together is shown as them
  const views = [
    { value: "one", label: t("gallery.alone"), icon: "image" },
    ...(place ? [{ value: "both", label: t("gallery.compare"), icon: "columns-2" }] : []),
    ...(job ? [{ value: "layers", label: t("gallery.layers"), icon: "layers" }] : []),
  ];
  const view = views.some((each) => each.value === chosen.value) ? chosen.value : usual;
  return html`<div class="detail-stage">
    ${view === "layers" && job
      ? html`<${Layered} job=${job} />`
      : view === "both" && before && place
      ? html`<div class="detail-both"><div style=${{ "--ratio": String(image.width / image.height) }}><${Compare} before=${before.url} after=${image.url} width=${image.width} height=${image.height} place=${place} alt=${alt({ image })} /></div></div>`
      : html`<${Look} id=${image.id} src=${image.url} thumbnail=${image.thumbnail_url} width=${image.width} height=${image.height} alt=${alt({ image })} onSwipe=${onSwipe} onError=${stale} />`}
    ${views.length > 1 && html`<div class="detail-views"><${Segments} hideLabel label=${t("gallery.view")} value=${view} options=${views} onChange=${(/** @type {string} */ to) => (chosen.value = to)} /></div>`}
  </div>`;
}

/** @param {{image: ListedImage, known?: Known, batch: string, onGone: () => void}} props */
function Side({ image, known: all, batch, onGone }) {
  const copied = useSignal("");
  const wrong = useSignal("");
  const busy = useSignal("");
  const varied = useSignal(/** @type {string | null} */ (null));
  const job = all?.job ?? null;
  const asked = /** @type {Record<string, any> | null} */ (job?.request ?? null);
  const isSheet = image.operation === "batch" || image.operation === "campaign";
  const isEdit = ["edit", "inpaint", "outpaint"].includes(image.operation ?? "");
  const mayChange = can("edit") && !isSheet;
  const mayAsk = asked && image.seed !== null && (image.operation === "generate" ? can("generate") : isEdit && can("edit"));
  const mayDelete = !isGuest.value && (can("generate") || can("edit"));

  const attempt = async (/** @type {string} */ what, /** @type {() => Promise<void>} */ run) => {
    wrong.value = "";
    busy.value = what;
    try {
      await run();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      wrong.value = error.isLost ? t("shell.lost") : error.message;
    } finally {
      busy.value = "";
    }
  };
  const keep = async (/** @type {string} */ what, /** @type {string} */ text) => {
    await copy(text, t("gallery.copied"));
    copied.value = what;
    setTimeout(() => copied.value === what && (copied.value = ""), 2500);
  };
  const vary = () =>
    attempt("vary", async () => {
      const { vary: like } = await import("./acting.js");
      varied.value = (job && (await like(job, image))?.id) ?? null;
    });
  const remove = () =>
    attempt("delete", async () => {
      const agreed = await confirm({ title: t("gallery.ask_delete", { n: 1 }), text: t("gallery.no_undo"), action: t("gallery.delete"), danger: true });
      if (!agreed) return;
      await request("DELETE", `/v1/images/${image.id}`);
      onGone();
    });
  const reuse = () => {
    if (image.operation === "generate") return go("paint", "", { from: image.id });
    return attempt("reuse", async () => go("edit", await (await import("./restore.js")).restore(asked ?? {}, image.seed)));
  };
  return html`<div class="detail-scroll">
      ${image.prompt
        ? html`<div class="detail-prompt"><p>${image.prompt}</p><${Button} kind="quiet" icon=${copied.value === "prompt" ? "check" : "copy"} label=${t(copied.value === "prompt" ? "gallery.copied" : "gallery.copy_prompt")} onClick=${() => keep("prompt", image.prompt ?? "")} /></div>`
        : html`<p class="muted">${image.operation ? t("gallery.no_prompt") : t("gallery.uploaded")}</p>`}
      ${varied.value && html`<${Varied} id=${varied.value} />`}
      ${wrong.value && html`<p class="wrong" role="alert">${wrong.value}</p>`}
      <div class="detail-acts">
        ${mayChange && html`<a class="button primary" href=${href("edit", image.id)}><${Icon} name="square-pen" /><span>${t("gallery.edit")}</span></a>`}
        ${mayAsk && html`<${Button} class="wide" icon="sliders-horizontal" busy=${busy.value === "reuse"} onClick=${reuse}>${t("gallery.reuse")}<//>`}
        ${mayAsk && html`<${Button} icon="shuffle" busy=${busy.value === "vary"} onClick=${vary}>${t("gallery.vary")}<//>`}
        <a class="button" href=${image.url} download=${fileName(image)}><${Icon} name="download" /><span>${t("gallery.download")}</span></a>
        <${Button} icon=${copied.value === "link" ? "check" : "link"} onClick=${() => keep("link", shareable(image.url))}>${t(copied.value === "link" ? "gallery.copied" : "gallery.copy_link")}<//>
        ${mayChange && html`<${TakeApart} image=${image} />`}
        ${mayDelete && html`<${Button} kind="danger" icon="trash-2" busy=${busy.value === "delete"} onClick=${remove}>${t("gallery.delete")}<//>`}
      </div>
      <p class="sr-only" role="status">${copied.value && t("gallery.copied")}</p>
      ${all && html`<${History} all=${all} batch=${batch} />`}
      ${!batch && (image.parent_id || isSheet) && html`<a class="detail-batch" href=${href("gallery", image.parent_id ?? image.job_id ?? "")}><${Icon} name="layers" />${t("gallery.see_batch")}</a>`}
      <dl class="facts">${facts(image, job).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      ${job && job.warnings.length > 0 && html`<section class="detail-notes"><h3 class="label">${t("gallery.notes")}</h3><ul>${job.warnings.map((each) => html`<li key=${each}>${each}</li>`)}</ul></section>`}
    </div>`;
}

/** What the picture was made from, and what was made from it. @param {{all: Known, batch: string}} props */
function History({ all: { ancestors, image, descendants }, batch }) {
  if (!ancestors.length && !descendants.length) return null;
  return html`<section class="detail-history"><h3 class="label">${t("gallery.history")}</h3>
    <ol>${[...ancestors, image, ...descendants].map(
      (each) => html`<li key=${each.id}><a class="thumb" href=${href("gallery", each.id)} aria-current=${each.id === image.id ? "true" : undefined} title=${each.operation ? word("op", each.operation) : t("gallery.uploaded")}
        onClick=${(/** @type {MouseEvent} */ event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault();
          show(each.id, rowPictures.value.includes(each.id) ? batch : "");
        }}><img src=${each.thumbnail_url} alt=${alt({ image: each })} loading="lazy" /></a></li>`,
    )}</ol>
  </section>`;
}

/** A variation that is being painted, or is there. @param {{id: string}} props */
function Varied({ id }) {
  const job = jobs.value.get(id);
  const made = job?.images.find((each) => !each.deleted);
  if (!job) return null;
  if (job.state !== "succeeded" || !made) return html`<${JobBar} job=${job} onCancel=${() => cancelJob(id)} />`;
  return html`<a class="detail-varied" href=${href("gallery", made.id)} onClick=${(/** @type {MouseEvent} */ event) => (event.preventDefault(), show(made.id))}>
    <img src=${made.thumbnail_url} alt="" /><span>${t("gallery.variation_done")}</span><${Icon} name="chevron-right" />
  </a>`;
}
