/** The Paint screen's form: what is filled in, what is wrong with it, and its fields for text. */
import { Field, html, signal, t } from "./ui.js";
import { can, draft, models } from "./store.js";
import { EMPTY } from "./asking.js";

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
