/** The pictures that the words of an edit can speak of: numbered, each with what it is to the painting. */
import { html, Icon, t, useSignal } from "./ui.js";
import { models } from "./store.js";
import { modelFor, modelsFor } from "./editing.js";
import { PickerDialog } from "./picker.js";

/** @typedef {import("./editing.js").Edit} Edit */
/** @typedef {import("./editing.js").Operation} Operation */
/** @typedef {import("./types.js").ImageRecord} ImageRecord */

/** What a picture can be to a painting; edges are a map that is made of it. */
const ROLES = ["", "subject", "style", "background", "control", "control:edges"];

/** Say how many pictures are too many, and which model takes more; empty where they are not. @param {number} count @param {Edit} edit */
export function tooMany(count, edit) {
  const model = modelFor("edit", edit.background);
  if (!model || count <= model.max_inputs) return "";
  return [t("edit.ref.most", { model: model.id, most: model.max_inputs, n: count }), takesMore(model.max_inputs)].filter(Boolean).join(" ");
}

/** Say which model takes more pictures than so many. @param {number} most */
function takesMore(most) {
  const more = modelsFor("edit").find((model) => model.max_inputs > most);
  return more ? t("edit.ref.more", { model: more.id, most: more.max_inputs }) : "";
}

/**
 * Show the pictures, each with its number and role.
 * @param {{image: ImageRecord, edit: Edit, change: (change: Partial<Edit>) => void, known: ReadonlyMap<string, ImageRecord>,
 *   operation: Operation, wrong?: string | null, onAdd: (image: ImageRecord) => void}} props `known` are the records of references
 */
export function References({ image, edit, change, known, operation, wrong, onAdd }) {
  const picking = useSignal(false);
  const most = modelFor("edit", edit.background)?.max_inputs ?? 1;
  if (most < 2 && !edit.refs.length) return null;
  const all = [image.id, ...edit.refs];
  const isUnused = operation === "outpaint";
  const problem = (!isUnused && tooMany(all.length, edit)) || wrong;
  const next = all.length + 1;
  const add = t("edit.ref.add", { n: next });
  const hint = isUnused ? t("edit.ref.not") : t("edit.ref.hint", { n: all.length });
  return html`<section class="edit-refs">
    <h2 class="label">${t("edit.refs")}</h2>
    <ol>
      ${all.map((id, at) => html`<${Reference} key=${id} n=${at + 1} src=${(at ? known.get(id) : image)?.thumbnail_url} role=${edit.roles[id] ?? ""} isUnused=${isUnused}
        isPart=${at === 0 && operation === "inpaint"} onRole=${(/** @type {string} */ role) => change({ roles: { ...edit.roles, [id]: role } })}
        onRemove=${at ? () => change({ refs: edit.refs.filter((each) => each !== id) }) : undefined} />`)}
      ${all.length < most && html`<li><button type="button" class="edit-tile add" aria-label=${add} title=${add} onClick=${() => (picking.value = true)}><${Icon} name="plus" /><b aria-hidden="true">${next}</b></button>
        <span class="hint">${t("edit.ref.room", { n: most })}</span></li>`}
    </ol>
    ${all.length > 1 && html`<p class="hint">${hint}</p>`}
    ${all.length === most && models.value.length > 1 && html`<p class="hint">${takesMore(most)}</p>`}
    ${problem && html`<p class="wrong" role="alert">${problem}</p>`}
    <${PickerDialog} open=${picking.value} label=${t("edit.ref.pick")} onClose=${() => (picking.value = false)} onPick=${onAdd} />
  </section>`;
}

/**
 * One picture. Of the one whose part is painted anew no map can be made.
 * @param {{n: number, src?: string, role: string, isUnused: boolean, isPart: boolean, onRole: (role: string) => void, onRemove?: () => void}} props
 */
function Reference({ n, src, role, isUnused, isPart, onRole, onRemove }) {
  const remove = t("edit.ref.remove", { n });
  return html`<li>
    <span class="edit-tile"><img src=${src} alt=${onRemove ? t("edit.ref.is", { n }) : t("edit.ref.this")} /><b aria-hidden="true">${t("edit.ref.chip", { n })}</b></span>
    <select class="input" aria-label=${t("edit.ref.role", { n })} value=${role} disabled=${isUnused} onChange=${(/** @type {any} */ event) => onRole(event.target.value)}>
      ${ROLES.map((each) => html`<option key=${each} value=${each} selected=${each === role} disabled=${isPart && each === "control:edges"}>${t(`edit.role.${each || "none"}`)}</option>`)}
    </select>
    ${onRemove && html`<button type="button" class="button quiet lone" aria-label=${remove} title=${remove} onClick=${onRemove}><${Icon} name="x" /></button>`}
  </li>`;
}
