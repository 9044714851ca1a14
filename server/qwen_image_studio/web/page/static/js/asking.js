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

/** Where the pieces of a campaign are shown, with the shape of each. */
export const CHANNELS = /** @type {const} */ ({
  post: [1, 1],
  story: [9, 16],
  banner: [16, 9],
  wide_banner: [21, 9],
  poster: [3, 4],
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

/**
 * Return the form that asks for a picture again, and the ids of the pictures that it starts from.
 * @param {Record<string, any>} request the job's
 * @param {any} image the one of its pictures that is wanted, or null for all
 * @param {any[]} models
 * @returns {{form: Form, images: Record<keyof Pictures, string[]>}}
 */
export function formOf(request, image, models) {
  const text = (/** @type {any} */ value) => (value === null || value === undefined ? "" : String(value));
  const model = models.find((each) => each.id === request.model) ?? null;
  const tier = model?.tiers.find((/** @type {any} */ each) => each.tier === (request.tier ?? "quality"));
  const inputs = [request.image ?? []].flat();
  const form = {
    ...EMPTY,
    ...sizeOf(request, model),
    mode: /** @type {Mode} */ (request.operation === "campaign" ? "campaign" : request.template ? "template" : "words"),
    prompt: text(request.prompt),
    template: text(request.template),
    slots: request.template ? { [request.template]: { ...request.slots } } : {},
    n: image ? 1 : (request.n ?? 1),
    tier: request.tier ?? "quality",
    seed: text(image?.seed ?? request.seed ?? request.direction?.seed),
    keepOut: text(request.negative_prompt ?? request.direction?.negative_prompt),
    steps: request.steps === tier?.steps ? "" : text(request.steps),
    guidance: request.guidance_scale === tier?.guidance_scale ? "" : text(request.guidance_scale),
    model: modelOf(EMPTY, models)?.id === request.model ? "" : text(request.model),
    loras: Object.fromEntries((request.loras ?? []).map((/** @type {any} */ each) => [each.name, text(each.scale)])),
    style: text(request.style),
    format: request.output_format ?? "png",
    strength: request.strength ?? EMPTY.strength,
    brief: text(request.brief),
    product: text(request.product),
    occasion: text(request.occasion),
    audience: text(request.audience),
    palette: request.operation === "campaign" ? (request.direction?.palette ?? []) : [],
    channels: unique(request.pieces, "channel"),
    languages: unique(request.pieces, "language"),
  };
  const reference = request.direction?.reference ? [request.direction.reference] : [];
  const images = { likeness: form.mode === "words" ? inputs.slice(0, 1) : [], sources: form.mode === "template" ? inputs : [], product: reference };
  return { form, images };
}

/** @param {Record<string, any>[] | undefined} pieces @param {string} name @returns {string[]} */
function unique(pieces, name) {
  return [...new Set((pieces ?? []).map((piece) => piece[name]))];
}

/** Return shape and size as the form has them: of a size that is a shape's own, that shape. @param {Record<string, any>} request @param {any} model */
function sizeOf(request, model) {
  const asked = request.width ? `${request.width}x${request.height}` : request.size && request.size !== "auto" ? request.size : "";
  const ratio = request.aspect_ratio ?? "1:1";
  const sizes = Object.entries(model?.sizes ?? {});
  if (!asked && ratio in SHAPES) return { shape: ratio, size: "" };
  const written = (/** @type {any} */ size) => `${size.width}x${size.height}`;
  const own = sizes.find(([shape, size]) => shape in SHAPES && written(size) === asked);
  if (own) return { shape: own[0], size: "" };
  return { shape: "1:1", size: asked || (model?.sizes[ratio] ? written(model.sizes[ratio]) : "") };
}

/**
 * Return the request of another picture like this one: in its likeness where the model starts from pictures, else the
 * same words with another seed.
 * @param {Record<string, any>} request @param {string} image id @param {boolean} alike
 */
export function variedOf(request, image, alike) {
  const { seed: _seed, n: _n, image: _image, strength: _strength, ...rest } = request;
  if (request.operation !== "generate") return { ...rest, ...said({ image: request.image }), n: 1 };
  return alike ? { ...rest, image, strength: 0.6, n: 1 } : { ...rest, ...said({ image: request.image, strength: request.strength }), n: 1 };
}
