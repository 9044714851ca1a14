/** Edit: circle what should change, say it, watch it happen, compare, keep. */
import { html, Button, t, fmt, useEffect, useKeys, useMemo, useRef, useSignal } from "./ui.js";
import { ApiError, request } from "./api.js";
import { go, route } from "./router.js";
import { cancelJob, followJob, isGuest, jobs, line, me, onEvent, retryJob, submit, tell } from "./store.js";
import { JobBar, standing } from "./job.js";
import { Board, openBoard } from "./board.js";
import { clamp, pinch } from "./view.js";
import { addTry, editOf, leave, paramsOf, settings, shownTo } from "./editing.js";
import { Compare } from "./compare.js";
import { Panel } from "./panel.js";
import { tooMany } from "./references.js";
import { Picker, PickerDialog, useFiles, useUpload } from "./picker.js";
import "./words/edit.js";

/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {import("./types.js").ImageView} ImageView */
/** @typedef {import("./types.js").ImageRecord} ImageRecord */
/** @typedef {import("./types.js").ImageChain} ImageChain */
/** @typedef {import("./editing.js").Edit} Edit */
/** @typedef {import("./panel.js").Problem} Problem */
/** @typedef {import("./board.js").Drawing} Drawing */
/** @typedef {import("./view.js").Rect} Rect */
/** @typedef {{job: JobView, image: ImageView}} Result */

const open = (/** @type {{id: string}} */ image) => go("edit", image.id);

export default function Screen() {
  const id = route.value.id || settings.value.image;
  useEffect(() => {
    if (!route.value.id && id) go("edit", id, {}, { replace: true });
  }, [id, route.value.id]);
  return id ? html`<${Opened} key=${id} id=${id} />` : html`<${Start} />`;
}

/** No picture yet. @param {{why?: string}} props `why` there is none */
function Start({ why }) {
  return html`<div class="page edit-start">
    <h1>${t("edit.start")}</h1>
    ${why && html`<p class="wrong" role="alert">${why}</p>`}
    <${Picker} onPick=${open} />
  </div>`;
}

/** A picture, once it and its history are read. @param {{id: string}} props */
function Opened({ id }) {
  const chain = useSignal(/** @type {ImageChain | null} */ (null));
  const why = useSignal("");
  const turn = useRef(0);
  const read = async () => {
    const mine = ++turn.current;
    try {
      const found = await request("GET", `/v1/images/${encodeURIComponent(id)}/chain`);
      if (mine === turn.current) chain.value = found; // else news came meanwhile
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.isLost) return tell(error);
      if (settings.peek().image === id) leave();
      why.value = error.status === 404 ? t("edit.gone") : error.message;
    }
  };
  useEffect(() => {
    if (line.value === "live" && !chain.peek() && !why.peek()) void read(); // again where the line was lost
  }, [line.value]);
  useEffect(() => {
    const offs = [onEvent("reset", read), onEvent("image", (/** @type {{id: string, deleted: boolean, parent_ids: string[]}} */ news) => {
      const known = chain.peek();
      if (!known) return;
      const ids = new Set([known.image, ...known.ancestors, ...known.descendants].map((each) => each.id));
      if (news.deleted ? ids.has(news.id) : news.parent_ids.some((each) => ids.has(each))) void read();
    })];
    return () => offs.forEach((off) => off());
  }, []);
  if (why.value) return html`<${Start} why=${why.value} />`;
  if (!chain.value) return html`<div class="empty" aria-busy="true"><p class="muted">${t("edit.opening")}</p></div>`;
  return html`<${Work} chain=${chain.value} />`;
}

/** Read the records of pictures that are named by their ids; those that are gone are told. @param {string[]} ids @param {(id: string) => void} gone */
function useRecords(ids, gone) {
  const known = useSignal(/** @type {ReadonlyMap<string, ImageRecord>} */ (new Map()));
  useEffect(() => {
    for (const id of ids) {
      if (known.peek().has(id)) continue;
      request("GET", `/v1/images/${id}`).then(
        (record) => (known.value = new Map(known.peek()).set(id, record)),
        (error) => error instanceof ApiError && error.status === 404 && gone(id),
      );
    }
  }, [ids.join()]);
  return known;
}

/**
 * Follow the tries of a change.
 * @param {import("@preact/signals").Signal<Edit>} edit
 * @returns {{last: JobView | undefined, results: Result[]}}
 */
function useTries(edit) {
  const ids = edit.value.jobs;
  const drop = (/** @type {string} */ id) => (edit.value = { ...edit.peek(), jobs: edit.peek().jobs.filter((each) => each !== id) });
  useEffect(() => {
    for (const id of ids) if (!jobs.peek().get(id)?.request) followJob(id).then((job) => job ?? drop(id), tell);
  }, [ids.join(), line.value]);
  const found = ids.map((id) => jobs.value.get(id)).filter((job) => job !== undefined);
  const cancelled = found.find((job) => job.state === "cancelled");
  useEffect(() => void (cancelled && drop(cancelled.id)), [cancelled?.id]);
  const given = (/** @type {JobView} */ job) => job.images.filter((image) => !image.deleted).map((image) => ({ job, image }));
  return { last: found.at(-1), results: found.filter((job) => standing(job).over).flatMap(given) };
}

