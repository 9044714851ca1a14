/** A picture in layers: taking it apart, and looking at what came of it, each layer switched on and off. */
import { Button, Dialog, Field, html, Icon, Segments, Slider, t, toast, useEffect, useRef, useSignal } from "./ui.js";
import { ApiError, request } from "./api.js";
import { cancelJob, isGuest, jobs, me, retryJob, submit, visit } from "./store.js";
import { JobBar, standing } from "./job.js";
import "./words/layers.js";

/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {import("./types.js").ImageView} ImageView */

const MOST = 8;
const FORM = { layers: 4, resolution: "", prompt: "" };

/** Return the newest job of this visit that takes a picture apart. @param {string} image */
function jobOf(image) {
  const all = visit.value.map((id) => jobs.value.get(id));
  return all.find((job) => job?.operation === "layers" && [job.request?.image].flat()[0] === image);
}

/** @param {{image: {id: string, width: number, height: number}, open: boolean, onClose: () => void}} props */
export function LayersDialog({ image, open, onClose }) {
  const form = useSignal(FORM);
  const isAnew = useSignal(false);
  const busy = useSignal(false);
  const wrong = useSignal(/** @type {{param: string | null, message: string} | null} */ (null));
  const job = isAnew.value ? undefined : jobOf(image.id);
  /** @param {() => Promise<JobView>} ask */
  const attempt = async (ask) => {
    if (busy.value) return;
    busy.value = true;
    wrong.value = null;
    try {
      await ask();
      isAnew.value = false;
      if (isGuest.value) me.value = await request("GET", "/v1/me"); // a link is good for so many changes
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      wrong.value = { param: error.param, message: error.message };
    } finally {
      busy.value = false;
    }
  };
  const send = () => {
    const { layers, resolution, prompt } = form.value;
    const params = { operation: "layers", image: image.id, layers, resolution: resolution ? Number(resolution) : undefined, prompt: prompt.trim() || undefined };
    return attempt(() => submit(params));
  };
  return html`<${Dialog} open=${open} onClose=${onClose} label=${t("layers.title")} class="layers">
    <div class="layers-head"><h2>${t("layers.title")}</h2><${Button} kind="quiet" icon="x" label=${t("shell.close")} onClick=${onClose} /></div>
    ${job ? html`<${Progress} job=${job} busy=${busy.value} onRetry=${() => attempt(() => retryJob(job))} onAnew=${() => (isAnew.value = true)} />`
      : html`<${Form} form=${form} busy=${busy.value} wrong=${wrong.value} onSend=${send} />`}
  <//>`;
}

/**
 * @param {{form: import("@preact/signals").Signal<typeof FORM>, busy: boolean, wrong: {param: string | null, message: string} | null, onSend: () => void}} props
 */
function Form({ form, busy, wrong, onSend }) {
  const { layers, resolution, prompt } = form.value;
  const change = (/** @type {Partial<typeof FORM>} */ more) => (form.value = { ...form.value, ...more });
  const sides = ["", "640", "1024"].map((value) => ({ value, label: value || t("layers.usual") }));
  return html`<form class="layers-form" noValidate onSubmit=${(/** @type {Event} */ event) => (event.preventDefault(), event.stopPropagation(), onSend())}>
    <p class="muted">${t("layers.about")}</p>
    <${Slider} label=${t("layers.count")} value=${layers} min=${2} max=${MOST} onInput=${(/** @type {number} */ n) => change({ layers: n })} />
    <${Segments} label=${t("layers.resolution")} value=${resolution} options=${sides} onChange=${(/** @type {string} */ side) => change({ resolution: side })} />
    <${Field} label=${t("layers.prompt")} hint=${t("layers.prompt.hint")} error=${wrong?.param === "prompt" ? wrong.message : null}>
      ${(/** @type {any} */ tied) => html`<textarea ...${tied} rows="2" maxlength="8000" value=${prompt} onInput=${(/** @type {any} */ event) => change({ prompt: event.target.value })}></textarea>`}
    <//>
    ${wrong && wrong.param !== "prompt" && html`<p class="wrong" role="alert">${wrong.message}</p>`}
    <${Button} kind="primary" type="submit" icon="layers" busy=${busy} disabled=${me.value?.jobs_left === 0}>${t("layers.go")}<//>
  </form>`;
}

/** What comes of it. @param {{job: JobView, busy: boolean, onRetry: () => void, onAnew: () => void}} props */
function Progress({ job, busy, onRetry, onAnew }) {
  const isThere = layersOf(job).length > 0;
  const isOver = standing(job).over;
  return html`
    ${isThere && isOver ? html`<${Stack} job=${job} />` : html`<${JobBar} job=${job} busy=${busy} onCancel=${() => cancelJob(job.id)} onRetry=${onRetry} />`}
    ${isOver && job.warnings.map((each) => html`<p key=${each} class="hint"><${Icon} name="info" /> ${each}</p>`)}
    ${isOver && html`<div class="row end"><${Button} icon="refresh-cw" onClick=${onAnew}>${t("layers.anew")}<//></div>`}`;
}

