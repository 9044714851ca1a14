/** Colours to choose from: those that the server has names for, and any other. */
import { Button, html, lang, t, useName } from "./ui.js";

/** Names as the server takes them, with how they look and the Chinese name. @type {Record<string, [string, string]>} */
const COLOURS = {
  red: ["#d92d20", "红色"], orange: ["#f38b00", "橙色"], yellow: ["#f7d417", "黄色"], green: ["#2f9e44", "绿色"],
  teal: ["#0f8b8d", "蓝绿色"], cyan: ["#35c8dd", "青色"], blue: ["#2f6fed", "蓝色"], navy: ["#1c2c5b", "藏青色"],
  purple: ["#7c3aed", "紫色"], pink: ["#f48fb1", "粉色"], brown: ["#8a5a34", "棕色"], beige: ["#ead9b9", "米色"],
  gold: ["#d4a017", "金色"], silver: ["#c4c9d1", "银色"], gray: ["#8b9098", "灰色"], black: ["#111111", "黑色"], white: ["#ffffff", "白色"],
};

/** Those that are offered; the others are shown where they are chosen. */
const OFFERED = Object.keys(COLOURS).filter((name) => name !== "teal" && name !== "silver");

/** Return what a colour is called. @param {string} colour name or #rrggbb @param {"en" | "zh"} language */
export const nameOf = (colour, language) => (language === "zh" ? (COLOURS[colour]?.[1] ?? colour) : colour);

/** Return how a colour looks, as CSS has it. @param {string} colour name or #rrggbb */
export const lookOf = (colour) => COLOURS[colour]?.[0] ?? Object.values(COLOURS).find(([, name]) => name === colour)?.[0] ?? colour;

/**
 * Swatches of which one, or several, are chosen.
 * @param {{label: string, chosen: string[], most?: number, hint?: string, error?: string | null, onChange: (colours: string[]) => void}} props
 */
export function Colours({ label, chosen, most = 1, hint, error, onChange }) {
  const name = useName("colour");
  const own = chosen.filter((colour) => colour && !OFFERED.includes(colour));
  const toggle = (/** @type {string} */ colour) => {
    if (most === 1) return onChange([colour]);
    return onChange(chosen.includes(colour) ? chosen.filter((one) => one !== colour) : [...chosen, colour].slice(-most));
  };
  return html`<fieldset class="colours">
    <legend class="label">${label.charAt(0).toUpperCase() + label.slice(1)}</legend>
    <div class="colours-row">
      ${[...OFFERED, ...own].map((colour) => html`<label key=${colour} class="swatch" title=${nameOf(colour, lang.value)}>
        <input type=${most === 1 ? "radio" : "checkbox"} name=${name} checked=${chosen.includes(colour)} aria-label=${nameOf(colour, lang.value)} onChange=${() => toggle(colour)} />
        <span style=${{ "--colour": lookOf(colour) }}></span>
      </label>`)}
      <label class="swatch other" title=${t("paint.colour.other")}>
        <input type="color" aria-label=${t("paint.colour.other")} onChange=${(/** @type {any} */ event) => toggle(event.target.value)} />
        <span></span>
      </label>
      ${most > 1 && chosen.length > 0 && html`<${Button} kind="quiet" icon="x" label=${t("paint.colour.none")} onClick=${() => onChange([])} />`}
    </div>
    ${hint && html`<p class="hint">${hint}</p>`}
    ${error && html`<p class="wrong" role="alert">${error}</p>`}
  </fieldset>`;
}
