/** Templates as forms: a slot of each type is a control of its own, and the sentence is shown as it will be sent. */
import { Field, html, lang, t, useEffect, useName } from "./ui.js";
import { request } from "./api.js";
import { models, tell } from "./store.js";
import { modelOf } from "./asking.js";
import { chosenTemplate, form, set, templates, typed, usable, wrongWith } from "./form.js";
import { PictureField } from "./pictures.js";
import { languageOf } from "./requests.js";
import "./words/templates.js";
import { Colours, nameOf } from "./colours.js";

/** @typedef {import("./types.js").TemplateView} Template */

const PLACES = ["top_left", "top", "top_right", "left", "center", "right", "bottom_left", "bottom", "bottom_right"];

/** Return what is in the slots of a template, with its defaults. @param {Template} template @returns {Record<string, string>} */
function filled(template) {
  const own = form.value.slots[template.id] ?? {};
  return Object.fromEntries(Object.entries(template.slots).map(([name, slot]) => [name, own[name] ?? slot.default ?? ""]));
}

/** @param {Template} template @param {string} name @param {string} value */
function fill(template, name, value) {
  const { slots } = form.value;
  set({ template: template.id, slots: { ...slots, [template.id]: { ...slots[template.id], [name]: value } } });
}

/** Return how many pictures a template speaks of. @param {Template} template */
const picturesOf = (template) => Math.max(1, ...[...template.text.en.matchAll(/image (\d)/g)].map((found) => Number(found[1])));

/** Read the templates. */
async function readTemplates() {
  templates.value ??= (await request("GET", "/v1/templates")).data;
}

/** The form of the chosen template, in place of a prompt. */
export default function TemplateForm() {
  useEffect(() => void readTemplates().catch(tell), []);
  const template = chosenTemplate();
  useEffect(() => void (template && template.id !== form.value.template && set({ template: template.id })), [template]);
  if (!template) return html`<p class="muted" role="status">${templates.value ? t("paint.template.none") : t("paint.reading")}</p>`;
  const groups = /** @type {const} */ (["generate", "edit"]).map((operation) => [operation, usable().filter((each) => each.operation === operation)]);
  const most = Math.min(modelOf(form.value, models.value, "edit")?.max_inputs ?? 1, Math.max(picturesOf(template), 1));
  return html`<div class="template">
    <${Field} label=${t("paint.template")} error=${wrongWith("template")}>
      ${(/** @type {any} */ tied) => html`<select ...${tied} value=${template.id} onChange=${(/** @type {Event} */ event) => set({ template: typed(event) })}>
        ${groups.map(([operation, found]) => found.length > 0 && html`<optgroup label=${t(`paint.template.${operation}`)}>
          ${/** @type {Template[]} */ (found).map((each) => html`<option key=${each.id} value=${each.id} selected=${each === template}>${each.title[lang.value]}</option>`)}
        </optgroup>`)}
      </select>`}
    <//>
    ${template.operation === "edit" && html`<${PictureField} name="sources" label=${t("paint.sources", { n: most })} most=${most} error=${wrongWith("image")} />`}
    ${Object.entries(template.slots).map(([name, slot]) => html`<${Slot} key=${`${template.id}.${name}`} template=${template} name=${name} slot=${slot} />`)}
    <${Sentence} template=${template} />
  </div>`;
}

/** One slot. @param {{template: Template, name: string, slot: any}} props */
function Slot({ template, name, slot }) {
  const value = filled(template)[name];
  const error = wrongWith(`slots.${name}`);
  const label = slot.about[lang.value];
  const change = (/** @type {string} */ text) => fill(template, name, text);
  if (slot.type === "color") return html`<${Colours} label=${label} chosen=${[value]} error=${error} onChange=${(/** @type {string[]} */ [first]) => change(first)} />`;
  if (slot.type === "place") return html`<${Radios} kind="places" label=${label} value=${value} error=${error} onChange=${change} options=${PLACES.map((place) => [place, t(`paint.place.${place}`)])} />`;
  if (slot.type === "choice") return html`<${Radios} kind="chips" label=${label} value=${value} error=${error} onChange=${change} options=${Object.entries(slot.choices).map(([key, words]) => [key, /** @type {any} */ (words)[lang.value]])} />`;
  return html`<${Field} label=${capital(label)} error=${error}>
    ${(/** @type {any} */ tied) => html`<input ...${tied} type="text" maxlength="200" value=${value} autocomplete="off" onInput=${(/** @type {Event} */ event) => change(typed(event))} />`}
  <//>`;
}

const capital = (/** @type {string} */ text) => text.charAt(0).toUpperCase() + text.slice(1);

/**
 * A choice of one, drawn as chips or, for places, where they lie.
 * @param {{kind: "chips" | "places", label: string, value: string, options: [string, string][], error: string | null, onChange: (value: string) => void}} props
 */
function Radios({ kind, label, value, options, error, onChange }) {
  const name = useName("slot");
  return html`<fieldset class=${kind}>
    <legend class="label">${capital(label)}</legend>
    <div class=${`${kind}-row`}>
      ${options.map(([key, words]) => html`<label key=${key} class=${kind === "chips" ? "chip" : "place"} title=${kind === "places" ? words : undefined}>
        <input type="radio" name=${name} value=${key} checked=${key === value} aria-invalid=${error ? "true" : undefined} onChange=${() => onChange(key)} />
        <span class=${kind === "places" ? "sr-only" : ""}>${words}</span>
      </label>`)}
      ${kind === "places" && html`<output>${options.find(([key]) => key === value)?.[1]}</output>`}
    </div>
    ${error && html`<p class="wrong" role="alert">${error}</p>`}
  </fieldset>`;
}

/** The template's sentence with what is filled in. @param {{template: Template}} props */
function Sentence({ template }) {
  const slots = filled(template);
  const language = /** @type {"en" | "zh"} */ (languageOf(template, slots, lang.value));
  const shown = (/** @type {string} */ name) => {
    const slot = template.slots[name];
    const value = slots[name];
    if (!value) return slot.about[language];
    if (slot.type === "place") return t(`paint.place.${value}`);
    if (slot.type === "color") return nameOf(value, language);
    return slot.choices?.[value]?.[language] ?? value;
  };
  return html`<p class="sentence" aria-label=${t("paint.sentence")} lang=${language}>
    ${template.text[language].split(/(\{\w+\})/).map((part) => {
      const name = part.match(/^\{(\w+)\}$/)?.[1];
      return name ? html`<b class=${slots[name] ? "" : "open"}>${shown(name)}</b>` : part;
    })}
  </p>`;
}
