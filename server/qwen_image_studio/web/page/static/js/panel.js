/** The panel beside the board: what should change, with what, and what the picture was before. */
import { html, Button, Field, Icon, Segments, Slider, t, fmt } from "./ui.js";
import { go } from "./router.js";
import { isGuest, me } from "./store.js";
import { FEATHERS, modelFor, modelsFor, settings, stepsOf, tierOf, tiersOf } from "./editing.js";
import { References } from "./references.js";
import { TakeApart, takesApart } from "./apart.js";
import { Background } from "./transparency.js";

/** @typedef {import("./editing.js").Edit} Edit */
/** @typedef {import("./editing.js").Operation} Operation */
/** @typedef {import("./drawing.js").Drawing} Drawing */
/** @typedef {import("./types.js").ImageRecord} ImageRecord */
/** @typedef {import("./types.js").ImageChain} ImageChain */
/** @typedef {(change: Partial<Edit>) => void} Change */
/** @typedef {{param: string | null, message: string}} Problem what is wrong, and with which parameter */

const ICONS = { outpaint: "expand", inpaint: "lasso", edit: "wand-sparkles" };
/** Parameters whose fields are folded away. */
const FOLDED = ["n", "strength", "seed", "negative_prompt", "model", "background"];

/** Return the value of a field. @param {Event} event */
const valueOf = (event) => /** @type {HTMLInputElement} */ (event.target).value;

/** Say in one sentence what will happen. @param {{board: Drawing}} props */
function WhatHappens({ board }) {
  const operation = board.operation.value;
  const { width, height } = board.size.value;
  const share = board.coverage.value;
  const text = operation === "outpaint" ? t("edit.grow", { size: `${width} × ${height}` }) : operation === "inpaint" ? t("edit.area", { share: fmt.percent(share) }) : t("edit.whole");
  return html`<div class="edit-happens">
    <p role="status"><${Icon} name=${ICONS[/** @type {"edit"} */ (operation)]} /><strong>${text}</strong></p>
    ${operation === "outpaint" && share > 0 && html`<p class="hint">${t("edit.grow.over")}</p>`}
  </div>`;
}

/** Choose how soft the edge of the area is. @param {{edit: Edit, change: Change, off: boolean}} props */
function SoftEdge({ edit, change, off }) {
  const told = edit.feather === null ? t("edit.soft.auto") : t("edit.soft.px", { px: edit.feather });
  return html`<${Slider} label=${t("edit.soft")} value=${Math.max(0, FEATHERS.indexOf(edit.feather))} min=${0} max=${FEATHERS.length - 1}
    told=${told} disabled=${off} onInput=${(/** @type {number} */ at) => change({ feather: FEATHERS[at] })} />`;
}

/**
 * Show every step of the picture's history; each leads to its picture.
 * @param {{chain: ImageChain, shown: string | null}} props `shown` is the result that is looked at
 */
function History({ chain, shown }) {
  return html`<section>
    <h2 class="label">${t("edit.history")}</h2>
    <ol class="edit-tiles">
      ${stepsOf(chain).map((step, index) => {
        const words = step.prompt ?? t(step.source === "upload" ? "edit.step.upload" : "edit.step.nowords");
        const label = t("edit.step", { n: index + 1, words });
        return html`<li key=${step.id}><button type="button" class="thumb edit-step" aria-label=${label} title=${label} data-shown=${step.id === shown}
          aria-current=${step.id === chain.image.id ? "step" : undefined} onClick=${() => go("edit", step.id)}>
          <img src=${step.thumbnail_url} alt="" loading="lazy" /></button></li>`;
      })}
    </ol>
    ${chain.truncated && html`<p class="hint">${t("edit.history.cut")}</p>`}
  </section>`;
}

/** Choose how fast it is painted. @param {{operation: Operation, background: string}} props */
function Speed({ operation, background }) {
  const model = modelFor(operation, background);
  const tiers = tiersOf(model);
  if (tiers.length < 2) return null;
  const options = tiers.map(({ tier, seconds }) => ({
    value: tier,
    label: t(`edit.tier.${tier}`),
    title: seconds === null ? undefined : t("edit.tier.about", { time: fmt.duration(seconds) }),
  }));
  return html`<${Segments} label=${t("edit.speed")} value=${tierOf(model)?.tier ?? ""} options=${options}
    onChange=${(/** @type {string} */ tier) => (settings.value = { ...settings.value, tier })} />`;
}

