/**
 * Who comes through the door, in several tabs: these share one cookie, so whoever comes in by one tab is in by all. A
 * tab that was opened by a link keeps the link for itself, and shows it again when another tab has come by another one.
 */
import { ApiError, request } from "./api.js";

const LINK = "studio.link";
const tabs = new BroadcastChannel("studio.door");
let isStale = false;

/** Keep the link by which this tab was opened. @param {string} image @param {string} k */
export function keepLink(image, k) {
  sessionStorage.setItem(LINK, JSON.stringify({ image_id: image, k }));
}

/** Show the link of this tab, if it has one; return whether it has. Throws ApiError. */
export async function showLink() {
  const link = sessionStorage.getItem(LINK);
  if (!link) return false;
  try {
    await request("POST", "/v1/session", { json: JSON.parse(link) });
  } catch (error) {
    if (error instanceof ApiError && !error.isLost && error.status < 500) sessionStorage.removeItem(LINK);
    throw error;
  }
  tabs.postMessage("in");
  return true;
}

/** Come in with an API key, which is kept nowhere. Throws ApiError. @param {string} key */
export async function showKey(key) {
  await request("POST", "/v1/session", { json: { api_key: key } });
  sessionStorage.removeItem(LINK);
  tabs.postMessage("in");
}

/** Leave by every tab. Throws ApiError. */
export async function leaveAll() {
  await request("DELETE", "/v1/session");
  sessionStorage.removeItem(LINK);
  tabs.postMessage("out");
}

/**
 * Watch what other tabs do at the door.
 * @param {() => Promise<boolean>} isStill whether the server still knows this tab's person as the same
 */
export function watchTabs(isStill) {
  tabs.onmessage = ({ data }) => {
    if (data === "in") return void (isStale = true);
    sessionStorage.removeItem(LINK);
    location.reload();
  };
  const look = async () => {
    if (!isStale || document.hidden) return;
    isStale = false;
    try {
      if (!(await showLink()) && !(await isStill())) location.reload();
    } catch {
      location.reload();
    }
  };
  for (const kind of ["focus", "visibilitychange", "pointerdown", "keydown"]) addEventListener(kind, () => void look(), true);
  // A link that is pasted into the address of an open page changes the fragment alone.
  addEventListener("hashchange", () => /[?&]k=/.test(location.hash) && location.reload());
}
