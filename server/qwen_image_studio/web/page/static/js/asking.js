/** What the form of the Paint screen holds. No DOM. */

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
  background: "auto",
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

/** Return the model that a form paints with: the one that it names, else the server's first that does it, transparent where that is wanted. @param {Form} form @param {any[]} models @param {string} [operation] */
export function modelOf(form, models, operation = "generate") {
  const able = models.filter((model) => model.operations.includes(operation));
  const clear = form.background === "transparent" && able.find((model) => model.transparency.includes(operation));
  return able.find((model) => model.id === form.model) ?? (clear || able[0]) ?? null;
}

/** Return the tier that a form paints at: the one that it names, where the model has it. @param {Form} form @param {any} model */
export function tierOf(form, model) {
  return model?.tiers.find((/** @type {any} */ each) => each.tier === form.tier) ?? model?.tiers[0] ?? null;
}

/** Return how many pictures a brief names itself; null where it is read from its words. @param {Form} form */
export function piecesOf({ channels, languages }) {
  return channels.length && languages.length ? channels.length * languages.length : null;
}
