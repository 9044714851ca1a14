/** A batch or a campaign: its contact sheet, each row with its picture or why there is none, and its texts. */
import { ApiError, request } from "./api.js";
import { saidOf, word } from "./facts.js";
import { JobBar, standing } from "./job.js";
import { drop } from "./listing.js";
import { go, href } from "./router.js";
import { can, cancelJob, followJob, isGuest, jobs, onEvent, retryJob, submit, tell } from "./store.js";
import { Button, computed, confirm, Dialog, Field, fmt, html, Icon, Segments, signal, t, toast, useEffect, useMemo, useRef, useSignal } from "./ui.js";

/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {{channel: string, language: string, headline: string, subline?: string, prompt?: string}} Piece */

const PAGE = 100;
/** Least time between two looks at the rows of a batch that goes on. */
const PACE_MS = 1500;

/** The rows of the batch that is open. */
const rows = signal(/** @type {readonly JobView[]} */ ([]));
/** Jobs that paint a failed row once more, by the row's. */
const retries = signal(/** @type {ReadonlyMap<string, string>} */ (new Map()));

/** Ids of the pictures of all rows, in order. */
export const rowPictures = computed(() => rows.value.flatMap((row) => seen(row).map((image) => image.id)));

onEvent("image", ({ id, deleted }) => {
  if (!deleted || !rowPictures.value.includes(id)) return;
  rows.value = rows.value.map((row) => ({ ...row, images: row.images.map((image) => (image.id === id ? { ...image, deleted } : image)) }));
});

/** @param {JobView} job */
const seen = (job) => job.images.filter((image) => !image.deleted);

/** @param {{id: string}} props */
export function Batch({ id }) {
  const missing = useSignal("");
  const view = useSignal(/** @type {"pictures" | "texts"} */ ("pictures"));
  const again = useSignal(/** @type {number | null} */ (null));
  const job = jobs.value.get(id);

  useEffect(() => {
    rows.value = [];
    followJob(id).then(
      (found) => !found && (missing.value = t("gallery.batch_gone")),
      (error) => (missing.value = error instanceof ApiError && !error.isLost ? error.message : t("shell.lost")),
    );
    return () => void (rows.value = []);
  }, [id]);
  useRows(id, job);

  if (missing.value && !job) return html`<section class="batch"><${Back} /><div class="empty"><h1>${missing.value}</h1></div></section>`;
  if (!job?.rows) return html`<section class="batch" aria-busy="true"><${Back} /></section>`;
  const asked = /** @type {Record<string, any>} */ (job.request ?? {});
  const pieces = /** @type {Piece[]} */ (asked.pieces ?? []);
  const title = saidOf(job) || t(`gallery.${job.operation}`);
  const { over } = standing(job);
  return html`<section class="batch">
    <header class="batch-head">
      <${Back} />
      <div class="batch-title">
        <p class="label">${t(`gallery.${job.operation}`)} · ${fmt.time(job.created_at)}</p>
        <h1>${title}</h1>
        <p class="batch-counts" role="status">${counts(job)}</p>
      </div>
      <${Acts} job=${job} />
    </header>
    ${!over && html`<div class="card"><${JobBar} job=${job} onCancel=${can("generate") || can("edit") ? () => cancelJob(id) : undefined} /></div>`}
    ${job.error && html`<p class="wrong" role="alert">${job.error.message}</p>`}
    ${job.warnings.length > 0 && html`<details class="batch-notes"><summary><${Icon} name="info" />${t("gallery.notes")} (${job.warnings.length})</summary><ul>${job.warnings.map((each) => html`<li key=${each}>${each}</li>`)}</ul></details>`}
    ${pieces.length > 0 && html`<${Segments} hideLabel label=${t("gallery.view")} class="batch-views" value=${view.value} options=${[{ value: "pictures", label: t("gallery.pictures"), icon: "layout-grid" }, { value: "texts", label: t("gallery.texts"), icon: "list" }]} onChange=${(/** @type {any} */ to) => (view.value = to)} />`}
    ${view.value === "texts" && pieces.length
      ? html`<${Texts} pieces=${pieces} onAgain=${mayPaint() ? (/** @type {number} */ n) => (again.value = n) : null} />`
      : html`<div class="batch-body"><${Sheet} job=${job} /><ol class="rows" aria-label=${t("gallery.rows")}>${rows.value.map((row) => html`<${Row} key=${row.id} row=${row} batch=${id} piece=${pieces[row.row ?? -1]} onAgain=${() => (again.value = (row.row ?? 0) + 1)} />`)}</ol></div>`}
    <${Again} campaign=${id} number=${again.value} piece=${pieces[(again.value ?? 0) - 1]} onClose=${() => (again.value = null)} />
  </section>`;
}

const mayPaint = () => !isGuest.value && (can("generate") || can("edit"));

