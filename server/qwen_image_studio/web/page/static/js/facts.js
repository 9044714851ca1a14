/** What is known of a picture or a batch, in words. */
import { fmt, t } from "./ui.js";
import { has } from "./words.js";

/** @typedef {import("./types.js").ListedImage} ListedImage */
/** @typedef {import("./types.js").JobView} JobView */

/** Return what a picture or batch shows, in words. @param {{image: ListedImage, job?: undefined} | {job: JobView, image?: undefined}} of */
export function alt({ image, job }) {
  const said = job ? saidOf(job) : image.prompt;
  if (said) return [...said].slice(0, 200).join("");
  const kind = job ? "a_batch" : image.source === "upload" ? "an_upload" : "a_picture";
  return t(`gallery.${kind}`, { time: fmt.time((image ?? job).created_at) });
}

/** Return what a job was asked for; a batch with the names of its columns. @param {JobView} job @returns {string} */
export function saidOf(job) {
  const asked = /** @type {any} */ (job.request) ?? {};
  const ofRows = String(asked.job?.prompt ?? "").replace(/\{\{\s*(.+?)\s*\}\}/g, "‹$1›");
  return asked.brief || asked.product || asked.prompt || ofRows || asked.pieces?.[0]?.headline || "";
}

/** Return the word for one of the server's names, or the name itself. @param {string} group @param {string} name */
export function word(group, name) {
  const key = `gallery.${group}_${name}`;
  return has(key) ? t(key) : name;
}

/** @param {number} width @param {number} height */
export const size = (width, height) => `${width} × ${height}`;

/**
 * Return all settings of a picture, each with its name.
 * @param {ListedImage} image @param {JobView | null} job the one that made it
 * @returns {[name: string, value: string][]}
 */
export function facts(image, job) {
  const asked = /** @type {Record<string, any>} */ (job?.request ?? {});
  const painted = job?.painted;
  const how = image.operation ? word("op", image.operation) : t("gallery.uploaded");
  const took = job?.started_at && job.finished_at ? job.finished_at - job.started_at : null;
  const box = asked.region;
  const margins = ["left", "top", "right", "bottom"].filter((side) => asked[side]).map((side) => `${t(`gallery.${side}`)} ${asked[side]} px`);
  /** @type {[string, string | number | null | undefined | false][]} */
  const all = [
    ["how", how],
    ["size", `${size(image.width, image.height)} px`],
    ["painted_at", painted && (painted.width !== image.width || painted.height !== image.height) && `${size(painted.width, painted.height)} px`],
    ["seed", image.seed === null ? null : String(image.seed)],
    ["speed", painted && job && word("tier", job.tier)],
    ["steps", painted && fmt.number(painted.steps)],
    ["guidance", painted && painted.guidance_scale > 1 && fmt.number(painted.guidance_scale)],
    ["model", image.model === "cv" ? t("gallery.no_model") : image.model],
    ["loras", job?.loras.map(({ name, scale }) => (scale === 1 || scale === null || scale === undefined ? name : `${name} ${fmt.number(scale, 2)}`)).join(", ")],
    ["template", asked.template],
    ["keep_out", asked.negative_prompt],
    ["style", [asked.style, asked.direction?.style, asked.direction?.palette?.join(", ")].filter((each) => typeof each === "string" && each).join(" · ")],
    ["area", asked.mask ? t("gallery.drawn") : box && area(box)],
    ["soft_edge", asked.feather ? `${asked.feather} px` : null],
    ["margins", margins.join(", ")],
    ["likeness", typeof asked.strength === "number" && asked.strength < 1 && fmt.percent(asked.strength)],
    ["layer", image.operation === "layers" && (image.layer === null ? t("gallery.layer_all") : image.layer === 0 ? t("gallery.layer_0") : t("gallery.layer_n", { n: image.layer }))],
    ["background", asked.background && asked.background !== "auto" && word("background", asked.background)],
    ["changed", changed(image)],
    ["from_cache", job?.cached && t("gallery.was_there")],
    ["review", image.review !== "none" && [t(`gallery.${image.review}`), ...image.review_reasons].join(" · ")],
    ["person", image.user],
    ["date", fmt.time(image.created_at)],
    ["took", took === null ? null : fmt.duration(took)],
    ["file", `${image.mime_type.replace("image/", "").toUpperCase()}, ${fmt.bytes(image.bytes)}`],
    ["credentials", image.unsigned_sha256 !== image.sha256 && t("gallery.signed")],
    ["kept_until", image.expires_at && fmt.time(image.expires_at)],
  ];
  return all.flatMap(([name, value]) => (value ? [/** @type {[string, string]} */ ([t(`gallery.fact_${name}`), String(value)])] : []));
}

/** Return the size of an area, in fractions of the picture or in pixels. @param {Record<string, number>} box */
function area(box) {
  const sides = [box.width ?? box.x2 - box.x1, box.height ?? box.y2 - box.y1];
  return Object.values(box).every((each) => each <= 1) ? sides.map(fmt.percent).join(" × ") : `${size(sides[0], sides[1])} px`;
}

/** @param {ListedImage} image */
function changed({ change }) {
  if (!change) return null;
  const parts = [
    change.inside !== null && t("gallery.inside", { share: fmt.percent(change.inside) }),
    change.outside !== null && t("gallery.outside", { share: fmt.percent(change.outside) }),
  ];
  return parts.filter(Boolean).join(" · ");
}

/**
 * Return where the picture before lies in the one after, in fractions of the one after; null where the two cannot be
 * laid on one another, such as after a turn or a crop.
 * @param {ListedImage} before @param {ListedImage} after @param {JobView | null} job
 */
export function placeOf(before, after, job) {
  const asked = /** @type {Record<string, any>} */ (job?.request ?? {});
  const isGrown = after.operation === "outpaint" && before.width <= after.width && before.height <= after.height;
  if (isGrown && (before.width < after.width || before.height < after.height)) {
    const across = after.width - before.width;
    const down = after.height - before.height;
    const [left, top] = [asked.left, asked.top].map((each) => (typeof each === "number" ? each : null));
    const sides = { left: [0, null], right: [1, null], top: [null, 0], bottom: [null, 1] }[/** @type {string} */ (asked.anchor)] ?? [null, null];
    return {
      left: (left ?? across * (sides[0] ?? 0.5)) / after.width,
      top: (top ?? down * (sides[1] ?? 0.5)) / after.height,
      width: before.width / after.width,
      height: before.height / after.height,
    };
  }
  const isAlike = Math.abs(before.width / before.height / (after.width / after.height) - 1) < 0.02;
  return isAlike ? { left: 0, top: 0, width: 1, height: 1 } : null;
}
