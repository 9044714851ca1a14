/** Which screen is open: the fragment of the address, so that the server needs one route. */
import { signal } from "@preact/signals";

/** @typedef {{name: string, id: string, query: Record<string, string>}} Route */

/** Read a fragment such as `#/edit/img_1?from=x`. @param {string} hash @returns {Route} */
export function read(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?");
  const [name = "", id = ""] = path.split("/").map(decodeURIComponent);
  return { name, id, query: Object.fromEntries(new URLSearchParams(search)) };
}

/**
 * Return the fragment of a screen.
 * @param {string} name @param {string} [id] @param {Record<string, string>} [query]
 */
export function href(name, id = "", query = {}) {
  const search = new URLSearchParams(query).toString();
  return `#/${name}${id ? `/${encodeURIComponent(id)}` : ""}${search ? `?${search}` : ""}`;
}

/** The screen that is open. */
export const route = signal(read(location.hash));

/**
 * Open a screen.
 * @param {string} name @param {string} [id] @param {Record<string, string>} [query]
 * @param {{replace?: boolean}} [how] `replace`: Back leads past the one that was open
 */
export function go(name, id, query, { replace = false } = {}) {
  const hash = href(name, id, query);
  if (replace) history.replaceState(null, "", hash);
  else if (hash !== location.hash) history.pushState(null, "", hash);
  route.value = read(hash);
}

addEventListener("hashchange", () => (route.value = read(location.hash)));
addEventListener("popstate", () => (route.value = read(location.hash)));
