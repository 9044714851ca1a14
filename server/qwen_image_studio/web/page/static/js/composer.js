/** The controls of the Paint screen's form. */
import { Button, Field, fmt, html, Icon, lang, Segments, signal, Slider, t, useEffect, useName, useSignal } from "./ui.js";
import { request } from "./api.js";
import { draft, models } from "./store.js";
import { EMPTY, modelOf, SHAPES, tierOf } from "./asking.js";

/** @typedef {import("./asking.js").Form} Form */
/** @typedef {import("./asking.js").Picture} Picture */
/** @typedef {import("./asking.js").Pictures} Pictures */

/** What is filled in; it is kept in the browser. */
export const form = draft("paint", EMPTY);
/** The pictures beside it, which are not. */
export const pictures = signal(/** @type {Pictures} */ ({ likeness: [], sources: [], product: [] }));
/** What is wrong with the request: in the server's words, or in ours where it need not be asked. */
export const wrong = signal(/** @type {{param: string, message: string} | null} */ (null));
/** The owner's saved art directions; null until they are asked for. */
export const styles = signal(/** @type {{name: string}[] | null} */ (null));

/** Fields of the form by the parameters that are called otherwise. @type {Record<string, string>} */
const CALLED = { aspect_ratio: "shape", negative_prompt: "keepOut", guidance_scale: "guidance", output_format: "format", save_style: "saveAs", direction: "palette" };

