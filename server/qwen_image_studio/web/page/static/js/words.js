/** Texts in English and Chinese, and numbers as each language writes them. */
import { signal } from "@preact/signals";

/** @typedef {"en" | "zh"} Language */

/** @type {Record<string, [string, string]>} */
const table = {};

/**
 * Add a screen's texts: `"screen.name": [English, Chinese]`. `{n}` stands for a value; `{n|picture|pictures}` in
 * English for the word that fits the number.
 * @param {Record<string, [string, string]>} words
 */
export function add(words) {
  Object.assign(table, words);
}

const LANGUAGE = "studio.language";

/** Return the language that was chosen here, else the browser's. @returns {Language} */
function first() {
  const kept = localStorage.getItem(LANGUAGE);
  if (kept === "en" || kept === "zh") return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** The language of the page. */
export const lang = signal(first());

/** Choose the language, and keep the choice. @param {Language} language */
export function speak(language) {
  lang.value = language;
  localStorage.setItem(LANGUAGE, language);
}

/**
 * Return a text in the page's language. A name that is in no table is a mistake of ours, and is shown.
 * @param {string} name
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(name, values = {}) {
  const found = table[name];
  if (!found) return name;
  return found[lang.value === "zh" ? 1 : 0].replace(/\{(\w+)(?:\|([^|}]*)\|([^}]*))?\}/g, (_, key, one, many) => {
    const value = values[key];
    if (one !== undefined) return Number(value) === 1 ? one : many;
    return typeof value === "number" ? fmt.number(value) : String(value ?? "");
  });
}

/** Return whether there is a text of this name. @param {string} name */
export function has(name) {
  return name in table;
}

/** Return all names that are in a table. @returns {Readonly<Record<string, [string, string]>>} */
export function words() {
  return table;
}

const locale = () => (lang.value === "zh" ? "zh-CN" : "en");
const rounded = (/** @type {number} */ x, most = 0) => new Intl.NumberFormat(locale(), { maximumFractionDigits: most });

/** Values as the page's language writes them. */
export const fmt = {
  /** @param {number} value @param {number} [digits] most digits behind the point */
  number: (value, digits = 1) => rounded(value, digits).format(value),
  /** Return a share from 0 to 1 in per cent; small ones with a digit more. @param {number} share */
  percent(share) {
    const digits = share > 0 && share < 0.1 ? 1 : 0;
    return new Intl.NumberFormat(locale(), { style: "percent", maximumFractionDigits: digits }).format(share);
  },
  /** Return a duration in its largest fitting unit, such as 66 sec or 3 min. @param {number} seconds */
  duration(seconds) {
    const [value, unit] =
      seconds < 100 ? [seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds), "second"]
      : seconds < 5400 ? [Math.round(seconds / 60), "minute"]
      : seconds < 129600 ? [Math.round(seconds / 3600), "hour"]
      : [Math.round(seconds / 86400), "day"];
    return new Intl.NumberFormat(locale(), { style: "unit", unit: String(unit), unitDisplay: "short" }).format(Number(value));
  },
  /** Return how long ago a time was. @param {number} at in Unix seconds */
  ago(at) {
    const s = Math.max(0, Date.now() / 1000 - at);
    const [value, unit] =
      s < 60 ? [s, "second"] : s < 3600 ? [s / 60, "minute"] : s < 86400 ? [s / 3600, "hour"] : [s / 86400, "day"];
    const names = new Intl.RelativeTimeFormat(locale(), { style: "short", numeric: "auto" });
    return names.format(-Math.round(Number(value)), /** @type {Intl.RelativeTimeFormatUnit} */ (unit));
  },
  /** Return a time as date and time of day. @param {number} at in Unix seconds */
  time: (at) => new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" }).format(at * 1000),
  /** @param {number} bytes */
  bytes(bytes) {
    const [value, unit] =
      bytes < 1e6 ? [bytes / 1e3, "kilobyte"] : bytes < 1e9 ? [bytes / 1e6, "megabyte"] : [bytes / 1e9, "gigabyte"];
    const style = /** @type {const} */ ({ style: "unit", unitDisplay: "short", maximumFractionDigits: 1 });
    return new Intl.NumberFormat(locale(), { ...style, unit: String(unit) }).format(Number(value));
  },
};