/** Say how much a result differs from the picture. @param {Result} result */
function changed({ job, image: { change } }) {
  const share = (/** @type {number} */ value) => fmt.percent(value);
  if (!change) return "";
  const { inside, outside } = change;
  if (inside !== null && outside !== null) return t("edit.changed.both", { inside: share(inside), outside: share(outside) });
  if (outside !== null) return t(job.operation === "outpaint" ? "edit.changed.grown" : "edit.changed", { inside: share(outside), outside: share(outside) });
  return inside === null ? "" : t("edit.changed", { inside: share(inside) });
}

/**
 * A picture and its result under one handle, where the picture is on the board. Two fingers zoom, as they do there.
 * @param {{image: ImageRecord, result: ImageView, board: Drawing, at: Rect}} props
 */
function Compared({ image, result, board, at: { x, y, width, height } }) {
  const ref = useRef(/** @type {HTMLDivElement | null} */ (null));
  const pinched = useMemo(() => ({ fingers: new Map(), from: /** @type {any[]} */ ([]), view: board.view.value }), [board]);
  const field = () => /** @type {HTMLElement} */ (ref.current?.offsetParent);
  const put = (/** @type {PointerEvent} */ event) => {
    const { left, top } = field().getBoundingClientRect();
    pinched.fingers.set(event.pointerId, { x: event.clientX - left, y: event.clientY - top });
  };
  const down = (/** @type {PointerEvent} */ event) => {
    if (event.pointerType !== "touch") return;
    put(event);
    Object.assign(pinched, { from: [...pinched.fingers.values()], view: board.view.value });
  };
  const move = (/** @type {PointerEvent} */ event) => {
    if (!pinched.view || !pinched.fingers.has(event.pointerId)) return;
    put(event);
    if (pinched.fingers.size !== 2) return;
    const room = { width: field().clientWidth, height: field().clientHeight };
    const extent = board.frame.value;
    const [a, b] = pinched.fingers.values();
    const least = Math.min(1, room.width / extent.width, room.height / extent.height) / 2;
    board.fitted = false;
    board.view.value = clamp(pinch(pinched.view, /** @type {any} */ (pinched.from), [a, b], least), room, extent);
  };
  const up = (/** @type {PointerEvent} */ event) => pinched.fingers.delete(event.pointerId);
  const { left, top } = board.extend.value;
  const [across, tall] = [board.size.value.width, board.size.value.height];
  const place = { left: left / across, top: top / tall, width: image.width / across, height: image.height / tall };
  return html`<div ref=${ref} class="edit-compare" style=${{ transform: `translate(${x}px, ${y}px)`, width: `${width}px`, height: `${height}px` }}
    onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} onPointerCancel=${up}>
    <${Compare} key=${result.id} before=${image.url} after=${result.url} width=${across} height=${tall} place=${place} />
  </div>`;
}