/** Read the rows, and those that had not ended again with each news of the batch. @param {string} id @param {JobView | undefined} job */
function useRows(id, job) {
  const reading = useRef(false);
  const asks = useRef(0);
  const told = job?.rows ? JSON.stringify([job.rows, job.state]) : "";
  useEffect(() => {
    if (!told) return;
    const mine = ++asks.current;
    const read = async () => {
      if (asks.current !== mine) return;
      if (reading.current) return void setTimeout(read, PACE_MS);
      reading.current = true;
      try {
        await readRows(id);
      } catch (error) {
        tell(error);
      }
      setTimeout(() => (reading.current = false), PACE_MS);
    };
    void read();
    return () => void (asks.current += 1);
  }, [id, told]);
}

/** @param {string} id */
async function readRows(id) {
  const first = rows.value.findIndex((row) => row.parent_id !== id || !standing(row).over || row.state === "review");
  let read = rows.value.slice(0, first < 0 ? rows.value.length : first);
  for (let goesOn = true; goesOn; ) {
    const page = await request("GET", "/v1/jobs", { query: { parent_id: id, limit: PAGE, after: read.at(-1)?.id } });
    read = [...read, ...page.data];
    goesOn = page.has_more;
    if (location.hash.includes(id)) rows.value = read;
  }
}

function Back() {
  return html`<a class="button quiet lone" href=${href("gallery")} aria-label=${t("gallery.back")} title=${t("gallery.back")}><${Icon} name="arrow-left" /></a>`;
}

/** @param {JobView} job */
function counts({ rows: now }) {
  if (!now) return null;
  const parts = /** @type {const} */ (["succeeded", "running", "queued", "review", "failed", "cancelled"]).filter((state) => now[state]);
  return parts.map((state) => html`<span key=${state} class=${`state ${state}`}>${t(`gallery.n_${state}`, { n: now[state] })}</span>`);
}

