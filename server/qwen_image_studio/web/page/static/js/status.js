/** Status: how the server is; for operators also devices, queue, speeds, failures and keys. */
import { request, ROOT } from "./api.js";
import { Devices } from "./devices.js";
import { Keys, Limits, readKeys } from "./keys.js";
import { called } from "./operations.js";
import { can, health, line, me, models, onEvent, tell } from "./store.js";
import { fmt, html, Icon, signal, t, useEffect } from "./ui.js";
import { Queue, readQueue } from "./waiting.js";
import { has } from "./words.js";
import "./words/status.js";

/** @typedef {import("./types.js").Health} Health */

const LOOK_MS = 5000;
const KEYS_MS = 60_000;

/** The health as this caller sees it; the stream's has nothing for operators. */
const seen = signal(/** @type {Health | null} */ (null));

async function look() {
  try {
    const [found, listed] = await Promise.all([
      request("GET", "/v1/health"),
      can("operate") ? readQueue() : request("GET", "/v1/models"),
    ]);
    seen.value = found;
    if (listed?.data) models.value = listed.data;
  } catch (error) {
    if (line.value === "live") tell(error);
  }
}

/** Keep everything up to date for as long as it is looked at; return what ends that. */
function attend() {
  let soon = 0;
  let keysAt = 0;
  const now = () => {
    if (document.visibilityState !== "visible") return;
    void look();
    if (can("operate") && Date.now() - keysAt > KEYS_MS) {
      keysAt = Date.now();
      void readKeys();
    }
  };
  const news = () => {
    clearTimeout(soon);
    soon = setTimeout(now, 300);
  };
  const ends = [onEvent("health", news), onEvent("job", news)];
  const timer = setInterval(now, LOOK_MS);
  document.addEventListener("visibilitychange", now);
  now();
  return () => {
    clearInterval(timer);
    clearTimeout(soon);
    ends.forEach((end) => end());
    document.removeEventListener("visibilitychange", now);
  };
}

export default function Screen() {
  useEffect(attend, []);
  const now = seen.value ?? health.value;
  if (!now) return html`<div class="page"><div class="status"><h1 class="muted">…</h1></div></div>`;
  const operator = seen.value?.operator;
  return html`<div class="page">
    <div class="status">
      <${Head} health=${now} />
      <${Devices} workers=${now.workers} devices=${operator?.devices ?? []} />
      ${operator
        ? html`<${Queue} /><${Speeds} speeds=${operator.speeds} /><${Failures} operator=${operator} /><${Keys} />`
        : html`<${Models} />${me.value && html`<section class="card"><h2>${t("status.yours")}</h2><${Limits} limits=${me.value.limits} /></section>`}`}
    </div>
  </div>`;
}

/** One sentence with a light. @param {{health: Health}} props */
function Head({ health: now }) {
  const state = line.value === "lost" ? "unknown" : now.state;
  return html`<header class="status-head">
    <span class="status-light" data-state=${state} aria-hidden="true"></span>
    <div>
      <h1>${t(`status.${state}`)}</h1>
      ${!["ready", "busy", "unknown"].includes(state) && html`<p>${now.message}</p>`}
      <p class="muted">
        ${now.queued !== null && html`<span>${t("status.counts", { running: now.running ?? 0, waiting: now.queued })}</span> · `}${t("status.version", { version: now.version })}
      </p>
    </div>
  </header>`;
}

/** @param {{speeds: import("./types.js").SpeedView[]}} props */
function Speeds({ speeds }) {
  const most = Math.max(...speeds.map((each) => each.seconds), 1e-9);
  return html`<section class="card half">
    <h2>${t("status.speeds")}</h2>
    <p class="hint">${t("status.speeds_how")}</p>
    ${speeds.length === 0
      ? html`<p class="muted">${t("status.no_speeds")}</p>`
      : html`<table>
          <thead><tr><th scope="col">${t("status.model")}</th><th scope="col">${t("status.tier")}</th><th scope="col">${t("status.operation")}</th><th scope="col" class="number">${t("status.time")}</th></tr></thead>
          <tbody>${speeds.map(
            (each) => html`<tr key=${`${each.model}/${each.tier}/${each.operation}`}>
              <td>${each.model === "cv" ? t("status.cv") : each.model}</td><td>${t(`status.tier_${each.tier}`)}</td><td>${called(each.operation)}</td>
              <td class="number"><strong>${fmt.duration(each.seconds)}</strong><progress max=${most} value=${each.seconds} aria-hidden="true"></progress></td>
            </tr>`,
          )}</tbody>
        </table>`}
  </section>`;
}

/** @param {{operator: import("./types.js").OperatorView}} props */
function Failures({ operator: { failures, calls_dropped: dropped } }) {
  return html`<section class="card half">
    <h2>${t("status.failures")}</h2>
    ${failures.length === 0 && html`<p class="muted">${t("status.no_failures")}</p>`}
    <ul class="status-failures">
      ${failures.map(
        (each) => html`<li key=${`${each.at}/${each.job_id}`}>
          <${Icon} name="triangle-alert" />
          <div>
            <strong>${has(`status.code_${each.code}`) ? t(`status.code_${each.code}`) : each.code}</strong>
            <p class="muted">${[called(each.operation), each.model === "cv" ? "" : each.model, each.owner, (each.attempt ?? 1) > 1 ? t("status.attempt", { n: each.attempt ?? 1 }) : ""].filter(Boolean).join(" · ")}</p>
          </div>
          <time class="muted" title=${fmt.time(each.at)}>${fmt.ago(each.at)}</time>
        </li>`,
      )}
    </ul>
    ${dropped > 0 && html`<p class="wrong">${t("status.calls_dropped", { n: dropped })}</p>`}
    <p><a href=${new URL("v1/calls?format=csv&limit=1000", ROOT).href} download="calls.csv">${t("status.calls")}</a></p>
  </section>`;
}

/** Models and the seconds of their speeds, for those who do not operate. */
function Models() {
  return html`<section class="card">
    <h2>${t("status.models")}</h2>
    <p class="hint">${t("status.speeds_how")}</p>
    <table>
      <tbody>${models.value.map(
        (model) => html`<tr key=${model.id}>
          <th scope="row">${model.id}${model.loaded && html`<span class="tag">${t("status.in_memory")}</span>`}${model.unavailable && html`<p class="wrong">${model.unavailable}</p>`}</th>
          <td>${model.tiers.map((each) => html`<p key=${each.tier}>${t(`status.tier_${each.tier}`)}: ${each.seconds === null ? html`<span class="muted">${t("status.not_measured")}</span>` : fmt.duration(each.seconds)}</p>`)}</td>
        </tr>`,
      )}</tbody>
    </table>
  </section>`;
}
