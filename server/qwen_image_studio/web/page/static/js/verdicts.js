/**
 * Verdicts on held pictures. The server takes the first one for good, so each is kept here for ten seconds before it is
 * sent: that is its undo. None is lost (what is not sent is kept in this browser, and sent by the reviewer's next
 * page), none is sent twice (what may have arrived is looked up first).
 */
import { ApiError, request } from "./api.js";
import { deciding, held, line, me, onSignOut } from "./store.js";
import { batch, effect, signal, t, toast } from "./ui.js";
import "./words/review.js";

/** @typedef {import("./types.js").ListedImage} ListedImage */
/**
 * @typedef {object} Verdict
 * @property {string} id of the image
 * @property {"approved" | "rejected"} state
 * @property {string[]} reasons
 * @property {number} due when it is sent, in milliseconds of Unix time
 * @property {string} who the reviewer
 * @property {string} page the page that keeps it
 * @property {number} [left] when that page was left and sent it
 * @property {boolean} [sending]
 * @property {ListedImage} [image] while its page lives
 */

export const UNDO_MS = 10_000;
const KEPT = "studio.verdicts";
const PAGE = `${Date.now()}.${Math.random()}`;
/** How long a request of a page that was left may take to arrive, and a living page may be late, in milliseconds. */
const ARRIVES_MS = 3000;
const LATE_MS = 75_000;
const AGAIN_MS = [2000, 5000, 15_000, 30_000];

/** The verdicts of this page that the server does not know yet, oldest first. */
export const verdicts = signal(/** @type {Verdict[]} */ ([]));
/** Ids of pictures that wait no more, whatever a list of before says. */
export const settled = signal(/** @type {ReadonlySet<string>} */ (new Set()));

let unsay = () => {};
let tries = 0;
let again = 0;

/** Return the reviewer, as kept verdicts name one; empty while nobody is signed in. */
function reviewer() {
  return me.value ? `${me.value.owner}/${me.value.key ?? ""}` : "";
}

// -- keeping ----------------------------------------------------------------------------------------------------------

/** @returns {Verdict[]} */
function stored() {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
    return Array.isArray(found) ? found.filter((each) => each && typeof each.id === "string" && Array.isArray(each.reasons)) : [];
  } catch {
    return [];
  }
}

/** Keep this page's verdicts beside those of others. */
function keep() {
  const own = verdicts.value.map(({ image, sending, ...plain }) => plain);
  const all = [...stored().filter((each) => each.page !== PAGE), ...own];
  if (all.length) localStorage.setItem(KEPT, JSON.stringify(all));
  else localStorage.removeItem(KEPT);
}

/** @param {Verdict[]} next */
function set(next) {
  batch(() => {
    verdicts.value = next;
    deciding.value = next.length;
  });
  keep();
}

/** Decide on a picture, and say how to take that back. @param {ListedImage} image @param {Verdict["state"]} state @param {string[]} reasons */
export function decide(image, state, reasons) {
  if (verdicts.value.some((each) => each.id === image.id)) return;
  const verdict = { id: image.id, state, reasons, due: Date.now() + UNDO_MS, who: reviewer(), page: PAGE, image };
  set([...verdicts.value, verdict]);
  setTimeout(sendDue, UNDO_MS);
  unsay();
  unsay = toast(t(`review.said_${state}`), {
    seconds: UNDO_MS / 1000,
    action: { label: t("review.undo"), run: () => undo(image.id) },
  });
}

/** Take back the last verdict that was not sent yet, or that on one picture; return its picture. @param {string} [id] */
export function undo(id) {
  const found = verdicts.value.findLast((each) => !each.sending && (id === undefined || each.id === id));
  if (!found) return null;
  set(verdicts.value.filter((each) => each !== found));
  unsay();
  undone.value = found;
  return found;
}

/** The verdict that was taken back last. */
export const undone = signal(/** @type {Verdict | null} */ (null));

// -- sending ----------------------------------------------------------------------------------------------------------

/** Send what is due. @returns {Promise<unknown>} */
function sendDue() {
  const now = Date.now() + 50; // clocks and timers differ a little
  return Promise.all(verdicts.value.filter((each) => each.due <= now).map((each) => send(each)));
}

/** Send all at once, such as before the reviewer signs out. @returns {Promise<unknown>} */
export function sendAll() {
  return Promise.all(verdicts.value.map((each) => send(each)));
}

