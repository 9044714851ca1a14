/** The controls of the Paint screen's form. */
import { Field, fmt, html, Icon, Segments, signal, t, toast, useEffect, useName, useSignal } from "./ui.js";
import { can, draft, models } from "./store.js";
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
/** The server's templates; null until they are there. */
export const templates = signal(/** @type {any[] | null} */ (null));

/** Return the templates that this caller can use; those that change a picture need a model that does. */
export function usable() {
  const edits = can("edit") && models.value.some((each) => each.operations.includes("edit"));
  const able = (templates.value ?? []).filter((each) => (each.operation === "edit" ? edits : can("generate")));
  return able.sort((a, b) => Number(a.operation === "edit") - Number(b.operation === "edit"));
}

/** Return the template that is chosen, else the first; null where there is none, and in another mode. */
export function chosenTemplate() {
  const found = form.value.mode === "template" ? usable() : [];
  return found.find((each) => each.id === form.value.template) ?? found[0] ?? null;
}

/** The field that a picture is being picked for. */
export const picking = signal(/** @type {{name: keyof Pictures, label: string, most: number} | null} */ (null));

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

const GRID = 16;

/** Return the size of the chosen shape in words; a tier that paints less paints it smaller. @param {any} model */
function sizeOf(model) {
  const size = model?.sizes[form.value.shape];
  if (!size) return "";
  const least = tierOf(form.value, model).max_pixels / (size.width * size.height);
  if (least >= 1) return `${size.width} × ${size.height}`;
  const [width, height] = [size.width, size.height].map((side) => Math.floor((side * Math.sqrt(least)) / GRID) * GRID);
  return `≈ ${width} × ${height}`;
}

/** The shape of the picture, drawn; its size is told. */
export function Shapes() {
  const name = useName("shape");
  const model = modelOf(form.value, models.value);
  return html`<fieldset class="shapes" aria-describedby=${`${name}-size`}>
    <legend class="label">${t("paint.shape")}</legend>
    <div class="shapes-row">
      ${Object.entries(SHAPES).map(([shape, sides]) => html`<label key=${shape} class="shape" title=${t(`paint.shape.${shape}`)}>
        <input type="radio" name=${name} value=${shape} checked=${!form.value.size && form.value.shape === shape} onChange=${() => set({ shape, size: "" })} />
        <span><${Outline} sides=${sides} />${shape}</span>
      </label>`)}
    </div>
    <p class="hint" id=${`${name}-size`}>${form.value.size || sizeOf(model)}</p>
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

const modules = new Map();

/**
 * Return a module that is loaded when it is first needed; null until it is there.
 * @template T @param {(() => Promise<T>) | null} load the same function at each rendering @returns {T | null}
 */
export function useLater(load) {
  const arrived = useSignal(0);
  useEffect(() => {
    if (!load || modules.has(load)) return;
    load().then(
      (module) => (modules.set(load, module), (arrived.value += 1)),
      () => toast(t("shell.broken"), { kind: "error" }),
    );
  }, [load]);
  return arrived.value >= 0 ? (modules.get(load) ?? null) : null;
}

const SETTINGS = () => import("./settings.js");
/** Fields that are folded away. */
const FOLDED = ["seed", "keepOut", "steps", "guidance", "model", "loras", "style", "format", "size", "strength"];

/** All that most people never open. */
export function Settings() {
  const isOpen = useSignal(false);
  const atFault = FOLDED.some(wrongWith) || (form.value.mode === "words" && wrongWith("image"));
  useEffect(() => void (atFault && (isOpen.value = true)), [atFault]);
  const found = useLater(isOpen.value ? SETTINGS : null);
  return html`<details class="settings" open=${isOpen.value} onToggle=${(/** @type {any} */ event) => (isOpen.value = event.target.open)}>
    <summary><${Icon} name="sliders-horizontal" /><span>${t("paint.more")}</span></summary>
    ${isOpen.value && found && html`<${found.SettingsBody} />`}
  </details>`;
}
