/** The settings that most people never open. */
import { Field, fmt, html, Icon, lang, signal, Slider, t, useEffect } from "./ui.js";
import { request } from "./api.js";
import { models } from "./store.js";
import { modelOf, tierOf } from "./asking.js";
import { chosenTemplate, form, Line, pictures, Sentences, set, typed, wrongWith } from "./form.js";
import { PictureField } from "./pictures.js";
import { Background } from "./transparency.js";
import "./words/settings.js";

/** @typedef {import("./asking.js").Form} Form */

/** The owner's saved art directions; null until they are asked for. */
export const styles = signal(/** @type {{name: string}[] | null} */ (null));

/** Read the saved art directions, once they are wanted. */
async function readStyles() {
  styles.value = (await request("GET", "/v1/styles")).data;
}

/** The saved art direction to follow, where there is one. */
export function Style() {
  useEffect(() => void readStyles().catch(() => {}), []);
  const names = new Set((styles.value ?? []).map((each) => each.name));
  if (form.value.style) names.add(form.value.style);
  if (!names.size) return null;
  return html`<${Choice} name="style" options=${[["", t("paint.style.none")], ...[...names].map((each) => [each, each])]} />`;
}

/** A field of the form that takes one of several. @param {{name: keyof Form, options: [value: string, label: string, isOff?: boolean][]}} props */
export function Choice({ name, options }) {
  return html`<${Field} label=${t(`paint.${name}`)} error=${wrongWith(name)}>
    ${(/** @type {any} */ tied) => html`<select ...${tied} value=${form.value[name]} onChange=${(/** @type {Event} */ event) => set({ [name]: typed(event) })}>
      ${options.map(([value, label, isOff]) => html`<option key=${value} value=${value} selected=${value === form.value[name]} disabled=${isOff}>${label}</option>`)}
    </select>`}
  <//>`;
}

/** The LoRAs that the model offers, each with its weight once it is chosen. @param {{model: any}} props */
function Loras({ model }) {
  if (!model?.loras.length) return null;
  const { loras } = form.value;
  const change = (/** @type {string} */ name, /** @type {string | null} */ scale) => {
    const { [name]: _old, ...rest } = loras;
    set({ loras: scale === null ? rest : { ...rest, [name]: scale } });
  };
  return html`<fieldset class="loras">
    <legend class="label">${t("paint.loras")}</legend>
    ${model.loras.map((/** @type {any} */ each) => html`<div key=${each.name} class="lora">
      <label class="check" title=${each.licence}><input type="checkbox" checked=${each.name in loras}
        onChange=${(/** @type {any} */ event) => change(each.name, event.target.checked ? String(each.scale) : null)} />
        <span>${each.name}<small class="muted">${each.about[lang.value]}</small></span></label>
      ${each.name in loras && html`<${Slider} label=${t("paint.weight")} min=${0} max=${each.max_scale} step=${0.05} value=${Number(loras[each.name]) || each.scale}
        told=${fmt.number(Number(loras[each.name]), 2)} onInput=${(/** @type {number} */ scale) => change(each.name, String(scale))} />`}
    </div>`)}
    ${wrongWith("loras") && html`<p class="wrong" role="alert">${wrongWith("loras")}</p>`}
  </fieldset>`;
}

/** The settings that are folded away. */
export function SettingsBody() {
  const { mode, model: named, steps, guidance, background, format } = form.value;
  const operation = chosenTemplate()?.operation ?? "generate";
  const model = modelOf(form.value, models.value);
  const tier = tierOf(form.value, model);
  const able = models.value.filter((each) => each.operations.includes("generate"));
  return html`<div class="settings-body">
    <div class="pair">
      <${Line} name="seed" placeholder=${t("paint.seed.any")} inputmode="numeric" />
      ${mode !== "campaign" && html`<${Line} name="size" placeholder="1024x768" />`}
    </div>
    <${Sentences} name="keepOut" rows=${2} placeholder=${t("paint.keepOut.eg")} />
    ${mode === "words" && html`<${PictureField} name="likeness" label=${t("paint.likeness")} hint=${t("paint.likeness.hint")} error=${wrongWith("image")} />`}
    ${mode === "words" && pictures.value.likeness.length > 0 && html`<${Slider} label=${t("paint.strength")} min=${0.05} max=${1} step=${0.05} value=${form.value.strength}
      told=${fmt.percent(form.value.strength)} onInput=${(/** @type {number} */ strength) => set({ strength })} />`}
    <${Style} />
    <div class="pair">
      <${Line} name="steps" placeholder=${tier && String(tier.steps)} inputmode="numeric" />
      <${Line} name="guidance" placeholder=${tier && String(tier.guidance_scale)} inputmode="decimal" />
    </div>
    ${tier?.distilled && (steps || guidance) && html`<p class="hint warned"><${Icon} name="triangle-alert" /> ${t("paint.distilled", { steps: tier.steps })}</p>`}
    ${(able.length > 1 || named) && html`<${Choice} name="model" options=${[["", t("paint.model.usual", { name: able[0]?.id ?? "" })], ...able.map((each) => [each.id, each.id])]} />`}
    <${Loras} model=${model} />
    <div class="pair">
      <${Choice} name="format" options=${[["png", "PNG"], ["jpeg", "JPEG", background === "transparent" && mode !== "campaign"], ["webp", "WebP"]]} />
      ${mode !== "campaign" && html`<${Background} value=${background} operation=${operation} named=${named} format=${format} error=${wrongWith("background")}
        onChange=${(/** @type {string} */ value) => set({ background: value })} />`}
    </div>
  </div>`;
}
