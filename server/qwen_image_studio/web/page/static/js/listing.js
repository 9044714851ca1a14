/**
 * What the gallery lists: pictures and batches in one line, newest first, read page by page and kept up by the events.
 * It outlives the screen, so that who comes back finds everything where it was.
 */
import { ApiError, request } from "./api.js";
import { jobs, onEvent } from "./store.js";
import { batch, computed, signal } from "./ui.js";

/** @typedef {import("./types.js").ListedImage} ListedImage */
/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {{id: string, image: ListedImage, job?: undefined}} Picture */
/** @typedef {{id: string, job: JobView, image?: undefined}} Batch */
/** @typedef {Picture | Batch} Entry a batch stands for the pictures of its rows and for its contact sheet */
/** @typedef {{operation?: string, source?: string, review?: string, rows?: boolean}} Query */

/** What each filter asks for; `batches` tells whether it shows batches, and `images` is null where it shows nothing else. */
const FILTERS = /** @type {const} */ ({
  all: { images: { rows: false }, batches: true },
  painted: { images: { operation: "generate", rows: false }, batches: false },
  edited: { images: { operation: "edit,inpaint,outpaint,layers,adjust", rows: false }, batches: false },
  uploads: { images: { source: "upload" }, batches: false },
  batches: { images: null, batches: true },
  approved: { images: { review: "approved" }, batches: false },
});
/** @typedef {keyof typeof FILTERS} Filter */

export const BATCHES = "batch,campaign";
const PAGE = 60;
const PAGE_OF_BATCHES = 30;
/** Largest number up to which the server counts. */
const MOST_COUNTED = 10000;

export const filter = signal(/** @type {Filter} */ ("all"));
/** Text that is looked for in prompts. */
export const sought = signal("");

const images = signal(/** @type {readonly ListedImage[]} */ ([]));
const batches = signal(/** @type {readonly JobView[]} */ ([]));
const more = signal({ images: true, batches: true });
const counted = signal(0);

/** What the server cannot tell, in its sentence. */
export const note = signal(/** @type {string | null} */ (null));
export const state = signal(/** @type {"new" | "reading" | "read" | "failed"} */ ("new"));
/** Why the last page could not be read. */
export const failure = signal(/** @type {unknown} */ (null));
/** Whether news are shown as they come; not while one looks at what lies further down, or chooses. */
export const settled = signal(true);
/** News that wait until one looks at the top again. */
export const waiting = signal(/** @type {ReadonlyMap<string, Entry | null>} */ (new Map()));
/** Ids of what was deleted elsewhere meanwhile: an empty place, so that nothing moves. */
export const gone = computed(() => new Set([...waiting.value].filter(([, entry]) => entry === null).map(([id]) => id)));
export const arrived = computed(() => [...waiting.value.values()].filter((entry) => entry !== null).length);

/** @type {WeakMap<object, Entry>} */
const made = new WeakMap();

/** Return the entry of an image or a batch; the same object each time. @param {ListedImage | JobView} of @returns {Entry} */
function entry(of) {
  const known = made.get(of);
  if (known) return known;
  const one = of.object === "image" ? { id: of.id, image: of } : { id: of.id, job: of };
  made.set(of, one);
  return one;
}

/** Whether the batches themselves are listed; a search finds pictures, those of rows and contact sheets among them. */
const showsBatches = () => FILTERS[filter.value].batches && !sought.value;

/** Return whether an operation makes many pictures. @param {string | null} operation */
export const isBatch = (operation) => operation === "batch" || operation === "campaign";

/** All that is known, in order. What follows an unread page is not shown before that is read. */
export const entries = computed(() => {
  if (!showsBatches()) return images.value.map(entry);
  const read = { images: end(images.value, more.value.images), batches: end(batches.value, more.value.batches) };
  const pictures = images.value.filter((image) => !isBatch(image.operation) && image.created_at >= read.batches);
  const line = batches.value.filter((job) => job.created_at >= read.images);
  return [...pictures, ...line].sort(newerFirst).map(entry);
});
export const hasMore = computed(() => more.value.images || (showsBatches() && more.value.batches));

/** How many there are in all; `atLeast` where the server counts no further. */
export const total = computed(() => {
  const alone = FILTERS[filter.value].images === null && !sought.value;
  if (alone) return { n: batches.value.length, atLeast: more.value.batches };
  return { n: counted.value, atLeast: counted.value >= MOST_COUNTED };
});