/** @param {{job: JobView}} props */
function Acts({ job }) {
  const busy = useSignal(false);
  const remove = async () => {
    if (!(await confirm({ title: t("gallery.ask_delete_batches", { n: 1 }), text: t("gallery.no_undo_batches"), action: t("gallery.delete"), danger: true }))) return;
    busy.value = true;
    try {
      await request("DELETE", `/v1/jobs/${job.id}`);
      drop([job.id]);
      go("gallery", "", {}, { replace: true });
    } catch (error) {
      tell(error);
    }
    busy.value = false;
  };
  const { over } = standing(job);
  return html`<div class="row batch-acts">
    ${job.archive_url && html`<a class="button" href=${job.archive_url} download><${Icon} name="folder-down" /><span>${t("gallery.zip")}</span></a>`}
    ${job.state === "review" && mayPaint() && html`<${Button} icon="x" onClick=${() => cancelJob(job.id)}>${t("job.cancel")}<//>`}
    ${over && job.state !== "review" && mayPaint() && html`<${Button} kind="danger" icon="trash-2" busy=${busy.value} onClick=${remove}>${t("gallery.delete")}<//>`}
  </div>`;
}

/** @param {{job: JobView}} props */
function Sheet({ job }) {
  const [sheet] = seen(job);
  if (!sheet) return null;
  return html`<figure class="sheet-figure">
    <a href=${href("gallery", sheet.id, { in: job.id })}><img src=${sheet.url} width=${sheet.width} height=${sheet.height} alt=${t("gallery.contact_sheet")} /></a>
    <figcaption class="muted">${t("gallery.contact_sheet")}</figcaption>
  </figure>`;
}

/** @param {{row: JobView, batch: string, piece?: Piece, onAgain: () => void}} props */
function Row({ row, batch, piece, onAgain }) {
  const busy = useSignal(false);
  const retried = jobs.value.get(retries.value.get(row.id) ?? "");
  const job = retried ?? row;
  const { text, over, ok } = standing(job);
  const failed = over && !ok && job.state !== "review";
  const retry = async () => {
    busy.value = true;
    try {
      const made = await retryJob(row);
      retries.value = new Map(retries.value).set(row.id, made.id);
    } catch (error) {
      tell(error);
    }
    busy.value = false;
  };
  const said = piece ? [piece.headline, piece.subline].filter(Boolean).join(" · ") : saidOf(row);
  const faces = seen(job);
  return html`<li class=${`batch-row ${failed ? "failed" : ""}`}>
    <div class="batch-faces" data-n=${Math.min(faces.length, 4)}>
      ${faces.map((image) => html`<a key=${image.id} href=${href("gallery", image.id, job === row ? { in: batch } : {})} data-id=${image.id}><img src=${image.thumbnail_url} alt=${said} loading="lazy" decoding="async" /></a>`)}
      ${!faces.length && html`<span class="batch-blank">${failed ? html`<${Icon} name="triangle-alert" />` : !over ? html`<${Icon} name="loader-circle" />` : html`<${Icon} name="clock" />`}</span>`}
    </div>
    <div class="batch-words">
      <p class="batch-number">${fmt.number((row.row ?? 0) + 1)}${piece && html`<span class="muted"> · ${word("channel", piece.channel)} · ${word("language", piece.language)}</span>`}</p>
      <p class="batch-said" title=${said}>${said}</p>
      ${!(over && ok) && html`<p class=${`state ${job.state}`}>${text}</p>`}
      ${failed && job.error && html`<p class="batch-why">${job.error.message}</p>`}
      ${mayPaint() && over && (piece ? html`<${Button} kind="quiet" icon="rotate-ccw" onClick=${onAgain}>${t("gallery.piece_again")}<//>` : failed && row.request && html`<${Button} icon="rotate-ccw" busy=${busy.value} onClick=${retry}>${t("job.again")}<//>`)}
    </div>
  </li>`;
}

/** The table of a campaign's texts. @param {{pieces: Piece[], onAgain: ((number: number) => void) | null}} props */
function Texts({ pieces, onAgain }) {
  const hasSubline = pieces.some((piece) => piece.subline);
  return html`<div class="texts"><table>
    <thead><tr>${["piece", "picture", "channel", "language", "headline", ...(hasSubline ? ["subline"] : [])].map((name) => html`<th key=${name} scope="col">${t(`gallery.col_${name}`)}</th>`)}${onAgain && html`<th><span class="sr-only">${t("gallery.piece_again")}</span></th>`}</tr></thead>
    <tbody>${pieces.map((piece, n) => {
      const row = rows.value.find((each) => each.row === n);
      const image = row && seen(row)[0];
      return html`<tr key=${n}>
        <th scope="row">${n + 1}</th>
        <td>${image ? html`<a href=${href("gallery", image.id, { in: row.parent_id ?? "" })}><img src=${image.thumbnail_url} alt=${piece.headline} loading="lazy" /></a>` : row && html`<span class=${`state ${row.state}`}>${standing(row).text}</span>`}</td>
        <td>${word("channel", piece.channel)}</td><td>${word("language", piece.language)}</td>
        <td lang=${piece.language}>${piece.headline}</td>${hasSubline && html`<td lang=${piece.language}>${piece.subline}</td>`}
        ${onAgain && html`<td><${Button} kind="quiet" icon="rotate-ccw" label=${t("gallery.piece_again")} onClick=${() => onAgain(n + 1)} /></td>`}
      </tr>`;
    })}</tbody>
  </table></div>`;
}

/** Paint one piece of a campaign again, perhaps with other words. @param {{campaign: string, number: number | null, piece?: Piece, onClose: () => void}} props */
function Again({ campaign, number, piece, onClose }) {
  const initial = useMemo(() => ({ headline: piece?.headline ?? "", subline: piece?.subline ?? "", prompt: piece?.prompt ?? "" }), [number]);
  const said = useSignal(initial);
  const wrong = useSignal("");
  const busy = useSignal(false);
  useEffect(() => {
    said.value = initial;
    wrong.value = "";
  }, [number]);
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    busy.value = true;
    const changed = Object.fromEntries(Object.entries(said.value).filter(([name, text]) => text.trim() && text !== initial[/** @type {keyof typeof initial} */ (name)]));
    try {
      const made = await submit({ operation: "campaign", campaign, piece: number, ...changed });
      onClose();
      toast(t("gallery.piece_begun", { n: number ?? 0 }), { action: { label: t("gallery.show_it"), run: () => go("gallery", made.id) } });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      wrong.value = error.isLost ? t("shell.lost") : error.message;
    }
    busy.value = false;
  };
  const field = (/** @type {keyof typeof initial} */ name, rows = 0) => html`<${Field} label=${t(`gallery.col_${name}`)}>${(/** @type {any} */ tied) => {
    const onInput = (/** @type {any} */ event) => (said.value = { ...said.value, [name]: event.target.value });
    return rows ? html`<textarea ...${tied} rows=${rows} value=${said.value[name]} onInput=${onInput}></textarea>` : html`<input ...${tied} value=${said.value[name]} maxlength="200" onInput=${onInput} />`;
  }}<//>`;
  return html`<${Dialog} open=${number !== null && piece !== undefined} onClose=${onClose} label=${t("gallery.piece_again")} class="again">
    <form onSubmit=${send}>
      <h2>${t("gallery.piece_again_n", { n: number ?? 0 })}</h2>
      <p class="muted">${t("gallery.piece_again_hint")}</p>
      ${field("headline")}${field("subline")}${field("prompt", 4)}
      ${wrong.value && html`<p class="wrong" role="alert">${wrong.value}</p>`}
      <div class="row end"><${Button} onClick=${onClose}>${t("shell.cancel")}<//><${Button} kind="primary" type="submit" icon="sparkles" busy=${busy.value}>${t("gallery.piece_paint")}<//></div>
    </form>
  <//>`;
}
