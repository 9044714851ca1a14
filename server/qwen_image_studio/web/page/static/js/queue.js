/** The pictures that wait for a verdict, or had one: read from the server, and kept up to date while they are looked at. */
import { request } from "./api.js";
import { can, countHeld, line, me, onEvent } from "./store.js";
import { batch, computed, effect, signal } from "./ui.js";
import { settled, verdicts } from "./verdicts.js";

/** @typedef {import("./types.js").ListedImage} ListedImage */
/** @typedef {"held" | "approved" | "rejected"} Shown */

const PAGE = 60;
/** Links of reviewers end within ten minutes; operators hear nothing of other owners' pictures. */
const FRESH_MS = 240_000;
const LOOK_MS = 15_000;

/** Which pictures are looked at. */
export const shown = signal(/** @type {Shown} */ ("held"));
const found = signal(/** @type {ListedImage[]} */ ([]));
export const hasMore = signal(false);
export const state = signal(/** @type {"loading" | "ready" | "failed"} */ ("loading"));
const total = signal(0);
const selected = signal("");

/** The pictures of the list, newest first: without those that were just decided on, or with them where it is theirs. */
export const pictures = computed(() => {
  const mine = verdicts.value;
  if (shown.value === "held") {
    const out = new Set(mine.map((each) => each.id));
    return found.value.filter((each) => !out.has(each.id) && !settled.value.has(each.id));
  }
  const fresh = mine.flatMap((each) => (each.state === shown.value && each.image ? [each.image] : []));
  return [...fresh.reverse(), ...found.value.filter((each) => !mine.some(({ id }) => id === each.id))];
});

/** How many pictures there are, listed or not. */
export const count = computed(() => Math.max(pictures.value.length, total.value - (found.value.length - pictures.value.length)));

/** The picture that is looked at. */
export const current = computed(() => pictures.value.find((each) => each.id === selected.value) ?? pictures.value[place.value] ?? pictures.value.at(-1) ?? null);

/** Where in the list the picture was that was looked at last: the next one slides into its place. */
const place = signal(0);

/** Look at a picture. @param {string} id */
export function select(id) {
  batch(() => {
    selected.value = id;
    place.value = Math.max(0, pictures.value.findIndex((each) => each.id === id));
  });
}

/** Look at the next picture, or at the one before. @param {number} step */
export function move(step) {
  const at = pictures.value.findIndex((each) => each.id === current.value?.id);
  const next = pictures.value[Math.min(pictures.value.length - 1, Math.max(0, at + step))];
  if (next) select(next.id);
  if (at + step >= pictures.value.length - 4) void more();
}

/** Show a picture in the list again, such as one whose verdict was taken back. @param {ListedImage} image */
export function bring(image) {
  if (shown.value !== "held") return;
  if (!found.value.some((each) => each.id === image.id)) insert(image);
  select(image.id);
}

// -- reading ----------------------------------------------------------------------------------------------------------

let readAt = 0;
let reading = 0;
/** Whether there was news while the list was read for the first time. */
let isBehind = false;

/** Show pictures of another kind. @param {Shown} next */
export function show(next) {
  batch(() => {
    shown.value = next;
    found.value = [];
    selected.value = "";
    place.value = total.value = 0;
    hasMore.value = false;
    state.value = "loading";
  });
  void refresh();
}

/** Read the newest pictures anew; older ones stay where there are more. */
export async function refresh() {
  const turn = ++reading;
  try {
    const page = await request("GET", "/v1/images", { query: { review: shown.value, limit: PAGE } });
    if (turn !== reading) return;
    readAt = Date.now();
    const last = page.data.at(-1);
    const older = page.has_more && last ? found.value.filter((each) => comes(last, each)) : [];
    batch(() => {
      keepPlace(() => (found.value = [...page.data, ...older]));
      total.value = page.total;
      if (!older.length) hasMore.value = page.has_more;
      state.value = "ready";
    });
    if (isBehind) {
      isBehind = false;
      await refresh();
    }
  } catch {
    if (turn === reading && state.value === "loading") state.value = "failed";
  }
}

let isReadingMore = false;

/** Read the next page of older pictures, if there is one. */
export async function more() {
  const last = found.value.at(-1);
  if (!hasMore.value || isReadingMore || !last) return;
  isReadingMore = true;
  const turn = reading;
  try {
    const page = await request("GET", "/v1/images", { query: { review: shown.value, limit: PAGE, after: last.id } });
    if (turn !== reading) return;
    const known = new Set(found.value.map((each) => each.id));
    batch(() => {
      found.value = [...found.value, ...page.data.filter((/** @type {ListedImage} */ each) => !known.has(each.id))];
      hasMore.value = page.has_more;
    });
  } catch {
    if (turn === reading) await refresh(); // the last picture may be gone
  } finally {
    isReadingMore = false;
  }
}

/** Return whether one picture comes before another in the list. @param {ListedImage} one @param {ListedImage} other */
function comes(one, other) {
  return one.created_at > other.created_at || (one.created_at === other.created_at && one.id > other.id);
}

/** @param {ListedImage} image */
function insert(image) {
  const rest = found.value.filter((each) => each.id !== image.id);
  const at = rest.findIndex((each) => comes(image, each));
  keepPlace(() => (found.value = at < 0 ? [...rest, image] : [...rest.slice(0, at), image, ...rest.slice(at)]));
}

/** Change the list, and go on with the picture that is looked at. @param {() => void} change */
function keepPlace(change) {
  const looked = current.value?.id;
  change();
  if (looked) select(pictures.value.some((each) => each.id === looked) ? looked : (pictures.value[place.value]?.id ?? ""));
}

// -- news -------------------------------------------------------------------------------------------------------------

/** Take in a picture that is held, or was decided on, here or elsewhere. @param {ListedImage} image */
function learn(image) {
  if (state.value !== "ready") {
    isBehind = true;
    return;
  }
  const isKnown = found.value.some((each) => each.id === image.id);
  if (image.review === shown.value && !image.deleted) {
    if (isKnown) return;
    insert(image);
    total.value += 1;
  } else if (isKnown) {
    const isLost = image.id === current.value?.id;
    keepPlace(() => (found.value = found.value.filter((each) => each.id !== image.id)));
    total.value = Math.max(0, total.value - 1);
    if (isLost) passed.value += 1;
  }
}

/** Grows when the picture that is looked at was decided on by somebody else. */
export const passed = signal(0);

/** Keep the list up to date for as long as it is looked at; return what ends that. */
export function attend() {
  void refresh();
  const look = () => {
    const isOld = Date.now() - readAt > FRESH_MS;
    if (document.visibilityState !== "visible") return;
    if (isOld || can("operate") || line.value === "lost") void refresh().then(countHeld).catch(() => {});
  };
  const timer = setInterval(look, LOOK_MS);
  /** @type {(() => void)[]} */
  const ends = [onEvent("review", learn), onEvent("reset", refresh)];
  let was = line.value;
  ends.push(
    effect(() => {
      if (line.value === "live" && was === "lost" && me.value) setTimeout(refresh);
      was = line.value;
    }),
  );
  document.addEventListener("visibilitychange", look);
  return () => {
    clearInterval(timer);
    ends.forEach((end) => end());
    document.removeEventListener("visibilitychange", look);
  };
}
