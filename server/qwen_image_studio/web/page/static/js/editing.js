/**
 * What is being edited: what was said about a picture, and the request that follows from it and from what was drawn. It
 * is kept for each picture, so that it is there again after a reload, another screen, or a step back in the history.
 */
import { draft, models } from "./store.js";

/** @typedef {import("./types.js").ModelView} ModelView */
/** @typedef {import("./types.js").ListedImage} ListedImage */
/** @typedef {import("./drawing.js").Drawing} Drawing */
/** @typedef {import("@preact/signals").Signal<Edit>} EditSignal */

/**
 * @typedef {object} Edit
 * @property {string} words
 * @property {number | null} feather Width of the soft edge in pixels; null for the server's own.
 * @property {string[]} refs Ids of further pictures; the picture itself is number 1.
 * @property {string} seed Empty for a random one.
 * @property {Record<string, string>} roles What each picture is to the painting, by its id: "style", "control:edges"; left out where the words say it.
 * @property {string} background "auto", "opaque" or "transparent".
 * @property {string} keepOut
 * @property {number} strength 1 leaves nothing of what is there.
 * @property {string[]} jobs Those that try this change, oldest first.
 *
 * @typedef {{image: string, recent: string[], tier: string, model: string, n: number}} Settings What goes from picture to picture.
 * @typedef {string} Operation "outpaint", "inpaint" or "edit", as follows from what was drawn; people never choose it.
 */

/** How many pictures are remembered with what was said about them. */
const RECENT = 24;
/** How many tries of one change are kept together; earlier ones stay in the history. */
const TRIES = 8;
const KEPT = "studio.draft.edit.";

/** @type {Edit} */
const FRESH = { words: "", feather: null, refs: [], roles: {}, background: "auto", seed: "", keepOut: "", strength: 1, jobs: [] };
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
  for (const old of newest.slice(RECENT)) localStorage.removeItem(KEPT + old);
  settings.value = { ...settings.peek(), image: id, recent: newest.slice(0, RECENT) };
  const known = edits.get(id) ?? draft(`edit.${id}`, FRESH);
  edits.set(id, known);
  return known;
}

/** Forget which picture was edited last, such as one that is gone. */
export function leave() {
  settings.value = { ...settings.peek(), image: "" };
}

/** Add a try to those of a change. @param {EditSignal} edit @param {string} job @param {string} [instead] a try that it replaces */
export function addTry(edit, job, instead) {
  const { jobs } = edit.peek();
  edit.value = { ...edit.peek(), jobs: [...jobs.filter((each) => each !== instead && each !== job), job].slice(-TRIES) };
}

/** Return the models that do an operation, first those that take instructions. @param {Operation} operation @returns {ModelView[]} */
export function modelsFor(operation) {
  const able = models.value.filter((model) => model.operations.some((each) => each === operation));
  const takes = (/** @type {ModelView} */ model) => Number(model.operations.some((each) => each === "edit"));
  return able.sort((a, b) => takes(b) - takes(a));
}

/** Return the model that does an operation: the one that was chosen, else the server's own choice. @param {Operation} operation @param {string} background */
export function modelFor(operation, background) {
  const able = modelsFor(operation);
  const clear = background === "transparent" ? able.find((model) => model.transparency.some((each) => each === operation)) : undefined;
  return able.find((model) => model.id === settings.value.model) ?? clear ?? able[0];
}

/** Return the pictures that a painting is shown, the one that is changed first. @param {Drawing} board @param {Edit} edit */
export const shownTo = (board, edit) => (board.operation.value === "outpaint" ? [board.id] : [board.id, ...edit.refs]);

/** Return the speeds that a model has here. @param {ModelView | undefined} model */
export const tiersOf = (model) => model?.tiers.filter((each) => each.lora_here !== false) ?? [];

/** Return the speed that was chosen, where the model has it. @param {ModelView | undefined} model */
export const tierOf = (model) => tiersOf(model).find(({ tier }) => tier === settings.value.tier) ?? tiersOf(model)[0];

/**
 * Return the parameters of the job that does what was drawn and said.
 * @param {Drawing} board @param {Edit} edit
 * @returns {Record<string, unknown>}
 */
export function paramsOf(board, edit) {
  const { words, feather, seed, keepOut, strength, background } = edit;
  const operation = board.operation.value;
  const model = modelFor(operation, background);
  const images = shownTo(board, edit);
  const roles = images.map((id) => edit.roles[id] ?? "");
  const params = {
    operation,
    prompt: words.trim() || undefined,
    image: operation === "outpaint" ? board.id : images,
    roles: operation !== "outpaint" && roles.some(Boolean) ? roles.join(",") : undefined,
    background: background === "auto" ? undefined : background,
    tier: tierOf(model)?.tier,
    model: settings.value.model === model?.id ? model.id : undefined,
    n: settings.value.n > 1 ? settings.value.n : undefined,
    seed: seed.trim() === "" ? undefined : Number(seed),
    negative_prompt: keepOut.trim() || undefined,
    strength: operation === "edit" || strength === 1 ? undefined : strength,
    feather: operation === "inpaint" ? (feather ?? undefined) : undefined,
    ...(operation === "outpaint" ? board.extend.value : {}),
  };
  return Object.fromEntries(Object.entries(params).filter(([, value]) => value !== undefined));
}

/**
 * Return the steps of a history: pictures along first inputs, up and down from one. Pictures that were references only
 * are no steps, nor are layers: what they make together is one.
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
  const after = descendants.filter((each) => each.layer === null && line.has(each.parent_ids[0]) && line.add(each.id));
  return [...before, image, ...after].filter((each) => !each.deleted);
}
