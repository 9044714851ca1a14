/** API keys for operators: what each may do, its limits, and what it and its people have used in a month. */
import { request, ROOT } from "./api.js";
import { person } from "./people.js";
import { Button, fmt, html, Icon, signal, t } from "./ui.js";

/** @typedef {import("./types.js").KeyView} KeyView */
/** @typedef {import("./types.js").UsageView} UsageView */
/** @typedef {import("./types.js").LimitsView} LimitsView */

const COUNTED = /** @type {const} */ (["images_per_day", "images_per_month", "requests_per_minute", "jobs_at_once"]);

const keys = signal(/** @type {KeyView[]} */ ([]));
const hasMore = signal(false);
const usage = signal(/** @type {UsageView[]} */ ([]));
const months = signal(/** @type {string[]} */ ([]));
const month = signal(new Date().toISOString().slice(0, 7));
const isBroken = signal(false);

/** Read the keys, and what was used in the month that is shown. */
export async function readKeys() {
  try {
    const limit = Math.min(100, Math.max(50, keys.value.length));
    const [listed, used, all] = await Promise.all([
      request("GET", "/v1/keys", { query: { limit } }),
      request("GET", "/v1/usage", { query: { group: "key,person", month: month.value } }),
      request("GET", "/v1/usage", { query: { group: "month" } }),
    ]);
    keys.value = listed.data;
    hasMore.value = listed.has_more;
    usage.value = used.data;
    const present = new Date().toISOString().slice(0, 7);
    months.value = [...new Set([present, month.value, ...all.data.map((/** @type {UsageView} */ each) => each.month)])].sort().reverse();
    isBroken.value = false;
  } catch {
    isBroken.value = true;
  }
}

async function more() {
  const page = await request("GET", "/v1/keys", { query: { after: keys.value.at(-1)?.name } }).catch(() => null);
  if (!page) return;
  keys.value = [...keys.value, ...page.data];
  hasMore.value = page.has_more;
}

/** @param {string} next */
function choose(next) {
  month.value = next;
  usage.value = [];
  void readKeys();
}

export function Keys() {
  const known = new Set(keys.value.map((each) => each.name));
  const strangers = [...new Set(usage.value.filter((each) => !known.has(each.key ?? "")).map((each) => each.key ?? ""))];
  return html`<section class="card">
    <div class="status-bar">
      <h2>${t("status.keys")}</h2>
      <label class="status-month"><span class="sr-only">${t("status.month")}</span>
        <select class="input" value=${month.value} onChange=${(/** @type {any} */ event) => choose(event.target.value)}>
          ${months.value.map((each) => html`<option key=${each} value=${each} selected=${each === month.value}>${each}</option>`)}
        </select>
      </label>
      <a class="button" href=${new URL(`v1/usage?format=csv&month=${month.value}`, ROOT).href} download=${`usage-${month.value}.csv`}><${Icon} name="download" /><span>${t("status.sheet")}</span></a>
    </div>
    ${isBroken.value && html`<p class="wrong">${t("status.not_read")}</p>`}
    ${!isBroken.value && keys.value.length === 0 && html`<p class="muted">${t("status.no_keys")}</p>`}
    ${keys.value.map((each) => html`<${Key} key=${each.name} name=${each.name} view=${each} />`)}
    ${strangers.map((each) => html`<${Key} key=${`?${each}`} name=${each} />`)}
    ${hasMore.value && html`<${Button} kind="quiet" icon="ellipsis" onClick=${more}>${t("status.more")}<//>`}
  </section>`;
}

/** One key, folded. @param {{name: string, view?: KeyView}} props a key that is used but not listed has no view */
function Key({ name, view }) {
  const used = usage.value.filter((each) => (each.key ?? "") === name);
  const pictures = used.reduce((sum, each) => sum + each.pictures, 0);
  const seconds = used.reduce((sum, each) => sum + each.device_s, 0);
  const people = used.filter((each) => each.person).length ? used : [];
  return html`<details class="status-key" data-revoked=${view?.revoked_at != null}>
    <summary>
      <${Icon} name="chevron-right" />
      <span class="status-name"><strong>${name || t("status.without_key")}</strong>${view && view.owner !== name && html`<span class="muted">${view.owner}</span>`}</span>
      <span class="row">
        ${view?.can.map((scope) => html`<span key=${scope} class="tag">${t(`status.may_${scope}`)}</span>`)}
        ${view?.revoked_at != null && html`<span class="tag" data-state="lost">${t("status.key_revoked")}</span>`}
      </span>
      <span class="status-used">${used.length ? html`<strong>${t("status.pictures", { n: pictures })}</strong><span class="muted">${t("status.device_time", { time: fmt.duration(seconds) })}</span>` : html`<span class="muted">${t("status.unused")}</span>`}</span>
    </summary>
    <div class="status-inside">
      ${view && html`<${Limits} limits=${view.limits} person=${view.limits_of_each_person} />`}
      ${view?.policy && html`<p class="muted">${t(`status.policy_${view.policy}`)}</p>`}
      ${view?.rotating_until && html`<p class="muted">${t("status.key_rotating", { time: fmt.time(view.rotating_until) })}</p>`}
      ${people.length > 0 && html`<table>
        <tbody>${[...people].sort((one, other) => other.pictures - one.pictures).map((each) => html`<tr key=${each.person}>
          <th scope="row" title=${each.person}>${who(each.person)}</th><td class="number">${t("status.pictures", { n: each.pictures })}</td><td class="number muted">${t("status.device_time", { time: fmt.duration(each.device_s) })}</td>
        </tr>`)}</tbody>
      </table>`}
    </div>
  </details>`;
}

/** @param {string | null} name */
function who(name) {
  const found = person(name);
  if (!found) return t("status.nobody");
  return found.kind === "own" ? found.name : t(`status.${found.kind}`, { name: found.name });
}

/** Limits with what is used of them. @param {{limits: LimitsView, person?: Record<string, number>}} props */
export function Limits({ limits, person: each = {} }) {
  const counted = COUNTED.filter((name) => limits[name].limit !== null);
  const fixed = [
    ...(limits.max_pixels === null ? [] : [[t("status.max_pixels"), t("status.pixels", { n: fmt.number(limits.max_pixels / 1e6, 2) })]]),
    ...(limits.max_steps === null ? [] : [[t("status.max_steps"), fmt.number(limits.max_steps)]]),
    ...Object.entries(each).map(([name, value]) => [`${t("status.each_person")}: ${t(`status.${name}`)}`, name === "max_pixels" ? t("status.pixels", { n: fmt.number(value / 1e6, 2) }) : fmt.number(value)]),
  ];
  if (!counted.length && !fixed.length) return html`<p class="muted">${t("status.no_limits")}</p>`;
  return html`<dl class="status-limits">
    ${counted.map((name) => {
      const { limit, used } = limits[name];
      const told = t("status.used_of", { used, limit: limit ?? 0 });
      return html`<div key=${name}><dt>${t(`status.${name}`)}</dt><dd>${told}<progress max=${Math.max(1, limit ?? 1)} value=${used} aria-label=${`${t(`status.${name}`)}: ${told}`}></progress></dd></div>`;
    })}
    ${fixed.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}
