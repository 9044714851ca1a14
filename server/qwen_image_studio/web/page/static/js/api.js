/** The server's HTTP API, from the page that it serves. */

/** Address of the server's root, whatever path it stands below. */
export const ROOT = new URL("../../../", import.meta.url);

/** What the server answers instead of what was asked for, or that it did not answer at all (status 0). */
export class ApiError extends Error {
  /** @param {number} status @param {{code: string, message: string, param?: string | null, request_id?: string}} detail @param {number | null} retryAfter seconds */
  constructor(status, detail, retryAfter = null) {
    super(detail.message);
    this.status = status;
    this.code = detail.code;
    this.param = detail.param ?? null;
    this.requestId = detail.request_id ?? "";
    this.retryAfter = retryAfter;
  }

  /** Whether the line was lost, so that nobody knows whether the request came through. */
  get isLost() {
    return this.status === 0;
  }
}

/**
 * @typedef {object} Asked
 * @property {unknown} [json] body
 * @property {FormData} [form] body
 * @property {string} [key] Idempotency-Key
 * @property {AbortSignal} [signal]
 * @property {Record<string, string | number | boolean | null | undefined>} [query] empty values are left out
 * @property {boolean} [keepalive] whether it outlives the page
 */

/** @type {(error: ApiError) => void} */
let whenRefused = () => {};

/** Have a function called when the server no longer knows who asks. @param {(error: ApiError) => void} run */
export function onRefused(run) {
  whenRefused = run;
}

/** @type {() => void} */
let whenLost = () => {};

/** Have a function called whenever the server does not answer. @param {() => void} run */
export function onLost(run) {
  whenLost = run;
}

/**
 * Ask the server, and return the JSON of its answer; null where it has none. Links in it are paths.
 * Throws ApiError.
 * @param {string} method
 * @param {string} path such as "/v1/jobs"
 * @param {Asked} [asked]
 * @returns {Promise<any>}
 */
export async function request(method, path, { json, form, key, signal, query, keepalive } = {}) {
  const url = new URL(path.replace(/^\//, ""), ROOT);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json;links=path" };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  let answer;
  try {
    const body = form ?? (json === undefined ? undefined : JSON.stringify(json));
    answer = await fetch(url, { method, headers, body, signal, keepalive, credentials: "same-origin" });
  } catch (error) {
    if (signal?.aborted) throw error;
    whenLost();
    throw new ApiError(0, { code: "lost", message: "" });
  }
  if (answer.status === 204) return null;
  const read = await answer.json().catch(() => null);
  if (answer.ok) return read;
  const detail = read?.error ?? { code: "unknown", message: `${answer.status} ${answer.statusText}` };
  const error = new ApiError(answer.status, detail, Number(answer.headers.get("Retry-After")) || null);
  if (answer.status === 401) whenRefused(error);
  throw error;
}

/** Return a fresh Idempotency-Key. It works without a secure context, where randomUUID is not to be had. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Return an absolute address of one of the server's links, for people to share. @param {string} url */
export function shareable(url) {
  return new URL(url, ROOT).href;
}
