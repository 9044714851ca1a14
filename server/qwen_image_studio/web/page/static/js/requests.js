/** The requests that come of the Paint screen's form. They come after its first view. No DOM. */
import { modelOf, tierOf } from "./asking.js";

/** @typedef {import("./asking.js").Form} Form */
/** @typedef {import("./asking.js").Pictures} Pictures */

const CHINESE = /[\u3400-\u9fff\uf900-\ufaff]/;

/**
 * Return the language that a template is filled in: that of what was typed into it, else the usual one.
 * @param {any} template @param {Record<string, string>} slots @param {string} usual
 */
export function languageOf(template, slots, usual) {
  const typed = Object.entries(template.slots).filter(([, slot]) => slot.type === "text").map(([name]) => slots[name] ?? "").join("");
  return CHINESE.test(typed) ? "zh" : /\p{L}/u.test(typed) ? "en" : usual;
}

/** Return what was written, without what was left empty. @param {Record<string, any>} all */
function said(all) {
  const isSaid = (/** @type {any} */ value) => value !== "" && value !== null && value !== undefined && !(Array.isArray(value) && !value.length);
  return Object.fromEntries(Object.entries(all).filter(([, value]) => isSaid(value)));
}

/**
 * Return the request that a form asks for.
 * @param {Form} form
 * @param {{models: any[], templates: any[], pictures: Pictures, language: string}} given
 * @returns {Record<string, any>}
 */
export function requestOf(form, { models, templates, pictures, language }) {
  const template = form.mode === "template" ? templates.find((each) => each.id === form.template) : null;
  const operation = form.mode === "campaign" ? "campaign" : (template?.operation ?? "generate");
  const model = modelOf(form, models, operation === "edit" ? "edit" : "generate");
  const offered = new Set((model?.loras ?? []).map((/** @type {any} */ each) => each.name));
  const loras = Object.entries(form.loras).filter(([name]) => offered.has(name));
  const common = {
    operation,
    model: form.model && model?.id === form.model ? form.model : "",
    tier: tierOf(form, model)?.tier,
    seed: form.seed.trim(),
    negative_prompt: form.keepOut.trim(),
    steps: form.steps.trim(),
    guidance_scale: form.guidance.trim(),
    loras: loras.map(([name, scale]) => said({ name, scale })),
    style: form.style,
    output_format: form.format,
    background: form.background === "auto" || form.mode === "campaign" ? "" : form.background,
  };
  if (form.mode === "campaign") return said({ ...common, ...briefOf(form, pictures) });
  const shape = operation === "edit" ? {} : form.size.trim() ? { size: form.size.trim() } : { aspect_ratio: form.shape };
  if (template) {
    const slots = said(Object.fromEntries(Object.entries(form.slots[form.template] ?? {}).map(([name, text]) => [name, text.trim()])));
    const own = { template: form.template, slots, language: languageOf(template, slots, language), ...shape, n: form.n };
    return said({ ...common, ...own, image: operation === "edit" ? pictures.sources.map((each) => each.id) : [] });
  }
  const [start] = pictures.likeness;
  const likeness = start ? { image: start.id, strength: form.strength } : {};
  return said({ ...common, prompt: form.prompt.trim(), ...shape, ...likeness, n: form.n });
}

/** @param {Form} form @param {Pictures} pictures */
function briefOf(form, pictures) {
  const texts = { brief: form.brief.trim(), product: form.product.trim(), occasion: form.occasion.trim(), audience: form.audience.trim() };
  const direction = form.palette.length ? { palette: form.palette } : null;
  const named = { languages: form.languages, channels: form.channels, save_style: form.saveAs.trim() };
  return { ...texts, ...named, direction, image: pictures.product[0]?.id };
}
