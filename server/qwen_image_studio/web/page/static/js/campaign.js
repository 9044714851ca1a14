/** A campaign's brief as a form: one sentence, and what may be said apart from it. */
import { html, Icon, t, useName, useSignal } from "./ui.js";
import { Colours } from "./colours.js";
import { Outline } from "./composer.js";
import { form, Line, Sentences, set, wrongWith } from "./form.js";
import { PictureField } from "./pictures.js";
import "./words/campaign.js";

/** Where the pieces of a campaign are shown, with the shape of each. */
export const CHANNELS = /** @type {const} */ ({
  post: [1, 1],
  story: [9, 16],
  banner: [16, 9],
  wide_banner: [21, 9],
  poster: [3, 4],
});

const MOST_COLOURS = 8;

/** Return the list with an entry put in or taken out. @param {string[]} list @param {string} entry */
const toggled = (list, entry) => (list.includes(entry) ? list.filter((one) => one !== entry) : [...list, entry]);

/** The form. */
export default function Brief() {
  const { channels, languages, palette } = form.value;
  const name = useName("brief");
  const isApart = useSignal(Boolean(form.value.product || form.value.occasion || form.value.audience));
  return html`<div class="brief">
    <${Sentences} name="brief" rows=${3} max=${2000} placeholder=${t("paint.brief.eg")} />
    <details class="settings" open=${isApart.value} onToggle=${(/** @type {any} */ event) => (isApart.value = event.target.open)}>
      <summary><span class="turns"><${Icon} name="chevron-right" /></span><span>${t("paint.apart")}</span></summary>
      <div class="settings-body">
        <${Line} name="product" placeholder=${t("paint.product.eg")} />
        <${Line} name="occasion" placeholder=${t("paint.occasion.eg")} />
        <${Line} name="audience" placeholder=${t("paint.audience.eg")} />
      </div>
    </details>
    <fieldset class="shapes" aria-describedby=${`${name}-channels`}>
      <legend class="label">${t("paint.channels")}</legend>
      <div class="shapes-row">
        ${Object.entries(CHANNELS).map(([channel, sides]) => html`<label key=${channel} class="shape" title=${sides.join(":")}>
          <input type="checkbox" checked=${channels.includes(channel)} onChange=${() => set({ channels: toggled(channels, channel) })} />
          <span><${Outline} sides=${sides} />${t(`paint.channel.${channel}`)}</span>
        </label>`)}
      </div>
      <p class="hint" id=${`${name}-channels`}>${!channels.length && t("paint.channels.read")}</p>
      ${wrongWith("channels") && html`<p class="wrong" role="alert">${wrongWith("channels")}</p>`}
    </fieldset>
    <fieldset class="chips">
      <legend class="label">${t("paint.languages")}</legend>
      <div class="chips-row">
        ${["en", "zh"].map((each) => html`<label key=${each} class="chip">
          <input type="checkbox" checked=${languages.includes(each)} onChange=${() => set({ languages: toggled(languages, each) })} />
          <span>${t(`paint.language.${each}`)}</span>
        </label>`)}
        ${!languages.length && html`<span class="hint">${t("paint.languages.read")}</span>`}
      </div>
      ${wrongWith("languages") && html`<p class="wrong" role="alert">${wrongWith("languages")}</p>`}
    </fieldset>
    <${PictureField} name="product" label=${t("paint.reference")} hint=${t("paint.reference.hint")} error=${wrongWith("image")} />
    <${Colours} label=${t("paint.palette")} chosen=${palette} most=${MOST_COLOURS} error=${wrongWith("palette")}
      hint=${palette.length ? undefined : t("paint.palette.read")} onChange=${(/** @type {string[]} */ colours) => set({ palette: colours })} />
    <${Line} name="saveAs" placeholder=${t("paint.saveAs.eg")} />
  </div>`;
}