const fieldOf = (/** @type {string} */ param) => CALLED[param.split(/[.[]/)[0]] ?? param.split(/[.[]/)[0];

/** Change the form; what was wrong with the changed field is forgotten. @param {Partial<Form>} changes */
export function set(changes) {
  form.value = { ...form.value, ...changes };
  if (wrong.value && fieldOf(wrong.value.param) in changes) wrong.value = null;
}

/** Change the pictures. @param {keyof Pictures} name @param {Picture[]} chosen */
export function setPictures(name, chosen) {
  pictures.value = { ...pictures.value, [name]: chosen };
  if (wrong.value && ["image", "strength"].includes(wrong.value.param)) wrong.value = null;
}

/** Return what is wrong with a field, by its name in the form or, for one of several, its parameter. @param {string} name */
export function wrongWith(name) {
  const found = wrong.value;
  return found && (found.param === name || fieldOf(found.param) === name) ? found.message : null;
}

/** Fields that are folded away. */
const FOLDED = ["seed", "keepOut", "steps", "guidance", "model", "loras", "style", "format", "size", "strength"];

/** Return what an event's field holds. @param {Event} event */
export const typed = (event) => /** @type {HTMLInputElement} */ (event.target).value;

/** A field of the form for one line. @param {{name: keyof Form, hint?: string, placeholder?: string, inputmode?: string, label?: string}} props */
export function Line({ name, hint, placeholder, inputmode, label }) {
  return html`<${Field} label=${label ?? t(`paint.${name}`)} hint=${hint} error=${wrongWith(name)}>
    ${(/** @type {any} */ tied) => html`<input ...${tied} type="text" value=${form.value[name]} placeholder=${placeholder} inputmode=${inputmode}
      autocomplete="off" spellcheck=${inputmode ? "false" : undefined} onInput=${(/** @type {Event} */ event) => set({ [name]: typed(event) })} />`}
  <//>`;
}

/** A field of the form for sentences. @param {{name: keyof Form, rows: number, placeholder?: string, hideLabel?: boolean, max?: number}} props */
export function Sentences({ name, rows, placeholder, hideLabel, max = 8000 }) {
  return html`<${Field} label=${t(`paint.${name}`)} hideLabel=${hideLabel} error=${wrongWith(name)}>
    ${(/** @type {any} */ tied) => html`<textarea ...${tied} rows=${rows} maxlength=${max} placeholder=${placeholder} value=${form.value[name]}
      onInput=${(/** @type {Event} */ event) => set({ [name]: typed(event) })}></textarea>`}
  <//>`;
}

/** A shape as an outline. @param {{sides: readonly [number, number]}} props */
export function Outline({ sides: [width, height] }) {
  const scale = 19 / Math.max(width, height);
  const [w, h] = [width * scale, height * scale];
  return html`<svg class="outline" viewBox="0 0 22 22" aria-hidden="true"><rect x=${(22 - w) / 2} y=${(22 - h) / 2} width=${w} height=${h} rx="2.5" /></svg>`;
}

/** The shape of the picture, drawn; its size is told. */
export function Shapes() {
  const name = useName("shape");
  const model = modelOf(form.value, models.value);
  const own = model?.sizes[form.value.shape];
  return html`<fieldset class="shapes" aria-describedby=${`${name}-size`}>
    <legend class="label">${t("paint.shape")}</legend>
    <div class="shapes-row">
      ${Object.entries(SHAPES).map(([shape, sides]) => html`<label key=${shape} class="shape" title=${t(`paint.shape.${shape}`)}>
        <input type="radio" name=${name} value=${shape} checked=${!form.value.size && form.value.shape === shape} onChange=${() => set({ shape, size: "" })} />
        <span><${Outline} sides=${sides} />${shape}</span>
      </label>`)}
    </div>
    <p class="hint" id=${`${name}-size`}>${form.value.size || (own && `${own.width} × ${own.height}`)}</p>
    ${wrongWith("shape") && html`<p class="wrong" role="alert">${wrongWith("shape")}</p>`}
  </fieldset>`;
}

/** How many pictures. */
export function Count() {
  const most = modelOf(form.value, models.value)?.max_images ?? 4;
  const options = [...new Set([1, 2, 4, form.value.n])].sort((a, b) => a - b).filter((n) => n <= most).map((n) => ({ value: n, label: String(n) }));
  return html`<${Segments} label=${t("paint.count")} value=${form.value.n} options=${options} onChange=${(/** @type {number} */ n) => set({ n })} />`;
}

/** How fast, with what that means here: steps, measured seconds, and what the tier needs. */
export function Speed() {
  const model = modelOf(form.value, models.value);
  if (!model) return null;
  const chosen = tierOf(form.value, model);
  const options = model.tiers.map((/** @type {any} */ each) => ({ value: each.tier, label: t(`paint.tier.${each.tier}`) }));
  const own = Number(form.value.steps) || chosen.steps;
  const facts = [t("paint.steps.n", { n: own })];
  if (chosen.seconds !== null) facts.push(t("paint.seconds", { time: fmt.duration(chosen.seconds) }));
  if (chosen.licence) facts.push(chosen.licence === "unknown" ? t("paint.licence.unknown") : t("paint.licence", { name: chosen.licence }));
  return html`<div class="speed">
    <${Segments} label=${t("paint.speed")} value=${chosen.tier} options=${options} onChange=${(/** @type {string} */ tier) => set({ tier })} />
    <p class="hint">${facts.join(" · ")}</p>
    ${chosen.lora_here === false && html`<p class="hint"><${Icon} name="info" /> ${t("paint.lora.fetched")}</p>`}
    ${model.unavailable && html`<p class="hint warned"><${Icon} name="triangle-alert" /> ${model.unavailable}</p>`}
    ${wrongWith("tier") && html`<p class="wrong" role="alert">${wrongWith("tier")}</p>`}
  </div>`;
}

/** Read the saved art directions, once they are wanted. */
async function readStyles() {
  styles.value = (await request("GET", "/v1/styles")).data;
}

/** The saved art direction to follow, where there is one. */
export function Style() {
  useEffect(() => void readStyles().catch(() => {}), []);
  const names = new Set((styles.value ?? []).map((each) => each.name));
  if (form.value.style) names.add(form.value.style);
  if (!names.size) return null;
  return html`<${Choice} name="style" options=${[["", t("paint.style.none")], ...[...names].map((each) => [each, each])]} />`;
}

/** A field of the form that takes one of several. @param {{name: keyof Form, options: [string, string][]}} props */
export function Choice({ name, options }) {
  return html`<${Field} label=${t(`paint.${name}`)} error=${wrongWith(name)}>
    ${(/** @type {any} */ tied) => html`<select ...${tied} value=${form.value[name]} onChange=${(/** @type {Event} */ event) => set({ [name]: typed(event) })}>
      ${options.map(([value, label]) => html`<option key=${value} value=${value} selected=${value === form.value[name]}>${label}</option>`)}
    </select>`}
  <//>`;
}

/** The LoRAs that the model offers, each with its weight once it is chosen. @param {{model: any}} props */
function Loras({ model }) {
  if (!model?.loras.length) return null;
  const { loras } = form.value;
  const change = (/** @type {string} */ name, /** @type {string | null} */ scale) => {
    const { [name]: _old, ...rest } = loras;
    set({ loras: scale === null ? rest : { ...rest, [name]: scale } });
  };
  return html`<fieldset class="loras">
    <legend class="label">${t("paint.loras")}</legend>
    ${model.loras.map((/** @type {any} */ each) => html`<div key=${each.name} class="lora">
      <label class="check" title=${each.licence}><input type="checkbox" checked=${each.name in loras}
        onChange=${(/** @type {any} */ event) => change(each.name, event.target.checked ? String(each.scale) : null)} />
        <span>${each.name}<small class="muted">${each.about[lang.value]}</small></span></label>
      ${each.name in loras && html`<${Slider} label=${t("paint.weight")} min=${0} max=${each.max_scale} step=${0.05} value=${Number(loras[each.name]) || each.scale}
        told=${fmt.number(Number(loras[each.name]), 2)} onInput=${(/** @type {number} */ scale) => change(each.name, String(scale))} />`}
    </div>`)}
    ${wrongWith("loras") && html`<p class="wrong" role="alert">${wrongWith("loras")}</p>`}
  </fieldset>`;
}

/** All that most people never open. */
export function Settings() {
  const { mode, model: named, steps, guidance } = form.value;
  const model = modelOf(form.value, models.value);
  const tier = tierOf(form.value, model);
  const open = useSignal(false);
  const atFault = FOLDED.some(wrongWith) || (mode === "words" && wrongWith("image"));
  useEffect(() => void (atFault && (open.value = true)), [atFault]);
  const able = models.value.filter((each) => each.operations.includes("generate"));
  return html`<details class="settings" open=${open.value} onToggle=${(/** @type {any} */ event) => (open.value = event.target.open)}>
    <summary><${Icon} name="sliders-horizontal" /><span>${t("paint.more")}</span></summary>
    ${open.value && html`<div class="settings-body">
      <${Style} />
      ${mode === "words" && html`<${PictureField} name="likeness" label=${t("paint.likeness")} hint=${t("paint.likeness.hint")} error=${wrongWith("image")} />`}
      ${mode === "words" && pictures.value.likeness.length > 0 && html`<${Slider} label=${t("paint.strength")} min=${0.05} max=${1} step=${0.05} value=${form.value.strength}
        told=${fmt.percent(form.value.strength)} onInput=${(/** @type {number} */ strength) => set({ strength })} />`}
      <${Sentences} name="keepOut" rows=${2} placeholder=${t("paint.keepOut.eg")} />
      <div class="pair">
        <${Line} name="seed" placeholder=${t("paint.seed.any")} inputmode="numeric" />
        ${mode === "campaign" ? html`<${Format} />` : html`<${Line} name="size" placeholder=${t("paint.size.eg")} />`}
      </div>
      <div class="pair">
        <${Line} name="steps" placeholder=${tier && String(tier.steps)} inputmode="numeric" />
        <${Line} name="guidance" placeholder=${tier && String(tier.guidance_scale)} inputmode="decimal" />
      </div>
      ${tier?.distilled && (steps || guidance) && html`<p class="hint warned"><${Icon} name="triangle-alert" /> ${t("paint.distilled", { steps: tier.steps })}</p>`}
      ${(able.length > 1 || named) && html`<${Choice} name="model" options=${[["", t("paint.model.usual", { name: able[0]?.id ?? "" })], ...able.map((each) => [each.id, each.id])]} />`}
      <${Loras} model=${model} />
      ${mode !== "campaign" && html`<${Format} />`}
    </div>`}
  </details>`;
}

const Format = () => html`<${Choice} name="format" options=${[["png", "PNG"], ["jpeg", "JPEG"], ["webp", "WebP"]]} />`;

/** The field that a picture is being picked for. */
const picking = signal(/** @type {{name: keyof Pictures, label: string, most: number} | null} */ (null));

/**
 * Pictures beside the form: each with what takes it away, and what adds another.
 * @param {{name: keyof Pictures, label: string, hint?: string, error?: string | null, most?: number}} props
 */
export function PictureField({ name, label, hint, error, most = 1 }) {
  const id = useName("pictures");
  const chosen = pictures.value[name];
  return html`<div class="field picture-field" role="group" aria-labelledby=${id}>
    <span class="label" id=${id}>${label}</span>
    <div class="picture-row">
      ${chosen.map((each, at) => html`<span key=${each.id} class="thumb picked">
        <img src=${each.thumbnail_url} alt=${t("paint.picture", { n: at + 1 })} />
        ${most > 1 && html`<b class="badge">${at + 1}</b>`}
        <${Button} icon="x" label=${t("paint.picture.remove", { n: at + 1 })} onClick=${() => setPictures(name, chosen.filter((one) => one !== each))} />
      </span>`)}
      ${chosen.length < most && html`<button type="button" class="thumb add" aria-invalid=${error ? "true" : undefined} aria-label=${t("paint.picture.add")} title=${t("paint.picture.add")}
        onClick=${() => (picking.value = { name, label, most })}><${Icon} name=${chosen.length ? "plus" : "image-plus"} /></button>`}
    </div>
    ${hint && html`<p class="hint">${hint}</p>`}
    ${error && html`<p class="wrong" role="alert">${error}</p>`}
  </div>`;
}

/** Where a picture for one of the fields is picked; it lies outside of the form. */
export function PicturePicker() {
  const dialog = useSignal(/** @type {any} */ (null)); // loaded when it is first opened
  const { name, label, most } = picking.value ?? { name: /** @type {const} */ ("likeness"), label: "", most: 1 };
  useEffect(() => {
    if (picking.value && !dialog.value) import("./picker.js").then((found) => (dialog.value = { Shown: found.PickerDialog }));
  }, [picking.value]);
  if (!dialog.value) return null;
  return html`<${dialog.value.Shown} open=${picking.value !== null} label=${label} onClose=${() => (picking.value = null)}
    onPick=${(/** @type {Picture} */ image) => setPictures(name, [...pictures.value[name], image].slice(0, most))} />`;
}
