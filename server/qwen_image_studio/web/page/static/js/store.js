/** What the page knows of the server, as signals: API → signals → views. Views keep nothing that the server knows. */
import { computed, effect, signal } from "@preact/signals";
import { ApiError, newKey, onLost, request, ROOT } from "./api.js";
import { leaveAll } from "./door.js";
import { t, toast } from "./ui.js";

/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {import("./types.js").MeView} MeView */
/** @typedef {import("./types.js").ModelView} ModelView */
/** @typedef {import("./types.js").ImageRecord} ImageRecord */
/** @typedef {import("./types.js").Health} Health */

const VISIT = "studio.visit";
const DRAFT = "studio.draft.";
const MOST_OF_A_VISIT = 60;
const POLL_MS = 4000;
const AGAIN_MS = [1000, 2000, 4000, 8000, 15000];

/** Who asks; null until that is known. */
export const me = signal(/** @type {MeView | null} */ (null));
export const models = signal(/** @type {ModelView[]} */ ([]));
/** Jobs by their id: those that have not ended, and those of this visit. */
export const jobs = signal(/** @type {ReadonlyMap<string, JobView>} */ (new Map()));
/** Ids of the jobs of this visit, newest first; a reload of the page is the same visit. */
export const visit = signal(/** @type {string[]} */ (kept()));
/** Whether the server's news arrive. */
export const line = signal(/** @type {"live" | "lost"} */ ("live"));
/** How many images wait for a reviewer. */
export const held = signal(0);
/** How many of them have a verdict that was not sent yet. */
export const deciding = signal(0);
export const health = signal(/** @type {Health | null} */ (null));

export const isGuest = computed(() => me.value?.kind === "guest");

/** Return whether the caller may do what a scope names. @param {string} scope */
export function can(scope) {
  return me.value?.can.some((each) => each === scope) ?? false;
}

/** Whether the caller may look at held images. */
export const reviews = computed(() => can("review") || can("operate"));

// -- jobs -------------------------------------------------------------------------------------------------------------

function kept() {
  try {
    const ids = JSON.parse(sessionStorage.getItem(VISIT) ?? "[]");
    return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
  } catch {
    return [];
  }
}

effect(() => sessionStorage.setItem(VISIT, JSON.stringify(visit.value)));

/**
 * Take in news of a job. Streams leave out its request, so what is known of that stays; and what comes late, such as the
 * answer to Cancel after the news of the end, does not have an ended job run again.
 * @param {JobView} job
 */
export function learn(job) {
  const known = jobs.value.get(job.id);
  if (known?.finished_at && !job.finished_at) return;
  const next = new Map(jobs.value);
  next.set(job.id, known && !job.request ? { ...job, request: known.request } : job);
  jobs.value = next;
}

/** Forget a job that is gone. @param {string} id */
export function unlearn(id) {
  const next = new Map(jobs.value);
  next.delete(id);
  jobs.value = next;
  visit.value = visit.value.filter((each) => each !== id);
}

/** Read a job anew; null where it is gone. @param {string} id @returns {Promise<JobView | null>} */
export async function followJob(id) {
  try {
    const job = await request("GET", `/v1/jobs/${id}`);
    learn(job);
    return job;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) {
      unlearn(id);
      return null;
    }
    throw error;
  }
}

/**
 * Submit a job. Over a line that is lost it is sent again under the same key, so that there is one job at most.
 * Throws ApiError.
 * @param {Record<string, unknown>} params with `operation`
 * @param {{name: string, file: Blob, filename?: string}[]} [files]
 * @returns {Promise<JobView>}
 */
export async function submit(params, files = []) {
  const job = await surely((key) => {
    if (!files.length) return request("POST", "/v1/jobs", { json: params, key });
    const form = new FormData();
    form.append("params", JSON.stringify(params));
    for (const { name, file, filename } of files) form.append(name, file, filename ?? name);
    return request("POST", "/v1/jobs", { form, key });
  });
  learn(job);
  visit.value = [job.id, ...visit.value.filter((id) => id !== job.id)].slice(0, MOST_OF_A_VISIT);
  return job;
}

/** Upload a picture. Throws ApiError. @param {Blob} file @param {string} [filename] @returns {Promise<ImageRecord>} */
export function upload(file, filename) {
  return surely((key) => {
    const form = new FormData();
    form.append("image", file, filename ?? /** @type {File} */ (file).name ?? "image");
    return request("POST", "/v1/images", { form, key });
  });
}

/**
 * Ask under one key until an answer comes, or the line has been lost for half a minute.
 * @template T @param {(key: string) => Promise<T>} ask @returns {Promise<T>}
 */
