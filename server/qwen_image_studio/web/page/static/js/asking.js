/** What the form of the Paint screen holds, and the requests that come of it. No DOM. */

/** @typedef {"words" | "template" | "campaign"} Mode */
/** @typedef {typeof EMPTY} Form */
/** @typedef {{id: string, thumbnail_url: string, width: number, height: number}} Picture */
/** @typedef {{likeness: Picture[], sources: Picture[], product: Picture[]}} Pictures */

/** The five shapes that are drawn, as [width, height]. */
export const SHAPES = /** @type {const} */ ({
  "1:1": [1, 1],
  "4:3": [4, 3],
  "3:4": [3, 4],
  "16:9": [16, 9],
  "9:16": [9, 16],
});

/** A form that nobody has touched. Pictures lie beside it, since it is kept in the browser. */
export const EMPTY = {
  mode: /** @type {Mode} */ ("words"),
  prompt: "",
  template: "",
  /** What is in the slots of each template. */
  slots: /** @type {Record<string, Record<string, string>>} */ ({}),
  shape: "1:1",
  size: "",
  n: 1,
  tier: "quality",
  seed: "",
  keepOut: "",
  steps: "",
  guidance: "",
  model: "",
  loras: /** @type {Record<string, string>} */ ({}),
  style: "",
  format: "png",
  strength: 0.6,
  brief: "",
  product: "",
  occasion: "",
  audience: "",
  languages: /** @type {string[]} */ ([]),
  channels: /** @type {string[]} */ ([]),
  palette: /** @type {string[]} */ ([]),
  saveAs: "",
};

const CHINESE = /[\u3400-\u9fff\uf900-\ufaff]/;

/**
 * Return the language that a template is filled in: that of what was typed into it, else the usual one.
 * @param {any} template @param {Record<string, string>} slots @param {string} usual
 */
export function languageOf(template, slots, usual) {
  const typed = Object.entries(template.slots).filter(([, slot]) => slot.type === "text").map(([name]) => slots[name] ?? "").join("");
  return CHINESE.test(typed) ? "zh" : /\p{L}/u.test(typed) ? "en" : usual;
}

/** Return the model that a form paints with: the one that it names, else the server's first that does it. @param {Form} form @param {any[]} models @param {string} [operation] */
export function modelOf(form, models, operation = "generate") {
  const able = models.filter((model) => model.operations.includes(operation));
  return able.find((model) => model.id === form.model) ?? able[0] ?? null;
}

/** Return the tier that a form paints at: the one that it names, where the model has it. @param {Form} form @param {any} model */
export function tierOf(form, model) {
  return model?.tiers.find((/** @type {any} */ each) => each.tier === form.tier) ?? model?.tiers[0] ?? null;
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

/** Return how many pictures a brief names itself; null where it is read from its words. @param {Form} form */
export function piecesOf({ channels, languages }) {
  return channels.length && languages.length ? channels.length * languages.length : null;
}