/** A picture on the board, with all that is done to it. @param {{chain: ImageChain}} props */
function Work({ chain }) {
  const { image } = chain;
  const edit = useMemo(() => editOf(image.id), []);
  const board = useMemo(() => openBoard(image.id, image), []);
  const problem = useSignal(/** @type {Problem | null} */ (null));
  const busy = useSignal(false);
  const at = useSignal(-1); // which result is looked at; -1 for the newest
  const other = useSignal(false);
  const { last, results } = useTries(edit);
  const standingNow = last && standing(last);
  const running = last !== undefined && !standingNow?.over;
  const change = (/** @type {Partial<Edit>} */ more) => {
    edit.value = { ...edit.peek(), ...more };
    problem.value = null;
  };
  const known = useRecords(edit.value.refs, (id) => change({ refs: edit.peek().refs.filter((each) => each !== id) }));
  useEffect(() => void (at.value = -1), [results.length]);

  /** Do what may be refused, and say why at its field. @param {() => Promise<JobView>} ask @param {string} [instead] */
  const attempt = async (ask, instead) => {
    if (busy.value || running) return;
    busy.value = true;
    problem.value = null;
    try {
      addTry(edit, (await ask()).id, instead);
      if (isGuest.value) me.value = await request("GET", "/v1/me"); // a link is good for so many changes
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      problem.value = { param: error.param, message: error.message };
    } finally {
      busy.value = false;
    }
  };
  const apply = () => {
    const operation = board.operation.value;
    if (!edit.value.words.trim() && operation !== "outpaint") {
      problem.value = { param: "prompt", message: t("edit.missing") };
      document.querySelector("textarea")?.focus();
      return;
    }
    if (tooMany(shownTo(board, edit.value).length, edit.value)) return; // said at the pictures
    void attempt(async () => {
      const files = operation === "inpaint" ? [{ name: "mask", file: await board.exportMask(), filename: "mask.png" }] : [];
      return submit(paramsOf(board, edit.value), files);
    });
  };
  const again = (/** @type {JobView} */ job) => attempt(async () => {
    const { seed, ...asked } = (job.request ? job : await followJob(job.id))?.request ?? {};
    return submit(asked);
  });
  const dismiss = () => change({ jobs: last ? edit.value.jobs.filter((each) => each !== last.id) : [] });
  const adjust = () => change({ jobs: [] });
  const keep = (/** @type {ImageView} */ result) => {
    change({ jobs: [] });
    open(result);
  };
  useKeys({ "Ctrl+Enter": apply }, [running]);

  const add = (/** @type {ImageRecord} */ added) => {
    known.value = new Map(known.peek()).set(added.id, added);
    change({ refs: [...edit.peek().refs.filter((each) => each !== added.id), added.id] });
  };
  // A guest's link is for this picture; a file is something to take from.
  const sent = useUpload(isGuest.value ? add : open);
  const over = useFiles(sent.send);
  useEffect(() => void (sent.problem.value && tell(new ApiError(422, { code: "", message: sent.problem.value }))), [sent.problem.value]);

  const isWaiting = last !== undefined && (running || (standingNow && !standingNow.ok && last.state !== "cancelled") || (last.state === "review" && !last.images.length));
  const index = at.value < 0 ? results.length - 1 : Math.min(at.value, results.length - 1);
  const result = isWaiting ? undefined : results[index];
  const preview = running ? last.progress.preview_url : null;
  const warnings = result?.job.warnings ?? (last && !running ? last.warnings : []);
  return html`<div class="screen right edit">
    <section class="stage edit-stage" aria-label=${t("edit.board")} data-state=${result ? "result" : isWaiting ? "waiting" : "board"}>
      <${Board} board=${board} src=${image.url} alt=${image.prompt ?? t("edit.board")} locked=${running || busy.value}
        preview=${preview} over=${result && ((/** @type {Rect} */ place) => html`<${Compared} image=${image} result=${result.image} board=${board} at=${place} />`)} />
      ${over.value && html`<p class="edit-drop">${t("edit.drop")}</p>`}
      ${isWaiting && html`<div class="edit-bar"><${Waiting} job=${last} busy=${busy.value} onRetry=${() => attempt(() => retryJob(last), last.id)} onDismiss=${dismiss} /></div>`}
      ${result && html`<div class=${`edit-bar edit-results ${results.length > 1 ? "many" : ""}`} role="group" aria-label=${t("edit.results")}>
        <div class="edit-said">
          ${results.length > 1 && html`<div class="edit-tries">
            <${Button} kind="quiet" icon="chevron-left" label=${t("edit.try.before")} disabled=${index === 0} onClick=${() => (at.value = index - 1)} />
            <span role="status">${t("edit.try", { i: index + 1, n: results.length })}</span>
            <${Button} kind="quiet" icon="chevron-right" label=${t("edit.try.next")} disabled=${index === results.length - 1} onClick=${() => (at.value = index + 1)} />
          </div>`}
          <p role="status">${changed(result)}${last?.held ? ` ${t("edit.held.some", { n: last.held })}` : ""}</p>
        </div>
        <div class="edit-verdict">
          <${Button} onClick=${adjust}>${t(result.job.operation === "inpaint" || result.job.operation === "outpaint" ? "edit.adjust" : "edit.back")}<//>
          ${result.job.engine !== "cv" && html`<${Button} icon="refresh-cw" busy=${busy.value} onClick=${() => again(result.job)}>${t("edit.again")}<//>`}
          <${Button} kind="primary" icon="check" onClick=${() => keep(result.image)}>${t("edit.keep")}<//>
        </div>
      </div>`}
    </section>
    <${Panel} chain=${chain} edit=${edit.value} change=${change} board=${board} shown=${result?.image.id ?? null} busy=${busy.value}
      locked=${running || me.value?.jobs_left === 0} known=${known.value} warnings=${warnings} problem=${problem.value} onApply=${apply} onOther=${() => (other.value = true)}
      onAdd=${add} />
    <${PickerDialog} open=${other.value} label=${t("edit.other")} onClose=${() => (other.value = false)} onPick=${open} />
  </div>`;
}

/** A try that has no picture yet, or will have none. @param {{job: JobView, busy: boolean, onRetry: () => void, onDismiss: () => void}} props */
function Waiting({ job, busy, onRetry, onDismiss }) {
  if (job.state === "review") return html`<p role="status">${t("edit.held")}</p><${Button} onClick=${onDismiss}>${t("edit.back")}<//>`;
  const isOver = standing(job).over;
  return html`<${JobBar} job=${job} busy=${busy} onCancel=${() => cancelJob(job.id)} onRetry=${onRetry} />
    ${isOver && html`<${Button} kind="quiet" icon="x" label=${t("edit.dismiss")} onClick=${onDismiss} />`}`;
}