/** @returns {Query | null} */
function asked() {
  const { images: wanted } = FILTERS[filter.value];
  if (!sought.value) return wanted;
  if (wanted === null) return { operation: BATCHES };
  const { rows: _, ...rest } = /** @type {Query} */ (wanted);
  return rest;
}

/** Return which of two comes first, as the server lists them. @param {{id: string, created_at: number}} a @param {{id: string, created_at: number}} b */
const newerFirst = (a, b) => b.created_at - a.created_at || (a.id < b.id ? 1 : -1);

/** Return the time down to which a list has been read. @param {readonly {created_at: number}[]} known @param {boolean} goesOn */
const end = (known, goesOn) => (goesOn ? (known.at(-1)?.created_at ?? Infinity) : -Infinity);

let turn = 0;
let reading = /** @type {Promise<void> | null} */ (null);

/** Show what a filter and a text leave, from the newest on. @param {Filter} to @param {string} [text] */
export function look(to, text = sought.value) {
  if (to === filter.value && text === sought.value && state.value !== "new") return;
  turn += 1;
  reading = null;
  batch(() => {
    filter.value = to;
    sought.value = text;
    images.value = [];
    batches.value = [];
    waiting.value = new Map();
    counted.value = 0;
    note.value = null;
    more.value = { images: asked() !== null, batches: showsBatches() };
    state.value = "new";
  });
  void readOn();
}

/** Read the next page. What goes wrong is kept in `failure`. */
export function readOn() {
  if (reading || !hasMore.value) return reading ?? Promise.resolve();
  const mine = turn;
  state.value = "reading";
  reading = nextPage(mine)
    .then(() => {
      if (mine === turn) state.value = "read";
    })
    .catch((error) => {
      if (mine !== turn) return;
      failure.value = error;
      state.value = "failed";
    })
    .finally(() => {
      if (mine === turn) reading = null;
    });
  return reading;
}

/** @param {number} mine */
async function nextPage(mine) {
  const wanted = asked();
  const [read, second] = await Promise.all([
    wanted && more.value.images ? pageAfter("/v1/images", { ...wanted, q: sought.value, limit: PAGE }, images.value) : null,
    showsBatches() && more.value.batches && !batches.value.length ? batchesAfter(batches.value) : null,
  ]);
  let [line, further] = [second?.data ?? [], second?.has_more ?? more.value.batches];
  // Batches lie between the pictures, so they are read as far down as these, and then page by page.
  const known = () => [...batches.value, ...line];
  const horizon = read ? end(read.data, read.has_more) : -Infinity;
  while (showsBatches() && further && (horizon > -Infinity ? end(known(), true) > horizon : !line.length)) {
    const next = await batchesAfter(known());
    line = [...line, ...next.data];
    further = next.has_more;
  }
  if (mine !== turn) return;
  batch(() => {
    if (read) {
      images.value = joined(images.value, read.data);
      counted.value = Math.max(read.total, images.value.length);
      note.value = read.note;
    }
    batches.value = joined(batches.value, line);
    more.value = { images: read?.has_more ?? false, batches: further };
  });
}

/** @param {readonly JobView[]} known */
const batchesAfter = (known) => pageAfter("/v1/jobs", { operation: BATCHES, limit: PAGE_OF_BATCHES }, known);

/**
 * Ask for the page after the last one that is known; where that is gone meanwhile, after the one before it.
 * @param {string} path @param {Record<string, any>} query @param {readonly {id: string}[]} known
 */
async function pageAfter(path, query, known) {
  for (let last = known.length - 1; ; last -= 1) {
    try {
      return await request("GET", path, { query: { ...query, after: known[last]?.id } });
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404 && last >= 0)) throw error;
    }
  }
}

/** @template {{id: string, created_at: number}} T @param {readonly T[]} known @param {readonly T[]} found @returns {T[]} */
function joined(known, found) {
  const ids = new Set(known.map((each) => each.id));
  return [...known, ...found.filter((each) => !ids.has(each.id))].sort(newerFirst);
}

