/** What can be done with the pictures of this visit. */
import { ApiError, shareable } from "./api.js";
import { computed, copy, t } from "./ui.js";
import { cancelJob, followJob, jobs, submit, tell, visit } from "./store.js";
import { standing } from "./job.js";
import { look, paint, shown } from "./looking.js";

/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {import("./types.js").ImageView} ImageView */

/** Jobs of this visit that go on. */
export const open = computed(() => visit.value.map((id) => jobs.value.get(id)).filter((job) => job && !standing(job).over).map((job) => /** @type {JobView} */ (job)));

/** Do something that the server may refuse, and say so then. @param {() => Promise<unknown>} run */
export async function attempt(run) {
  try {
    await run();
  } catch (error) {
    tell(error);
  }
}

/** Ask for what a job was asked for once more, in its place. @param {JobView} job */
export async function again(job) {
  const whole = job.request ? job : await followJob(job.id);
  if (whole?.request) look((await submit(whole.request)).id);
}

/** Paint another picture like one, and return its job. @param {JobView} job @param {ImageView} image */
export async function vary(job, image) {
  const request = job.request ?? (await followJob(job.id))?.request;
  if (!request) return;
  try {
    return await paint(variedOf(request, image.id, true));
  } catch (error) {
    const startsAnew = error instanceof ApiError && ["image", "strength"].includes(error.param ?? "");
    if (!startsAnew) throw error;
    return await paint(variedOf(request, image.id, false)); // the model starts from no picture
  }
}

/** Cancel all jobs of this visit that go on, but the one that is looked at, or else painted. */
export function cancelOthers() {
  const kept = keptOne();
  return Promise.all(open.value.filter((job) => job !== kept).map((job) => cancelJob(job.id)));
}

/** Return the job that stays when the others are cancelled. */
function keptOne() {
  return open.value.find((job) => job.id === shown.value?.job.id) ?? open.value.find((job) => job.state === "running") ?? open.value[0];
}

/** Copy a picture's link. @param {ImageView} image */
export function share(image) {
  return copy(shareable(image.url), t("paint.copied"));
}

/** Return the width and height of a job's pictures, as far as they are known before there are any. @param {JobView} job @returns {[number, number]} */
export function sidesOf(job) {
  const { width, height, size } = /** @type {Record<string, any>} */ (job.request ?? {});
  const asked = /^(\d+)x(\d+)$/.exec(size ?? "");
  if (width && height) return [width, height];
  if (asked) return [Number(asked[1]), Number(asked[2])];
  return job.painted ? [job.painted.width, job.painted.height] : [1, 1];
}

/**
 * Return the request of another picture like this one: in its likeness where the model starts from pictures, else the
 * same words with another seed.
 * @param {Record<string, any>} request @param {string} image id @param {boolean} alike
 */
function variedOf(request, image, alike) {
  const { image: _image, strength: _strength, ...rest } = request;
  const [seed] = crypto.getRandomValues(new Uint32Array(1)); // named, or that of an art direction would be taken
  const start = { ...(request.image && { image: request.image }), ...(request.strength && { strength: request.strength }) };
  return { ...rest, ...(alike && request.operation === "generate" ? { image, strength: 0.6 } : start), seed, n: 1 };
}
