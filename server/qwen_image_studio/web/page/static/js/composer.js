/** The controls of the Paint screen's form. */
import { fmt, html, Icon, Segments, t, useEffect, useName, useSignal } from "./ui.js";
import { models } from "./store.js";
import { modelOf, SHAPES, tierOf } from "./asking.js";
import { form, set, wrongWith } from "./form.js";
import { useLater } from "./later.js";

/** A shape as an outline. @param {{sides: readonly [number, number]}} props */
export function Outline({ sides: [width, height] }) {
  const scale = 19 / Math.max(width, height);
  const [w, h] = [width * scale, height * scale];
  return html`<svg class="outline" viewBox="0 0 22 22" aria-hidden="true"><rect x=${(22 - w) / 2} y=${(22 - h) / 2} width=${w} height=${h} rx="2.5" /></svg>`;
}

const GRID = 16;

/** Return the size of the chosen shape in words; a tier that paints less paints it smaller. @param {any} model */
function sizeOf(model) {
  const size = model?.sizes[form.value.shape];
  if (!size) return "";
  const least = tierOf(form.value, model).max_pixels / (size.width * size.height);
  if (least >= 1) return `${size.width} × ${size.height}`;
  const [width, height] = [size.width, size.height].map((side) => Math.floor((side * Math.sqrt(least)) / GRID) * GRID);
  return `≈ ${width} × ${height}`;
}

/** The shape of the picture, drawn; its size is told. */
export function Shapes() {
  const name = useName("shape");
  const model = modelOf(form.value, models.value);
  return html`<fieldset class="shapes" aria-describedby=${`${name}-size`}>
    <legend class="label">${t("paint.shape")}</legend>
    <div class="shapes-row">
      ${Object.entries(SHAPES).map(([shape, sides]) => html`<label key=${shape} class="shape" title=${t(`paint.shape.${shape}`)}>
        <input type="radio" name=${name} value=${shape} checked=${!form.value.size && form.value.shape === shape} onChange=${() => set({ shape, size: "" })} />
        <span><${Outline} sides=${sides} />${shape}</span>
      </label>`)}
    </div>
    <p class="hint" id=${`${name}-size`}>${form.value.size || sizeOf(model)}</p>
    ${wrongWith("shape") && html`<p class="wrong" role="alert">${wrongWith("shape")}</p>`}
  </fieldset>`;
}

/** How many pictures. */
export function Count() {
  const most = modelOf(form.value, models.value)?.max_images ?? 4;
  const options = [...new Set([1, 2, 4, form.value.n])].sort((a, b) => a - b).filter((n) => n <= most).map((n) => ({ value: n, label: String(n) }));
  return html`<${Segments} label=${t("paint.count")} value=${form.value.n} options=${options} onChange=${(/** @type {number} */ n) => set({ n })} />`;
}

/** How fast, with what that means here: steps, measured seconds, and what the tier needs. */
export function Speed() {
  const model = modelOf(form.value, models.value);
  if (!model) return null;
  const chosen = tierOf(form.value, model);
  const options = model.tiers.map((/** @type {any} */ each) => ({ value: each.tier, label: t(`paint.tier.${each.tier}`) }));
  const own = Number(form.value.steps) || chosen.steps;
  const facts = [t("paint.steps.n", { n: own })];
  if (chosen.seconds !== null) facts.push(t("paint.seconds", { time: fmt.duration(chosen.seconds) }));
  if (chosen.licence) facts.push(chosen.licence === "unknown" ? t("paint.licence.unknown") : t("paint.licence", { name: chosen.licence }));
  return html`<div class="speed">
    <${Segments} label=${t("paint.speed")} value=${chosen.tier} options=${options} onChange=${(/** @type {string} */ tier) => set({ tier })} />
    <p class="hint">${facts.join(" · ")}</p>
    ${chosen.lora_here === false && html`<p class="hint"><${Icon} name="info" /> ${t("paint.lora.fetched")}</p>`}
    ${model.unavailable && html`<p class="hint warned"><${Icon} name="triangle-alert" /> ${model.unavailable}</p>`}
    ${wrongWith("tier") && html`<p class="wrong" role="alert">${wrongWith("tier")}</p>`}
  </div>`;
}

const SETTINGS = () => import("./settings.js");
/** Fields that are folded away. */
const FOLDED = ["seed", "keepOut", "steps", "guidance", "model", "loras", "style", "format", "background", "size", "strength"];

/** All that most people never open. */
export function Settings() {
  const isOpen = useSignal(false);
  const atFault = FOLDED.some(wrongWith) || (form.value.mode === "words" && wrongWith("image"));
  useEffect(() => void (atFault && (isOpen.value = true)), [atFault]);
  const found = useLater(isOpen.value ? SETTINGS : null);
  return html`<details class="settings" open=${isOpen.value} onToggle=${(/** @type {any} */ event) => (isOpen.value = event.target.open)}>
    <summary><${Icon} name="sliders-horizontal" /><span>${t("paint.more")}</span></summary>
    ${isOpen.value && found && html`<${found.SettingsBody} />`}
  </details>`;
}