/** What few people change, folded. @param {{edit: Edit, change: Change, operation: Operation, problem: Problem | null}} props */
function More({ edit, change, operation, problem }) {
  const able = modelsFor(operation);
  const wrong = (/** @type {string} */ name) => (problem?.param === name ? problem.message : null);
  const isWrong = FOLDED.includes(problem?.param ?? "");
  return html`<details class="edit-more" open=${isWrong || undefined}>
    <summary><${Icon} name="sliders-horizontal" />${t("edit.more")}</summary>
    <div class="edit-fields">
      <${Segments} label=${t("edit.count")} value=${settings.value.n} options=${[1, 2, 4].map((n) => ({ value: n, label: n }))}
        onChange=${(/** @type {number} */ n) => (settings.value = { ...settings.value, n })} />
      ${operation !== "edit" && html`<div><${Slider} label=${t("edit.strength")} min=${0.1} max=${1} step=${0.05} value=${edit.strength}
        told=${fmt.percent(edit.strength)} onInput=${(/** @type {number} */ strength) => change({ strength })} />
        ${wrong("strength") && html`<p class="wrong" role="alert">${wrong("strength")}</p>`}</div>`}
      <${Field} label=${t("edit.seed")} hint=${t("edit.seed.hint")} error=${wrong("seed")}>
        ${(/** @type {object} */ tied) => html`<input ...${tied} type="number" inputmode="numeric" min="0" step="1" placeholder=${t("edit.seed.random")}
          value=${edit.seed} onInput=${(/** @type {Event} */ event) => change({ seed: valueOf(event) })} />`}
      <//>
      <${Field} label=${t("edit.keepout")} error=${wrong("negative_prompt")}>
        ${(/** @type {object} */ tied) => html`<input ...${tied} type="text" placeholder=${t("edit.keepout.such")} value=${edit.keepOut}
          onInput=${(/** @type {Event} */ event) => change({ keepOut: valueOf(event) })} />`}
      <//>
      <${Background} value=${edit.background} operation=${operation} named=${settings.value.model} error=${wrong("background")}
        onChange=${(/** @type {string} */ background) => change({ background })} />
      ${able.length > 1 && html`<${Field} label=${t("edit.model")} error=${wrong("model")}>
        ${(/** @type {object} */ tied) => html`<select ...${tied} value=${settings.value.model}
          onChange=${(/** @type {Event} */ event) => (settings.value = { ...settings.value, model: valueOf(event) })}>
          <option value="">${t("edit.model.auto")}</option>
          ${able.map((model) => html`<option key=${model.id} value=${model.id}>${model.id}</option>`)}
        </select>`}
      <//>`}
    </div>
  </details>`;
}

/** Tell a guest how often the link can still be used. */
function Left() {
  const left = isGuest.value ? me.value?.jobs_left : null;
  if (left === null || left === undefined) return null;
  return html`<p class="hint">${left ? t("edit.left", { n: left }) : t("edit.left.none")}</p>`;
}

/**
 * The panel.
 * @param {{chain: ImageChain, edit: Edit, change: Change, board: Drawing, shown: string | null, busy: boolean, locked: boolean,
 *   known: ReadonlyMap<string, ImageRecord>, warnings: string[], problem: Problem | null, onApply: () => void,
 *   onAdd: (image: ImageRecord) => void, onOther: () => void}} props
 */
export function Panel({ chain, edit, change, board, shown, busy, locked, known, warnings, problem, onApply, onAdd, onOther }) {
  const { image } = chain;
  const operation = board.operation.value;
  const ofPictures = /^(image|roles)\b/.test(problem?.param ?? "") && operation !== "outpaint";
  const inPlace = ofPictures || ["prompt", ...FOLDED].includes(problem?.param ?? "");
  return html`<form class="panel edit-panel" noValidate onSubmit=${(/** @type {Event} */ event) => (event.preventDefault(), onApply())}>
    <div class="panel-body">
      <div class="edit-head">
        <h1>${t("edit.title")}</h1>
        <a class="button quiet lone" href=${image.url} download=${`${image.id}.${image.mime_type.split("/")[1]}`} aria-label=${t("edit.download")} title=${t("edit.download")}><${Icon} name="download" /></a>
        ${!isGuest.value && html`<${Button} kind="quiet" icon="image-plus" label=${t("edit.other")} onClick=${onOther} />`}
      </div>
      <${Field} label=${t("edit.words")} hideLabel error=${problem?.param === "prompt" ? problem.message : null}>
        ${(/** @type {object} */ tied) => html`<textarea ...${tied} rows="3" maxlength="8000" placeholder=${t(`edit.words.${operation}`)} value=${edit.words}
          onInput=${(/** @type {Event} */ event) => change({ words: valueOf(event) })}></textarea>`}
      <//>
      <${WhatHappens} board=${board} />
      <${SoftEdge} edit=${edit} change=${change} off=${operation !== "inpaint"} />
      <${References} image=${image} edit=${edit} change=${change} known=${known} operation=${operation} wrong=${ofPictures ? problem?.message : null} onAdd=${onAdd} />
      <${History} chain=${chain} shown=${shown} />
      ${takesApart() && html`<div><${TakeApart} image=${image} /></div>`}
      ${warnings.length > 0 && html`<ul class="edit-warnings">${warnings.map((text) => html`<li key=${text}><${Icon} name="info" /><span>${text}</span></li>`)}</ul>`}
      <${Speed} operation=${operation} background=${edit.background} />
      <${More} edit=${edit} change=${change} operation=${operation} problem=${problem} />
    </div>
    <div class="panel-foot">
      ${problem && !inPlace && html`<p class="wrong" role="alert">${problem.message}</p>`}
      <${Left} />
      <${Button} kind="primary" type="submit" icon="wand-sparkles" keys="Ctrl ↵" busy=${busy} disabled=${locked}>${t("edit.apply")}<//>
    </div>
  </form>`;
}
