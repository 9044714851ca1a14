/** The queue of all owners, for operators: what runs and what waits, and how to cancel it. */
import { request } from "./api.js";
import { person } from "./people.js";
import { called } from "./operations.js";
import { tell } from "./store.js";
import { Button, confirm, fmt, html, Icon, signal, t, toast, useSignal } from "./ui.js";

/** @typedef {import("./types.js").QueueEntry} QueueEntry */
/** @typedef {{data: QueueEntry[], has_more: boolean, waiting: number, running: number}} Listed */

const PAGE = 50;

/** The queue, oldest job first; null until it was read. */
export const queue = signal(/** @type {Listed | null} */ (null));
const pages = signal(1);

/** Read as many pages of the queue as are shown. Throws ApiError. */
export async function readQueue() {
  const page = (/** @type {string} */ after) => request("GET", "/v1/queue", { query: { limit: PAGE, after } });
  /** @type {Listed} */
  let found = await page("");
  for (let number = 1; number < pages.value && found.has_more; number++) {
    const next = await page(found.data.at(-1)?.id ?? "");
    found = { ...next, data: [...found.data, ...next.data] };
  }
  queue.value = found;
}

/** Have jobs cancelled, and say how many. @param {{scope: "waiting"} | {job_id: string}} which */
async function cancel(which) {
  try {
    const { cancelled } = await request("POST", "/v1/queue/cancel", { json: which });
    toast(t("status.cancelled", { n: cancelled }));
  } catch (error) {
    tell(error);
  }
  await readQueue().catch(tell);
}

export function Queue() {
  const isCancelling = useSignal(false);
  const now = queue.value;
  const open = (now?.data.filter((each) => each.state !== "review") ?? []).sort((one, other) => turn(one) - turn(other));
  const reviewed = now?.data.filter((each) => each.state === "review") ?? [];
  const all = async () => {
    const asked = { title: t("status.cancel_all_title"), text: t("status.cancel_all_text"), action: t("status.cancel_all_yes"), danger: true };
    if (!(await confirm(asked))) return;
    isCancelling.value = true;
    await cancel({ scope: "waiting" });
    isCancelling.value = false;
  };
  return html`<section class="card">
    <div class="status-bar">
      <h2>${t("status.queue")}</h2>
      ${now && html`<span class="muted">${t("status.counts", { running: now.running, waiting: now.waiting })}</span>`}
      <${Button} kind="danger" icon="ban" busy=${isCancelling.value} disabled=${!now?.waiting} onClick=${all}>${t("status.cancel_all")}<//>
    </div>
    ${!now ? html`<p class="muted" aria-busy="true">…</p>` : open.length === 0 && html`<p class="muted">${t("status.queue_empty")}</p>`}
    <${Entries} entries=${open} />
    ${reviewed.length > 0 && html`<details class="status-reviewed">
      <summary><${Icon} name="chevron-right" />${t("status.in_review", { n: reviewed.length })}</summary>
      <${Entries} entries=${reviewed} />
    </details>`}
    ${now?.has_more && html`<${Button} kind="quiet" icon="ellipsis" onClick=${() => ((pages.value += 1), readQueue().catch(tell))}>${t("status.more")}<//>`}
  </section>`;
}

/** Return a number that grows with the time until a job is painted. @param {QueueEntry} entry */
function turn(entry) {
  return entry.state === "running" ? 0 : (entry.queue_position ?? Number.MAX_SAFE_INTEGER);
}

/** @param {{entries: QueueEntry[]}} props */
function Entries({ entries }) {
  return html`<ul class="status-queue">${entries.map((entry) => html`<${Entry} key=${entry.id} entry=${entry} />`)}</ul>`;
}

/** Return where a job of the queue stands, in words. @param {QueueEntry} entry */
function stands(entry) {
  if (entry.cancel_requested) return t("status.cancelling");
  if (entry.state === "review") return t("status.review");
  const { step, steps } = entry;
  if (entry.rows !== null) return steps ? t("status.rows", { step, steps }) : t("status.rows_waiting", { n: entry.rows });
  if (entry.state === "running") return step ? t("status.step", { step, steps }) : t("status.running");
  if (entry.queue_position === 1) return t("status.next");
  return entry.queue_position ? t("status.place", { n: entry.queue_position }) : t("status.queued");
}

/** @param {{entry: QueueEntry}} props */
function Entry({ entry }) {
  const who = person(entry.person);
  const owner = [entry.owner, entry.key && entry.key !== entry.owner ? entry.key : "", who && (who.kind === "own" ? who.name : t(`status.${who.kind}`, { name: who.name }))].filter(Boolean).join(" · ");
  const what = [called(entry.operation), entry.model === "cv" ? "" : entry.model, entry.rows === null && entry.model !== "cv" ? t(`status.tier_${entry.tier}`) : ""].filter(Boolean).join(" · ");
  const ask = async () => {
    const asked = { title: t("status.cancel_title"), text: t("status.cancel_text", { what, owner: entry.owner }), action: t("status.cancel_yes"), danger: true };
    if (await confirm(asked)) await cancel({ job_id: entry.id });
  };
  return html`<li data-state=${entry.state}>
    <div class="status-what"><strong>${what}</strong><span class="muted">${owner}</span></div>
    <span class="status-stands">${stands(entry)}${entry.state === "running" && entry.steps > 0 && html`<progress max=${entry.steps} value=${entry.step} aria-label=${stands(entry)}></progress>`}</span>
    <span class="muted">${[t("status.since", { time: fmt.duration(entry.age_s) }), entry.attempt > 1 ? t("status.attempt", { n: entry.attempt }) : ""].filter(Boolean).join(" · ")}</span>
    <${Button} kind="quiet" icon="x" label=${t("status.cancel", { owner: entry.owner })} disabled=${entry.cancel_requested} onClick=${ask} />
  </li>`;
}
