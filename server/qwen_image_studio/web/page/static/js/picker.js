/** Picking a picture: a file that is chosen, dropped or pasted, or one of those that are there. */
import { html, Button, Dialog, Icon, t, useEffect, useRef, useSignal } from "./ui.js";
import { ApiError, request } from "./api.js";
import { onEvent, upload } from "./store.js";
import "./words/picker.js";

/** @typedef {import("./types.js").ListedImage} ListedImage */
/** @typedef {import("./types.js").ImageRecord} ImageRecord */

const PAGE = 12;

/** Return the first file of a drop or a paste. @param {DataTransfer | null} data @returns {File | undefined} */
const fileOf = (data) => [...(data?.files ?? [])][0];

/** Return whether what is dragged has files. @param {DragEvent} event */
const hasFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;

/** Whoever takes files, the one in front last: a dialog goes before the screen below it. @type {object[]} */
const takers = [];

/**
 * Take files that are dropped anywhere in the window or pasted, as long as the caller is shown.
 * @param {(file: File) => void} take
 * @returns {import("@preact/signals").Signal<boolean>} Whether one hangs over the window.
 */
export function useFiles(take) {
  const over = useSignal(false);
  const latest = useRef(take);
  latest.current = take;
  useEffect(() => {
    const stop = new AbortController();
    takers.push(stop);
    /** @param {string} name @param {(event: any) => void} run */
    const on = (name, run) => addEventListener(name, (event) => takers.at(-1) === stop && run(event), { signal: stop.signal });
    on("dragover", (/** @type {DragEvent} */ event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      over.value = true;
    });
    on("dragleave", (/** @type {DragEvent} */ event) => event.relatedTarget === null && (over.value = false));
    on("drop", (/** @type {DragEvent} */ event) => {
      if (!hasFiles(event)) return;
      event.preventDefault(); // else the browser leaves the page for the file
      over.value = false;
      const file = fileOf(event.dataTransfer);
      if (file) latest.current(file);
    });
    on("paste", (/** @type {ClipboardEvent} */ event) => {
      const file = fileOf(event.clipboardData);
      if (!file) return; // text goes where it is pasted
      event.preventDefault();
      latest.current(file);
    });
    return () => {
      stop.abort();
      takers.splice(takers.indexOf(stop), 1);
    };
  }, []);
  return over;
}

/**
 * Send files one at a time and tell how it stands.
 * @param {(image: ImageRecord) => void} onPick
 */
export function useUpload(onPick) {
  const busy = useSignal(false);
  const problem = useSignal("");
  /** @param {File} file */
  const send = async (file) => {
    if (busy.value) return;
    busy.value = true;
    problem.value = "";
    try {
      onPick(await upload(file));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      problem.value = error.message;
    } finally {
      busy.value = false;
    }
  };
  return { busy, problem, send };
}

/** Show a picture of the list as a button. @param {{image: ListedImage, onPick: (image: ListedImage) => void}} props */
function Pick({ image, onPick }) {
  const label = image.prompt || t("picker.uploaded", { size: `${image.width} × ${image.height}` });
  return html`<li>
    <button type="button" class="thumb" title=${label} onClick=${() => onPick(image)}>
      <img src=${image.thumbnail_url} alt=${label} loading="lazy" draggable=${false} />
    </button>
  </li>`;
}

/** List the newest pictures, with a search. @param {{onPick: (image: ListedImage) => void}} props */
function Newest({ onPick }) {
  const found = useSignal(/** @type {ListedImage[] | null} */ (null));
  const more = useSignal(false);
  const words = useSignal("");
  const turn = useRef(0); // an answer that comes late does not replace a newer one
  /** @param {boolean} further */
  const read = async (further) => {
    const mine = ++turn.current;
    const after = further ? found.value?.at(-1)?.id : undefined;
    const q = words.value.trim() || undefined;
    try {
      const page = await request("GET", "/v1/images", { query: { limit: PAGE, q, after } });
      if (mine !== turn.current) return;
      // What is held or rejected is listed for reviewers, and is no input of anything.
      const usable = page.data.filter((/** @type {ListedImage} */ image) => !image.deleted && ["none", "approved"].includes(image.review));
      found.value = after ? [...(found.value ?? []), ...usable] : usable;
      more.value = page.has_more;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (mine === turn.current) found.value ??= [];
    }
  };
  useEffect(() => {
    read(false);
    return onEvent("image", () => found.value && found.value.length <= PAGE && read(false));
  }, []);
  useEffect(() => {
    if (found.value === null) return undefined;
    const soon = setTimeout(read, 250, false);
    return () => clearTimeout(soon);
  }, [words.value]);
  if (found.value === null || (!found.value.length && !words.value)) return null;
  return html`<section class="picker-newest">
    <div class="picker-head">
      <h2>${t("picker.newest")}</h2>
      <label class="picker-search"><${Icon} name="search" /><span class="sr-only">${t("picker.search")}</span>
        <input class="input" type="search" placeholder=${t("picker.search")} value=${words.value}
          onInput=${(/** @type {InputEvent} */ event) => (words.value = /** @type {HTMLInputElement} */ (event.target).value)} />
      </label>
    </div>
    ${found.value.length
      ? html`<ul class="picker-grid" aria-label=${t("picker.newest")}>${found.value.map((image) => html`<${Pick} key=${image.id} image=${image} onPick=${onPick} />`)}</ul>`
      : html`<p class="muted" role="status">${t("picker.nothing", { words: words.value })}</p>`}
    ${more.value && html`<${Button} kind="quiet" onClick=${() => read(true)}>${t("picker.more")}<//>`}
  </section>`;
}

/**
 * Let people pick a picture: a drop zone, and the newest ones below it.
 * @param {{onPick: (image: ImageRecord) => void}} props
 */
export function Picker({ onPick }) {
  const { busy, problem, send } = useUpload(onPick);
  const over = useFiles(send);
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  return html`<div class="picker">
    <div class="picker-drop" data-over=${over.value}>
      <${Icon} name="image-plus" />
      <p class="muted">${t(matchMedia("(pointer: coarse)").matches ? "picker.how.touch" : "picker.how")}</p>
      <${Button} kind="primary" icon="upload" busy=${busy.value} onClick=${() => input.current?.click()}>${t("picker.choose")}<//>
      <input ref=${input} hidden type="file" accept="image/*"
        onChange=${(/** @type {Event} */ event) => {
          const field = /** @type {HTMLInputElement} */ (event.target);
          const file = field.files?.[0];
          field.value = ""; // so that the same file can be chosen again
          if (file) send(file);
        }} />
      ${problem.value && html`<p class="picker-problem" role="alert"><${Icon} name="triangle-alert" /> ${problem.value}</p>`}
    </div>
    <${Newest} onPick=${onPick} />
  </div>`;
}

/**
 * The same in a dialog.
 * @param {{open: boolean, onClose: () => void, onPick: (image: ImageRecord) => void, label: string}} props
 */
export function PickerDialog({ open, onClose, onPick, label }) {
  return html`<${Dialog} open=${open} onClose=${onClose} label=${label}>
    <div class="picker-top"><h2>${label}</h2><${Button} kind="quiet" icon="x" label=${t("picker.close")} onClick=${onClose} /></div>
    ${open && html`<${Picker} onPick=${(/** @type {ImageRecord} */ image) => { onClose(); onPick(image); }} />`}
  <//>`;
}
