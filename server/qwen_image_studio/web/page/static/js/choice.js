/** Several pictures at once: which are chosen, and what is done with all of them. */
import { ApiError, request } from "./api.js";
import { drop } from "./listing.js";
import { confirm, fmt, signal, t, toast } from "./ui.js";
import { zipped } from "./zip.js";

/** @typedef {import("./listing.js").Entry} Entry */
/** @typedef {{what: "deleting" | "downloading", done: number, of: number}} Work */

/** Whether pictures are being chosen. */
export const choosing = signal(false);
export const chosen = signal(/** @type {ReadonlySet<string>} */ (new Set()));
/** What is being done with them. */
export const work = signal(/** @type {Work | null} */ (null));
/** What could not be deleted, each with its reason. */
export const kept = signal(/** @type {readonly {entry: Entry, why: string}[]} */ ([]));

/** Largest number of bytes in one ZIP; beyond 4 GB its simple form ends, and browsers keep it in memory. */
const MOST_BYTES = 2e9;

let last = /** @type {string | null} */ (null);
let stopped = new AbortController();

/** Begin to choose, or end it. @param {boolean} on */
export function choose(on) {
  choosing.value = on;
  chosen.value = new Set();
  last = null;
}

/**
 * Choose or leave one; with `isRange` all between it and the one before likewise.
 * @param {string} id @param {boolean} on @param {boolean} isRange @param {readonly Entry[]} entries
 */
export function mark(id, on, isRange, entries) {
  const next = new Set(chosen.value);
  const ids = entries.map((entry) => entry.id);
  const [from, to] = [isRange && last !== null ? ids.indexOf(last) : -1, ids.indexOf(id)];
  const range = from < 0 ? [id] : ids.slice(Math.min(from, to), Math.max(from, to) + 1);
  for (const each of range) on ? next.add(each) : next.delete(each);
  last = id;
  chosen.value = next;
}

/** End what is being done; what is done already stays done. */
export function stop() {
  stopped.abort();
}

/**
 * Do something with each of several, a few at a time.
 * @template T @param {Work["what"]} what @param {readonly T[]} all @param {(one: T) => Promise<void>} run
 */
async function each(what, all, run) {
  stopped = new AbortController();
  work.value = { what, done: 0, of: all.length };
  const left = [...all];
  const lane = async () => {
    for (let one = left.shift(); one !== undefined && !stopped.signal.aborted; one = left.shift()) {
      await run(one);
      work.value = { what, done: (work.value?.done ?? 0) + 1, of: all.length };
    }
  };
  try {
    await Promise.all([lane(), lane(), lane(), lane()]);
  } finally {
    work.value = null;
  }
}

/** Delete the chosen ones after one question, and keep what could not be deleted with its reason. @param {readonly Entry[]} entries */
export async function remove(entries) {
  const pictures = entries.filter((entry) => entry.image).length;
  const batches = entries.length - pictures;
  const title = !batches ? t("gallery.ask_delete", { n: pictures }) : !pictures ? t("gallery.ask_delete_batches", { n: batches }) : t("gallery.ask_delete_both", { n: pictures, m: batches });
  if (!(await confirm({ title, text: t(batches ? "gallery.no_undo_batches" : "gallery.no_undo"), action: t("gallery.delete"), danger: true }))) return;
  /** @type {{entry: Entry, why: string}[]} */
  const left = [];
  /** @type {string[]} */
  const done = [];
  await each("deleting", entries, async (entry) => {
    try {
      await request("DELETE", entry.image ? `/v1/images/${entry.id}` : `/v1/jobs/${entry.id}`);
      done.push(entry.id);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) done.push(entry.id);
      else left.push({ entry, why: error instanceof ApiError && !error.isLost ? error.message : t("shell.lost") });
    }
  });
  drop(done);
  kept.value = left;
  if (left.length) chosen.value = new Set(left.map(({ entry }) => entry.id));
  else choose(false);
  if (done.length) toast(t("gallery.deleted", { n: done.length }));
}

/** Return a name for a picture's file, from what it shows. @param {{id: string, prompt?: string | null, mime_type: string}} image */
export function fileName({ id, prompt, mime_type: type }) {
  const kind = type.replace("image/", "").replace("jpeg", "jpg");
  const said = (prompt ?? "").normalize("NFC").replace(/[^\p{L}\p{M}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "");
  return `${[...said].slice(0, 48).join("").replace(/-$/, "") || "picture"}-${id.slice(-6)}.${kind}`;
}

/** Hand a file to the browser, to keep. @param {Blob} blob @param {string} name */
function save(blob, name) {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/**
 * Download the chosen pictures as one ZIP, which is put together here; of batches, the pictures of their rows.
 * @param {readonly Entry[]} entries
 */
export async function download(entries) {
  /** @type {{name: string, data: Blob, at: number}[]} */
  const files = [];
  let lost = 0;
  try {
    const wanted = (await Promise.all(entries.map(async (entry) => (entry.image ? [entry.image] : picturesOf(entry.id))))).flat();
    if (wanted.reduce((sum, image) => sum + image.bytes, 0) > MOST_BYTES) {
      toast(t("gallery.too_large", { size: fmt.bytes(MOST_BYTES) }), { kind: "error" });
      return;
    }
    await each("downloading", wanted, async (image) => {
      try {
        const answer = await fetch(new URL(image.url, location.href), { signal: stopped.signal });
        if (!answer.ok) throw new Error(answer.statusText);
        files.push({ name: fileName(image), data: await answer.blob(), at: image.created_at });
      } catch (error) {
        if (!stopped.signal.aborted) lost += 1;
      }
    });
    if (stopped.signal.aborted) return;
    if (files.length) save(await zipped(files.sort((a, b) => b.at - a.at)), "pictures.zip");
    if (lost) toast(t("gallery.not_loaded", { n: lost }), { kind: "error" });
    else choose(false);
  } catch (error) {
    toast(error instanceof ApiError && !error.isLost ? error.message : t("shell.lost"), { kind: "error" });
  }
}

/** @param {string} batch @returns {Promise<import("./listing.js").ListedImage[]>} */
async function picturesOf(batch) {
  const found = [];
  for (let page = null; page === null || page.has_more; ) {
    page = await request("GET", "/v1/images", { query: { parent_id: batch, limit: 100, after: found.at(-1)?.id } });
    found.push(...page.data);
  }
  return found;
}
