/**
 * What is being edited: what was drawn and said about a picture, and the request that follows from it. It is kept for
 * each picture, so that it is there again after a reload, another screen, or a step back in the history.
 */
import { draft, models } from "./store.js";
import { FLUSH, margins, pack, unpack } from "./mask.js";

/** @typedef {import("./types.js").ModelView} ModelView */
/** @typedef {import("./types.js").ListedImage} ListedImage */
/** @typedef {import("./mask.js").Mask} Mask */
/** @typedef {import("@preact/signals").Signal<Edit>} EditSignal */

/**
 * @typedef {object} Edit
 * @property {string} words
 * @property {number | null} feather Width of the soft edge in pixels; null for the server's own.
 * @property {string[]} refs Ids of further pictures; the picture itself is number 1.
 * @property {string} seed Empty for a random one.
 * @property {string} keepOut
 * @property {number} strength 1 leaves nothing of what is there.
 * @property {string[]} jobs Those that try this change, oldest first.
 *
 * @typedef {{image: string, recent: string[], tier: string, model: string, n: number}} Settings What goes from picture to picture.
 * @typedef {"outpaint" | "inpaint" | "edit"} Drawn The operation that follows from what was drawn.
 */

/** How many pictures are remembered with what was drawn and said about them. */
const RECENT = 24;
/** How many tries of one change are kept together; earlier ones stay in the history. */
const TRIES = 8;
const KEPT = "studio.draft.edit.";

/** @type {Edit} */
const FRESH = { words: "", feather: null, refs: [], seed: "", keepOut: "", strength: 1, jobs: [] };
/** @type {Settings} */
const USUAL = { image: "", recent: [], tier: "quality", model: "", n: 1 };

/** What goes from picture to picture. */
export const settings = draft("edit", USUAL);

/** Widths of the soft edge that the slider has; the server takes each up to 256. @type {(number | null)[]} */
export const FEATHERS = [null, 0, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256];

/** @type {Map<string, EditSignal>} */
const edits = new Map();

/** Return what was said about a picture. Of the pictures edited last the oldest is forgotten. @param {string} id @returns {EditSignal} */
export function editOf(id) {
  const { recent } = settings.peek();
  const newest = [id, ...recent.filter((each) => each !== id)];
  for (const old of newest.slice(RECENT)) {
    localStorage.removeItem(KEPT + old);
    localStorage.removeItem(`${KEPT}${old}.mask`);
  }
  settings.value = { ...settings.peek(), image: id, recent: newest.slice(0, RECENT) };
  const known = edits.get(id) ?? draft(`edit.${id}`, FRESH);
  edits.set(id, known);
  return known;
}

/** Forget which picture was edited last, such as one that is gone. */
export function leave() {
  settings.value = { ...settings.peek(), image: "" };
}

/** Return what was drawn on a picture. @param {{id: string, width: number, height: number}} image */
export const drawnOn = (image) => unpack(localStorage.getItem(`${KEPT}${image.id}.mask`), image);

/** Keep what was drawn on a picture; where the browser has no room, that of others goes. @param {string} id @param {Mask} mask */
export function keepDrawn(id, mask) {
  const text = mask.done.length || mask.undone.length ? pack(mask) : null;
  const name = `${KEPT}${id}.mask`;
  if (text === null) return localStorage.removeItem(name);
  try {
    localStorage.setItem(name, text);
  } catch {
    for (const key of Object.keys(localStorage)) if (key.startsWith(KEPT) && key.endsWith(".mask")) localStorage.removeItem(key);
  }
}

/** Add a try to those of a change. @param {EditSignal} edit @param {string} job @param {string} [instead] a try that it replaces */
export function addTry(edit, job, instead) {
  const { jobs } = edit.peek();
  edit.value = { ...edit.peek(), jobs: [...jobs.filter((each) => each !== instead && each !== job), job].slice(-TRIES) };
}

/** Return whether the picture is to be extended. @param {Mask} mask */
export const grows = (mask) => Object.values(margins(mask)).some(Boolean);

/**
 * Return the operation that follows from what was drawn. People never choose it.
 * @param {Mask} mask @param {number} share how much of the picture may change, 0 to 1
 * @returns {Drawn}
 */
export const operationOf = (mask, share) => (grows(mask) ? "outpaint" : share > 0 ? "inpaint" : "edit");

/** Return the models that do an operation, first those that take instructions. @param {Drawn} operation @returns {ModelView[]} */
export function modelsFor(operation) {
  const able = models.value.filter((model) => model.operations.some((each) => each === operation));
  const takes = (/** @type {ModelView} */ model) => Number(model.operations.some((each) => each === "edit"));
  return able.sort((a, b) => takes(b) - takes(a));
}

/** Return the model that does an operation: the one that was chosen, else the server's own choice. @param {Drawn} operation */
export function modelFor(operation) {
  const able = modelsFor(operation);
  return able.find((model) => model.id === settings.value.model) ?? able[0];
}

/** Return the speed that was chosen, where the model has it. @param {ModelView | undefined} model */
export const tierOf = (model) => model?.tiers.find(({ tier }) => tier === settings.value.tier) ?? model?.tiers[0];

/**
 * Return the parameters of the job that does what was drawn and said.
 * @param {string} id of the picture @param {Edit} edit @param {Mask} mask @param {number} share
 * @returns {Record<string, unknown>}
 */
export function paramsOf(id, { words, feather, refs, seed, keepOut, strength }, mask, share) {
  const operation = operationOf(mask, share);
  const model = modelFor(operation);
  const whole = operation === "edit";
  const params = {
    operation,
    prompt: words.trim() || undefined,
    image: operation === "outpaint" ? id : [id, ...refs].slice(0, model?.max_inputs || 1),
    tier: tierOf(model)?.tier,
    model: settings.value.model === model?.id ? model.id : undefined,
    n: settings.value.n > 1 ? settings.value.n : undefined,
    seed: seed.trim() === "" ? undefined : Number(seed),
    negative_prompt: keepOut.trim() || undefined,
    strength: whole || strength === 1 ? undefined : strength,
    feather: operation === "inpaint" ? (feather ?? undefined) : undefined,
    ...(operation === "outpaint" ? margins(mask) : {}),
  };
  return Object.fromEntries(Object.entries(params).filter(([, value]) => value !== undefined));
}

/**
 * Return where the picture lies within a result, in fractions of that: a picture that was extended has margins.
 * @param {import("./types.js").JobView} job @param {{width: number, height: number}} image @param {{width: number, height: number}} result
 */
export function placeIn(job, image, result) {
  if (job.operation !== "outpaint") return null;
  const { left, top } = { ...FLUSH, ...job.request };
  return { left: left / result.width, top: top / result.height, width: image.width / result.width, height: image.height / result.height };
}

/**
 * Return the steps of a history: pictures along first inputs, up and down from one. Pictures that were references only
 * are no steps.
 * @param {import("./types.js").ImageChain} chain
 * @returns {ListedImage[]}
 */
export function stepsOf({ image, ancestors, descendants }) {
  const known = new Map(ancestors.map((each) => [each.id, each]));
  const before = [];
  for (let at = known.get(image.parent_ids[0]); at; at = known.get(at.parent_ids[0])) {
    before.unshift(at);
    known.delete(at.id);
  }
  const line = new Set([image.id]);
  const after = descendants.filter((each) => line.has(each.parent_ids[0]) && line.add(each.id));
  return [...before, image, ...after].filter((each) => !each.deleted);
}
