/** The fields of the form that take pictures. */
import { Button, html, Icon, loadStyles, t, useEffect, useName, useSignal } from "./ui.js";
import { picking, pictures, setPictures } from "./form.js";

/** @typedef {import("./asking.js").Picture} Picture */
/** @typedef {import("./asking.js").Pictures} Pictures */

/**
 * Pictures beside the form: each with what takes it away, and what adds another.
 * @param {{name: keyof Pictures, label: string, hint?: string, error?: string | null, most?: number}} props
 */
export function PictureField({ name, label, hint, error, most = 1 }) {
  const id = useName("pictures");
  const chosen = pictures.value[name];
  return html`<div class="field picture-field" role="group" aria-labelledby=${id}>
    <span class="label" id=${id}>${label}</span>
    <div class="picture-row">
      ${chosen.map((each, at) => html`<span key=${each.id} class="thumb picked">
        <img src=${each.thumbnail_url} alt=${t("paint.picture", { n: at + 1 })} />
        ${most > 1 && html`<b class="badge">${at + 1}</b>`}
        <${Button} icon="x" label=${t("paint.picture.remove", { n: at + 1 })} onClick=${() => setPictures(name, chosen.filter((one) => one !== each))} />
      </span>`)}
      ${chosen.length < most && html`<button type="button" class="thumb add" aria-invalid=${error ? "true" : undefined} aria-label=${t("paint.picture.add")} title=${t("paint.picture.add")}
        onClick=${() => (picking.value = { name, label, most })}><${Icon} name=${chosen.length ? "plus" : "image-plus"} /></button>`}
    </div>
    ${hint && html`<p class="hint">${hint}</p>`}
    ${error && html`<p class="wrong" role="alert">${error}</p>`}
  </div>`;
}

/** Where a picture for one of the fields is picked; it lies outside of the form. */
export function PicturePicker() {
  const dialog = useSignal(/** @type {any} */ (null)); // loaded when it is first opened
  const { name, label, most } = picking.value ?? { name: /** @type {const} */ ("likeness"), label: "", most: 1 };
  useEffect(() => {
    if (picking.value && !dialog.value) Promise.all([import("./picker.js"), loadStyles("picker")]).then(([found]) => (dialog.value = { Shown: found.PickerDialog }));
  }, [picking.value]);
  if (!dialog.value) return null;
  return html`<${dialog.value.Shown} open=${picking.value !== null} label=${label} onClose=${() => (picking.value = null)}
    onPick=${(/** @type {Picture} */ image) => setPictures(name, [...pictures.value[name], image].slice(0, most))} />`;
}