async function surely(ask) {
  const key = newKey();
  for (const pause of AGAIN_MS) {
    try {
      return await ask(key);
    } catch (error) {
      if (!(error instanceof ApiError && error.isLost)) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
  return ask(key).catch((error) => {
    throw error instanceof ApiError && error.isLost ? new ApiError(0, { code: "lost", message: t("shell.lost") }) : error;
  });
}

/** Cancel a job, and tell why where that fails. @param {string} id */
export async function cancelJob(id) {
  try {
    learn(await request("POST", `/v1/jobs/${id}/cancel`));
  } catch (error) {
    if (error instanceof ApiError && error.code === "job_finished") await followJob(id);
    else tell(error);
  }
}

/** Submit what a job was asked for once more. Throws ApiError. @param {JobView} job */
export async function retryJob(job) {
  const whole = job.request ? job : await request("GET", `/v1/jobs/${job.id}`);
  return submit(whole.request);
}

/** Say what went wrong, in the server's words. @param {unknown} error */
export function tell(error) {
  if (error instanceof ApiError) toast(error.isLost ? t("shell.lost") : error.message, { kind: "error" });
  else throw error;
}

// -- news -------------------------------------------------------------------------------------------------------------

/** @type {Map<string, Set<(data: any) => void>>} */
const listeners = new Map();

/**
 * Call a function with each event of a kind: a JobView, a ListedImage or the Health; `reset` where lists have to be
 * read again. Return what ends that.
 * @param {"job" | "image" | "review" | "health" | "reset"} kind
 * @param {(data: any) => void} run
 */
export function onEvent(kind, run) {
  const own = listeners.get(kind) ?? new Set();
  listeners.set(kind, own.add(run));
  return () => void own.delete(run);
}

/** @param {string} kind @param {unknown} [data] */
function told(kind, data) {
  for (const run of [...(listeners.get(kind) ?? [])]) run(data);
}

let source = /** @type {EventSource | null} */ (null);
let poll = 0;

/** Follow everything of the caller's, for as long as the page lives. */
export function follow() {
  source?.close();
  const kinds = ["job", "image", ...(reviews.value ? ["review"] : []), ...(isGuest.value ? [] : ["health"])];
  const url = new URL("v1/events", ROOT);
  url.searchParams.set("kinds", kinds.join(","));
  const stream = new EventSource(url);
  source = stream;
  stream.onopen = () => (line.value = "live");
  stream.onerror = () => {
    line.value = "lost";
    // Browsers come again by themselves where the line was lost, but not where the answer was an error.
    if (stream.readyState === EventSource.CLOSED && source === stream) setTimeout(() => source === stream && follow(), POLL_MS);
  };
  for (const kind of /** @type {const} */ (["job", "image", "review", "health"])) {
    stream.addEventListener(kind, (event) => told(kind, JSON.parse(event.data)));
  }
  stream.addEventListener("reset", () => void readAgain().then(() => told("reset")));
  stream.addEventListener("end", () => stream.close()); // another tab follows; this one asks now and then
  clearInterval(poll);
  poll = setInterval(() => {
    const deaf = stream.readyState !== EventSource.OPEN;
    if (deaf && document.visibilityState === "visible") void readAgain(true);
  }, POLL_MS);
}

// A stream does not notice that the network or the server is gone, nor that they are back: a new one does at once.
for (const event of ["offline", "online"]) addEventListener(event, () => source && follow());
onLost(() => line.value === "live" && source && follow());

/** End the stream, such as when somebody signs out. */
export function unfollow() {
  source?.close();
  source = null;
  clearInterval(poll);
}

/** Read the jobs of this visit anew. @param {boolean} [openOnly] leave out those that have ended */
export async function readAgain(openOnly = false) {
  const ids = visit.value.filter((id) => !openOnly || !jobs.value.get(id)?.finished_at);
  const found = await Promise.allSettled(ids.slice(0, 20).map(followJob));
  if (ids.length && found.some((each) => each.status === "fulfilled")) line.value = "live";
}

/** Count the images that wait for a reviewer. */
export async function countHeld() {
  if (!reviews.value) return;
  const found = await request("GET", "/v1/images", { query: { review: "held", limit: 1 } });
  held.value = found.total;
}

onEvent("job", learn);
onEvent("health", (state) => (health.value = state));
let counting = 0;
onEvent("review", () => {
  clearTimeout(counting);
  counting = setTimeout(() => void countHeld().catch(() => {}), 300);
});

/** Read who asks and what there is. Throws ApiError. */
export async function open() {
  me.value = await request("GET", "/v1/me");
  const [found] = await Promise.all([request("GET", "/v1/models"), readAgain(), countHeld()]);
  models.value = found.data;
  follow();
}

// -- drafts -----------------------------------------------------------------------------------------------------------

/**
 * Return a signal that is kept in this browser, such as a form that is filled in. Never put pictures into it.
 * @template {object} T
 * @param {string} name @param {T} initial fields that are missing in what was kept come from here
 * @returns {import("@preact/signals").Signal<T>}
 */
export function draft(name, initial) {
  let found = initial;
  try {
    found = { ...initial, ...JSON.parse(localStorage.getItem(DRAFT + name) ?? "{}") };
  } catch {
    localStorage.removeItem(DRAFT + name);
  }
  const state = signal(found);
  drafts.set(name, () => (state.value = initial));
  effect(() => localStorage.setItem(DRAFT + name, JSON.stringify(state.value)));
  return state;
}

/** @type {Map<string, () => void>} */
const drafts = new Map();

/** @type {Set<() => Promise<unknown>>} */
const unfinished = new Set();

/** Have something finished before the session ends. @param {() => Promise<unknown>} run */
export function onSignOut(run) {
  unfinished.add(run);
}

/** End the session, and take what was typed out of this browser. */
export async function signOut() {
  await Promise.all([...unfinished].map((run) => run()));
  await leaveAll();
  unfollow();
  visit.value = [];
  jobs.value = new Map();
  held.value = 0;
  drafts.forEach((reset) => reset());
  for (const name of Object.keys(localStorage)) if (name.startsWith(DRAFT)) localStorage.removeItem(name);
  me.value = null;
}