/** Read the newest page again, such as after a time in which no events came. */
export async function refresh() {
  if (state.value === "new" || reading) return;
  const mine = turn;
  const wanted = asked();
  const before = { images: images.value, batches: batches.value }; // what comes meanwhile is not missed in the answer
  const [page, line] = await Promise.all([
    wanted && request("GET", "/v1/images", { query: { ...wanted, q: sought.value, limit: PAGE } }),
    showsBatches() ? batchesAfter([]) : null,
  ]);
  if (mine !== turn) return;
  batch(() => {
    if (page) counted.value = page.total;
    for (const [read, known] of /** @type {const} */ ([[page, before.images], [line, before.batches]])) {
      if (!read) continue;
      const found = new Set(read.data.map((/** @type {{id: string}} */ each) => each.id));
      const down = end(read.data, read.has_more);
      for (const each of known) if (each.created_at > down && !found.has(each.id)) lose(each.id);
      for (const each of read.data) gain(each);
    }
  });
}

// -- news -------------------------------------------------------------------------------------------------------------

/** Return whether an image belongs to what is shown. @param {ListedImage} image */
function belongs(image) {
  const wanted = asked();
  if (wanted === null) return false;
  const { operation, source, review, rows } = wanted;
  const text = sought.value.toLowerCase();
  return (
    (!operation || operation.split(",").includes(image.operation ?? "")) &&
    (!source || image.source === source) &&
    (!review || image.review === review) &&
    (rows !== false || image.parent_id === null) &&
    (!text || (image.prompt ?? "").toLowerCase().includes(text))
  );
}

/** Take in an image or a batch as it is now. @param {ListedImage | JobView} of */
function gain(of) {
  const isImage = of.object === "image";
  const known = /** @type {readonly (ListedImage | JobView)[]} */ (isImage ? images.value : batches.value);
  const at = known.findIndex((each) => each.id === of.id);
  if (at >= 0) return put(isImage, known.with(at, of));
  const last = known.at(-1);
  const isUnread = (isImage ? more.value.images : more.value.batches) && last !== undefined && newerFirst(last, of) < 0;
  if (isUnread || (state.value === "new") || !(isImage ? belongs(of) : showsBatches())) return;
  if (settled.value) insert(of);
  else waiting.value = new Map(waiting.value).set(of.id, entry(of));
}

/** @param {ListedImage | JobView} of */
function insert(of) {
  const isImage = of.object === "image";
  const known = /** @type {readonly (ListedImage | JobView)[]} */ (isImage ? images.value : batches.value);
  if (known.some((each) => each.id === of.id)) return;
  put(isImage, [...known, of].sort(newerFirst));
  if (isImage) counted.value += 1;
}

/** @param {boolean} isImage @param {readonly any[]} next */
function put(isImage, next) {
  if (isImage) images.value = next;
  else batches.value = next;
}

/** Take in that something is gone. @param {string} id */
function lose(id) {
  const isShown = images.value.some((each) => each.id === id) || batches.value.some((each) => each.id === id);
  const next = new Map(waiting.value);
  next.delete(id);
  if (isShown && !settled.value) next.set(id, null);
  waiting.value = next;
  if (isShown && settled.value) drop([id]);
}

/** Take out what the caller has deleted here. @param {readonly string[]} ids */
export function drop(ids) {
  const lost = new Set(ids);
  batch(() => {
    const left = images.value.filter((each) => !lost.has(each.id));
    counted.value = Math.max(0, counted.value - (images.value.length - left.length));
    images.value = left;
    batches.value = batches.value.filter((each) => !lost.has(each.id));
    const next = new Map(waiting.value);
    ids.forEach((id) => next.delete(id));
    waiting.value = next;
  });
}

/** Show the news that have waited. */
export function settle() {
  const news = [...waiting.value];
  batch(() => {
    settled.value = true;
    waiting.value = new Map();
    for (const [id, one] of news) {
      if (one === null) drop([id]);
      else insert(/** @type {ListedImage | JobView} */ (one.image ?? one.job));
    }
  });
}

/** Read one entry again, whose links have run out. @param {Entry} entry */
export async function renew({ id, job }) {
  try {
    gain(job ? await request("GET", `/v1/jobs/${id}`) : (await request("GET", `/v1/images/${id}/chain`)).image);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) lose(id);
  }
}

onEvent("image", (image) => (image.deleted ? lose(image.id) : gain(image)));
onEvent("job", (job) => {
  if (!isBatch(job.operation) || job.parent_id) return;
  gain({ ...job, request: job.request ?? jobs.value.get(job.id)?.request ?? batches.value.find((each) => each.id === job.id)?.request });
});
onEvent("reset", () => void refresh().catch(() => {}));
