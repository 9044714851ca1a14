/** A campaign as its pieces come: each with its lettering, and all of them as a sheet and as a ZIP. */
import { request } from "./api.js";
import { Button, Field, html, Icon, lang, t, toast, useEffect, useRef, useSignal } from "./ui.js";
import { cancelJob, onEvent, submit } from "./store.js";
import { JobBar, standing } from "./job.js";
import { CHANNELS } from "./campaign.js";
import { lookOf, nameOf } from "./colours.js";
import { look, looked } from "./looking.js";
import { attempt, sidesOf } from "./acting.js";
import { Large, Notes } from "./results.js";
import { styles } from "./settings.js";
import { typed } from "./form.js";

/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {import("./types.js").ImageView} ImageView */

const LOOK_MS = 1500;

/** Follow the rows of a batch: streams tell of the batch and its images, not of its rows. @param {JobView} job */
function useRows(job) {
  const rows = useSignal(/** @type {JobView[]} */ ([]));
  const isOver = Boolean(job.finished_at);
  useEffect(() => {
    let isLive = true;
    let timer = 0;
    const read = async () => {
      clearTimeout(timer);
      const found = await request("GET", "/v1/jobs", { query: { parent_id: job.id, limit: 100 } }).catch(() => null);
      if (!isLive) return;
      if (found) rows.value = found.data;
      if (!isOver) timer = setTimeout(read, LOOK_MS);
    };
    void read();
    const off = onEvent("image", (image) => image.parent_id === job.id && read());
    return () => {
      isLive = false;
      clearTimeout(timer);
      off();
    };
  }, [job.id, isOver]);
  return rows.value;
}

/** @param {{job: JobView, onReuse: (job: JobView, image: ImageView | null) => void}} props */
export function Pieces({ job, onReuse }) {
  const rows = useRows(job);
  const { job: batch, image: wanted } = looked.value;
  const isSheet = batch === job.id && job.images.some((image) => image.id === wanted);
  const chosen = batch === job.id ? rows.find((row) => row.images.some((image) => image.id === wanted)) : undefined;
  const back = html`<${Button} class="back" kind="quiet" icon="arrow-left" onClick=${() => look(job.id)}>${t("paint.pieces.back")}<//>`;
  const image = (isSheet ? job : chosen)?.images.find((each) => each.id === wanted);
  if (chosen && image) {
    const more = job.operation === "campaign" && html`<${Button} icon="rotate-ccw" onClick=${() => attempt(() => repaint(job, chosen))}>${t("paint.piece.again")}<//>`;
    return html`<${Large} job=${chosen} image=${image} back=${back} more=${more || undefined} onReuse=${onReuse} />`;
  }
  if (isSheet && image) return html`<${Large} job=${job} image=${image} back=${back} more=${html``} onReuse=${onReuse} />`;
  return html`<${Overview} job=${job} rows=${rows} onReuse=${onReuse} />`;
}

/** Paint one piece again, alone. @param {JobView} job @param {JobView} row */
async function repaint(job, row) {
  look((await submit({ operation: "campaign", campaign: job.id, piece: (row.row ?? 0) + 1, tier: row.tier })).id);
}