/** Return the layers of a job that are there, the backmost first. @param {JobView} job */
function layersOf(job) {
  const layers = job.images.filter((image) => image.layer !== null && !image.deleted);
  return layers.sort((a, b) => Number(a.layer) - Number(b.layer));
}

/** Return pictures once they have come. @param {ImageView[]} images */
function useLoaded(images) {
  const loaded = useSignal(/** @type {ReadonlyMap<string, HTMLImageElement>} */ (new Map()));
  const failed = useSignal(false);
  useEffect(() => {
    let isLive = true;
    const read = async (/** @type {ImageView} */ { id, url }) => {
      const picture = Object.assign(new Image(), { src: url });
      await picture.decode();
      if (isLive) loaded.value = new Map(loaded.peek()).set(id, picture);
    };
    Promise.all(images.filter(({ id }) => !loaded.peek().has(id)).map(read)).catch(() => isLive && (failed.value = true));
    return () => void (isLive = false);
  }, [images.map((each) => each.id).join()]);
  return { loaded: loaded.value, failed: failed.value };
}

/** The layers, drawn one on the other, and their list with the one in front on top. @param {{job: JobView}} props */
export function Stack({ job }) {
  const layers = layersOf(job);
  const hidden = useSignal(/** @type {ReadonlySet<string>} */ (new Set()));
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const { loaded, failed } = useLoaded(layers);
  const [{ width, height }] = layers.length ? layers : [{ width: 1, height: 1 }];
  const shown = layers.filter(({ id }) => !hidden.value.has(id));
  const isComplete = shown.every(({ id }) => loaded.has(id));
  useEffect(() => {
    const pen = canvas.current?.getContext("2d");
    if (!pen) return;
    pen.clearRect(0, 0, width, height);
    for (const { id } of shown) {
      const picture = loaded.get(id);
      if (picture) pen.drawImage(picture, 0, 0, width, height);
    }
  }, [loaded, hidden.value]);
  const turn = (/** @type {string} */ id, /** @type {boolean} */ on) => {
    const next = new Set(hidden.value);
    if (on) next.delete(id);
    else next.add(id);
    hidden.value = next;
  };
  const save = () => canvas.current?.toBlob((blob) => blob && saveAs(blob, `${job.id}-${shown.map((each) => each.layer).join("-")}.png`));
  const said = t("layers.shown", { n: shown.length, of: layers.length });
  return html`<div class="stack">
    <div class="stack-stage" style=${{ "--ratio": width / height }}>
      <canvas ref=${canvas} width=${width} height=${height} role="img" aria-label=${said} data-shown=${isComplete ? shown.map((each) => each.layer).join(" ") : "loading"}></canvas>
    </div>
    <div class="stack-side">
      <p role="status">${failed ? t("layers.failed") : said}</p>
      <ol aria-label=${t("layers.list")} reversed>
        ${[...layers].reverse().map((each) => html`<${Layer} key=${each.id} image=${each} of=${layers.length} isShown=${!hidden.value.has(each.id)} onTurn=${turn} />`)}
      </ol>
      <div class="stack-acts" role="group" aria-label=${t("layers.downloads")}>
        <${Button} icon="download" disabled=${!shown.length || !isComplete} onClick=${save}>${t("layers.save")}<//>
        ${job.archive_url && html`<a class="button plain" href=${job.archive_url} download><${Icon} name="folder-down" /><span>ZIP</span></a>`}
        ${documents(job).map(([name, url]) => html`<a key=${name} class="button plain" href=${url} download><${Icon} name="layers" /><span>${name}</span></a>`)}
      </div>
    </div>
  </div>`;
}

/** Return the documents that designers open, where the server makes them: each with its address. @param {JobView} job @returns {[name: string, url: string][]} */
function documents(job) {
  const url = job.archive_url;
  return url ? job.archive_formats.filter((each) => each !== "zip").map((each) => [each.toUpperCase(), `${url}&format=${each}`]) : [];
}

/** @param {{image: ImageView, of: number, isShown: boolean, onTurn: (id: string, on: boolean) => void}} props */
function Layer({ image, of, isShown, onTurn }) {
  const n = Number(image.layer);
  const name = n ? t("layers.layer", { n }) : t("layers.back");
  const where = n === of - 1 ? t("layers.front") : "";
  const label = t("layers.download", { name });
  return html`<li>
    <label class="check"><input type="checkbox" checked=${isShown} onChange=${(/** @type {any} */ event) => onTurn(image.id, event.target.checked)} />
      <span class="thumb"><img src=${image.thumbnail_url} alt="" /></span><span>${name}<small class="muted">${where}</small></span></label>
    <a class="button quiet lone" href=${image.url} download=${`${image.id}-${n ? `layer-${n}` : "background"}.${image.mime_type.split("/")[1]}`} aria-label=${label} title=${label}><${Icon} name="download" /></a>
  </li>`;
}

/** Save a file, as if a link to it had been clicked. @param {Blob} blob @param {string} name */
function saveAs(blob, name) {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  toast(t("layers.saved"));
}
