/** Which of this visit's pictures one looks at. */
import { computed, signal } from "./ui.js";
import { followJob, jobs, onEvent, submit, visit } from "./store.js";
import { standing } from "./job.js";

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

/** @param {JobView | undefined} job @returns {Shot[]} */
function shotsOf(job) {
  if (!job) return [];
  const there = job.images.filter((image) => !image.deleted);
  if (job.rows || (!there.length && (!job.images.length || job.held))) return [{ key: job.id, job, image: null }];
  if (job.operation === "layers") return [{ key: job.id, job, image: there.find((image) => image.layer === null) ?? there[0] }]; // one picture
  return there.map((image) => ({ key: image.id, job, image }));
}

// A picture that is deleted elsewhere is gone here too.
onEvent("image", ({ job_id: id, deleted }) => deleted && jobs.value.has(id) && void followJob(id).catch(() => {}));

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
