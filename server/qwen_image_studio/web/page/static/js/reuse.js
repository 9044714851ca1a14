/** The form of a picture that is there: "Use these settings". */
import { request } from "./api.js";
import { models } from "./store.js";
import { EMPTY, modelOf, SHAPES } from "./asking.js";
import { form, setPictures, wrong } from "./form.js";

/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {import("./types.js").ImageView} ImageView */
/** @typedef {import("./asking.js").Form} Form */
/** @typedef {import("./asking.js").Mode} Mode */
/** @typedef {import("./asking.js").Pictures} Pictures */

/** Fill the form with what a picture was asked for. Throws ApiError. @param {JobView} job @param {ImageView | null} image */
export async function reuse(job, image) {
  const asked = job.request ?? (await request("GET", `/v1/jobs/${job.id}`)).request;
  const { form: found, images } = formOf(asked, image, models.value);
  form.value = { ...form.value, ...found, slots: { ...form.value.slots, ...found.slots } };
  wrong.value = null;
  for (const name of /** @type {(keyof Pictures)[]} */ (Object.keys(images))) {
    const all = await Promise.all(images[name].map((id) => request("GET", `/v1/images/${id}`).catch(() => null)));
    setPictures(name, all.filter(Boolean)); // without those that were deleted
  }
  document.querySelector(".composer .panel-body")?.scrollTo({ top: 0 });
}

/** Fill the form with what the picture of that id was asked for; false where nobody knows. Throws ApiError. @param {string} id */
export async function reuseOf(id) {
  const image = await request("GET", `/v1/images/${id}`);
  const job = image.job_id && (await request("GET", `/v1/jobs/${image.job_id}`));
  if (!job?.request) return false;
  await reuse(job, image);
  return true;
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
    background: request.background ?? "auto",
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
