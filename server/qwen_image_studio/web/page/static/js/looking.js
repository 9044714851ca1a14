/** Which of this visit's pictures one looks at, and what can be done with it. */
import { ApiError, shareable } from "./api.js";
import { computed, copy, signal, t, toast } from "./ui.js";
import { cancelJob, followJob, jobs, submit, tell, visit } from "./store.js";
import { standing } from "./job.js";
import { variedOf } from "./asking.js";

/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {import("./types.js").ImageView} ImageView */
/** @typedef {{key: string, job: JobView, image: ImageView | null}} Shot one picture of a job, or a job that has none yet */

/** The job, and which of its images; empty for the newest. */
export const looked = signal({ job: "", image: "" });

/** All that this visit has made, newest first. */
export const shots = computed(() => visit.value.flatMap((id) => shotsOf(jobs.value.get(id))));

/** The one that is shown large. */
export const shown = computed(() => {
  const { job, image } = looked.value;
  const own = shots.value.filter((shot) => shot.job.id === job);
  return own.find((shot) => shot.image?.id === image) ?? own[0] ?? shots.value[0] ?? null;
});

/** Jobs of this visit that go on. */
export const open = computed(() => visit.value.map((id) => jobs.value.get(id)).filter((job) => job && !standing(job).over).map((job) => /** @type {JobView} */ (job)));

/** @param {JobView | undefined} job @returns {Shot[]} */
function shotsOf(job) {
  if (!job) return [];
  const there = job.images.filter((image) => !image.deleted);
  if (job.rows || (!there.length && (!job.images.length || job.held))) return [{ key: job.id, job, image: null }];
  return there.map((image) => ({ key: image.id, job, image }));
}

/** Look at a picture, or a job. @param {string} job @param {string} [image] */
export function look(job, image = "") {
  looked.value = { job, image };
}

/**
 * Submit a job, and look at it, unless one looks at another that is still being painted: that is not taken away.
 * Throws ApiError.
 * @param {Record<string, unknown>} params
 */
export async function paint(params) {
  const before = shown.value;
  const job = await submit(params);
  const isWatched = before && !standing(before.job).over;
  if (isWatched) look(before.job.id, looked.value.job === before.job.id ? looked.value.image : "");
  else look(job.id);
  return job;
}

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

/** Paint another picture like one. @param {JobView} job @param {ImageView} image */
export async function vary(job, image) {
  const request = job.request ?? (await followJob(job.id))?.request;
  if (!request) return;
  try {
    await paint(variedOf(request, image.id, true));
  } catch (error) {
    const startsAnew = error instanceof ApiError && ["image", "strength"].includes(error.param ?? "");
    if (!startsAnew) throw error;
    await paint(variedOf(request, image.id, false)); // the model starts from no picture
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
  const { width, height, size } = job.request ?? {};
  const asked = /^(\d+)x(\d+)$/.exec(size ?? "");
  if (width && height) return [width, height];
  if (asked) return [Number(asked[1]), Number(asked[2])];
  return job.painted ? [job.painted.width, job.painted.height] : [1, 1];
}

/** Say that a picture is on its way, to whom it cannot be seen. @param {JobView} job */
export function announce(job) {
  if (shown.value?.job.id !== job.id) toast(t("paint.queued"));
}
