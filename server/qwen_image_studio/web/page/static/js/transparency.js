/** What lies behind what is painted: whether it can be nothing, and why not. */
import { add, Field, html, t } from "./ui.js";
import { models } from "./store.js";

add({
  "background": ["Background", "背景"],
  "background.auto": ["As it comes", "自动"],
  "background.opaque": ["Opaque", "不透明"],
  "background.transparent": ["Transparent", "透明"],
  "background.none": ["No model of this server paints transparent pictures.", "本服务器没有能画透明图片的模型。"],
  "background.model": ["{model} paints opaque pictures only; transparent ones: {able}.", "{model} 只能画不透明的图片；能画透明图片的：{able}。"],
  "background.jpeg": ["JPEG has no transparency; take PNG or WebP.", "JPEG 不支持透明，请选 PNG 或 WebP。"],
});

const ALL = ["auto", "opaque", "transparent"];

/** Return why nothing transparent can be asked for; empty where it can. @param {string} operation @param {string} named the model that is chosen, if any @param {string} format */
export function whyOpaque(operation, named, format) {
  const able = models.value.filter((model) => model.transparency.some((each) => each === operation));
  if (!able.length) return t("background.none");
  if (named && !able.some((model) => model.id === named)) return t("background.model", { model: named, able: able.map((model) => model.id).join(", ") });
  return format === "jpeg" ? t("background.jpeg") : "";
}

/**
 * Choose what lies behind the picture.
 * @param {{value: string, operation: string, named: string, format?: string, error?: string | null, onChange: (value: string) => void}} props
 */
export function Background({ value, operation, named, format = "png", error, onChange }) {
  const why = whyOpaque(operation, named, format);
  return html`<${Field} label=${t("background")} hint=${why} error=${error}>
    ${(/** @type {any} */ tied) => html`<select ...${tied} value=${value} onChange=${(/** @type {any} */ event) => onChange(event.target.value)}>
      ${ALL.map((each) => html`<option key=${each} value=${each} selected=${each === value} disabled=${each === "transparent" && why !== ""}>${t(`background.${each}`)}</option>`)}
    </select>`}
  <//>`;
}