/** All pieces. @param {{job: JobView, rows: JobView[], onReuse: (job: JobView, image: ImageView | null) => void}} props */
function Overview({ job, rows, onReuse }) {
  const asked = job.request ?? {};
  const isOver = standing(job).over;
  const pieces = /** @type {any[]} */ (asked.pieces ?? rows.map(() => ({})));
  const sheet = job.images.find((image) => !image.deleted);
  return html`<div class="looked overview">
    <div class="overview-head">
      <h2>${asked.brief || asked.product || asked.occasion || t("paint.campaign")}</h2>
      ${asked.direction && html`<${Direction} direction=${asked.direction} />`}
    </div>
    <ul class="pieces" aria-label=${t("paint.pieces")}>
      ${pieces.map((piece, at) => html`<${Piece} key=${at} job=${job} row=${rows.find((row) => row.row === at)} piece=${piece} />`)}
    </ul>
    <div class="below">
      ${!isOver && html`<${JobBar} job=${job} onCancel=${() => cancelJob(job.id)} />`}
      ${isOver && job.state !== "succeeded" && html`<${JobBar} job=${job} onRetry=${() => attempt(async () => look((await submit(asked)).id))} />`}
      <div class="actions" role="group" aria-label=${t("paint.actions")}>
        ${sheet && html`<${Button} icon="layout-grid" onClick=${() => look(job.id, sheet.id)}>${t("paint.sheet")}<//>`}
        ${job.archive_url && html`<a class="button plain" href=${job.archive_url} download><${Icon} name="folder-down" /><span>${t("paint.zip")}</span></a>`}
        <${Button} kind="quiet" icon="sliders-horizontal" label=${t("paint.reuse")} onClick=${() => onReuse(job, null)} />
        ${asked.direction && html`<${SaveStyle} direction=${asked.direction} />`}
      </div>
      <${Notes} job=${job} />
    </div>
  </div>`;
}

/** What the pictures have in common. @param {{direction: any}} props */
function Direction({ direction }) {
  return html`<p class="direction muted">
    ${(direction.palette ?? []).map((/** @type {string} */ colour) => html`<span key=${colour}><i style=${{ "--colour": lookOf(colour) }}></i>${nameOf(colour, lang.value)}</span>`)}
    ${direction.style && html`<span>${direction.style}</span>`}
  </p>`;
}

/** Keep the art direction under a name. @param {{direction: any}} props */
function SaveStyle({ direction }) {
  const name = useSignal(/** @type {string | null} */ (null));
  const wrong = useSignal("");
  const field = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => void (name.value !== null && field.current?.querySelector("input")?.focus()), [name.value === null]);
  if (name.value === null) return html`<${Button} icon="palette" onClick=${() => (name.value = "")}>${t("paint.keep")}<//>`;
  const save = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const called = /** @type {string} */ (name.value).trim();
    if (!called) return void (wrong.value = t("paint.keep.name"));
    try {
      await request("PUT", `/v1/styles/${encodeURIComponent(called)}`, { json: direction });
      styles.value = null;
      name.value = null;
      toast(t("paint.kept", { name: called }));
    } catch (error) {
      wrong.value = /** @type {Error} */ (error).message;
    }
  };
  return html`<form class="save-style" ref=${field} onSubmit=${save}>
    <${Field} label=${t("paint.saveAs")} hideLabel error=${wrong.value}>
      ${(/** @type {any} */ tied) => html`<input ...${tied} type="text" placeholder=${t("paint.saveAs.eg")} maxlength="64" value=${name.value} onInput=${(/** @type {Event} */ event) => (name.value = typed(event))} />`}
    <//>
    <${Button} type="submit" icon="check" label=${t("paint.keep.save")} />
    <${Button} kind="quiet" icon="x" label=${t("paint.keep.not")} onClick=${() => (name.value = null)} />
  </form>`;
}

/** One piece, from its place in the queue to the picture. @param {{job: JobView, row?: JobView, piece: any}} props */
function Piece({ job, row, piece }) {
  const image = row?.images.find((each) => !each.deleted);
  const stands = row && standing(row);
  const [width, height] = image ? [image.width, image.height] : (CHANNELS[/** @type {"post"} */ (piece.channel)] ?? (row ? sidesOf(row) : [1, 1]));
  const preview = row?.progress.preview_url;
  const isOpen = stands && !stands.over;
  const caption = [piece.channel && t(`paint.channel.${piece.channel}`), piece.language && t(`paint.language.${piece.language}`)].filter(Boolean).join(" · ");
  return html`<li class="piece" style=${{ "--ratio": width / height }}>
    <button type="button" class=${`frame ${isOpen ? "growing" : ""}`} disabled=${!image} aria-label=${`${caption} ${piece.headline ?? ""}`} onClick=${() => image && look(job.id, image.id)}>
      ${image ? html`<img class="final there" src=${image.thumbnail_url} alt="" />` : preview ? html`<img class="preview" src=${preview} alt="" />` : null}
      ${!image && stands?.over && html`<span class="ending"><${Icon} name=${row?.state === "review" ? "eye" : "triangle-alert"} /><small>${stands.detail || stands.text}</small></span>`}
    </button>
    ${row?.state === "running" && html`<progress max="1" value=${stands?.fraction ?? undefined} aria-label=${stands?.text}></progress>`}
    <b>${piece.headline}</b>
    <small class="muted">${caption || (row && stands?.text)}</small>
  </li>`;
}