/** @param {Verdict} verdict */
async function send(verdict) {
  if (verdict.sending || verdict.who !== reviewer()) return;
  verdict.sending = true;
  const json = { state: verdict.state, reasons: verdict.reasons };
  try {
    await request("POST", `/v1/images/${verdict.id}/review`, { json, keepalive: true });
    settle(verdict);
  } catch (error) {
    verdict.sending = false;
    if (!(error instanceof ApiError)) throw error;
    if (error.isLost || error.status >= 500 || error.status === 429 || error.status === 401) later(error.retryAfter);
    else await refused(verdict, error);
  }
}

/** Forget a verdict that is not needed any more: its picture waits for nobody. @param {Verdict} verdict */
function settle(verdict) {
  tries = 0;
  batch(() => {
    settled.value = new Set([...settled.value, verdict.id]);
    held.value = Math.max(0, held.value - 1);
    set(verdicts.value.filter((each) => each.id !== verdict.id));
  });
}

/** Say why a verdict was not taken. @param {Verdict} verdict @param {ApiError} error */
async function refused(verdict, error) {
  if (error.code === "already_reviewed") {
    const found = await now(verdict.id);
    settle(verdict);
    const by = found?.reviewer?.by;
    toast(by ? t(`review.first_${found.review}`, { by }) : error.message, { kind: "error" });
  } else if (error.status === 404 || error.code === "not_held") {
    settle(verdict);
    toast(t("review.gone"), { kind: "error" });
  } else {
    set(verdicts.value.filter((each) => each.id !== verdict.id));
    toast(error.message, { kind: "error" });
  }
}

/** Try again after a while. @param {number | null} [seconds] as the server says */
function later(seconds) {
  const pause = seconds ? seconds * 1000 : AGAIN_MS[Math.min(tries++, AGAIN_MS.length - 1)];
  clearTimeout(again);
  again = setTimeout(sendDue, pause);
}

/** Return a picture as it is now; null where that cannot be told. @param {string} id @returns {Promise<ListedImage | null>} */
async function now(id) {
  const found = await request("GET", `/v1/images/${id}/chain`).catch(() => null);
  return found?.image ?? null;
}

// -- what other pages of this reviewer left ---------------------------------------------------------------------------

/** Take over what pages that are gone have left behind; those that may have arrived are looked up. */
async function adopt() {
  const who = reviewer();
  const at = Date.now();
  const others = stored().filter((each) => each.page !== PAGE && each.who === who);
  const ready = (/** @type {Verdict} */ each) => (each.left ? each.left + ARRIVES_MS : each.due + LATE_MS);
  const found = others.filter((each) => ready(each) <= at);
  const waiting = others.filter((each) => ready(each) > at).map(ready);
  if (waiting.length) setTimeout(adopt, Math.min(...waiting) - at);
  if (!found.length) return;
  const ids = new Set(found.map((each) => each.id));
  localStorage.setItem(KEPT, JSON.stringify(stored().filter((each) => each.page === PAGE || !ids.has(each.id))));
  set([...verdicts.value, ...found.map(({ left, ...each }) => ({ ...each, page: PAGE, sending: true }))]);
  for (const verdict of verdicts.value.filter((each) => ids.has(each.id))) await resume(verdict);
}

/** Send a verdict of a page that is gone, unless it has arrived. @param {Verdict} verdict */
async function resume(verdict) {
  try {
    const { image } = await request("GET", `/v1/images/${verdict.id}/chain`);
    verdict.sending = false;
    if (image.review === "held") await send(verdict);
    else if (image.review === verdict.state && image.reviewer?.by === (me.value?.key ?? me.value?.owner)) settle(verdict);
    else await refused(verdict, new ApiError(409, { code: "already_reviewed", message: t("review.gone") }));
  } catch (error) {
    verdict.sending = false;
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 404) settle(verdict);
    else later(error.retryAfter);
  }
}

/** Leaving the page sends what it keeps; it is noted, since nobody hears whether it arrives. */
addEventListener("pagehide", () => {
  for (const verdict of verdicts.value) {
    verdict.left = Date.now();
    void send(verdict);
  }
  keep();
});

/** A page that is shown again, by Back, goes on. */
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const verdict of verdicts.value) delete verdict.left;
  keep();
  void sendDue();
});

addEventListener("online", () => void sendDue());
onSignOut(sendAll);
effect(() => {
  if (me.value && line.value === "live") void sendDue().then(adopt);
});
