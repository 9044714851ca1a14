/** What every screen is made of. */
import { Fragment, h, render } from "preact";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { batch, computed, effect, signal, useComputed, useSignal } from "@preact/signals";
import htm from "htm";
import { add, fmt, lang, t } from "./words.js";

export { Fragment, render, add, fmt, lang, t };
export { batch, computed, effect, signal, useComputed, useSignal };
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState };

/** Markup in template strings; texts in it are text by construction. */
export const html = htm.bind(h);

/** @typedef {import("preact").ComponentChildren} Children */

const SPRITE = new URL("../icons.svg", import.meta.url).pathname;

/** An icon of the sprite; what it means is said beside it. @param {{name: string}} props */
export function Icon({ name }) {
  return html`<svg class="icon" aria-hidden="true" focusable="false"><use href=${`${SPRITE}#${name}`} /></svg>`;
}

let ids = 0;

/** Return an id that is unique in the page, and the same at each rendering. @param {string} [kind] */
export function useName(kind = "x") {
  return useMemo(() => `${kind}-${++ids}`, []);
}

/**
 * A button. One that has only an icon needs a `label`.
 * @param {{kind?: "primary" | "plain" | "quiet" | "danger", icon?: string, keys?: string, busy?: boolean,
 *   disabled?: boolean, onClick?: (event: MouseEvent) => void, label?: string, pressed?: boolean, type?: string,
 *   class?: string, form?: string, children?: Children}} props `keys` are shown behind its text
 */
export function Button({ kind = "plain", icon, keys, busy, disabled, label, pressed, children, type = "button", ...rest }) {
  const lone = children === undefined || children === null;
  const title = label ? (keys ? `${label} (${keys})` : label) : undefined;
  return html`<button
    type=${type}
    ...${rest}
    class=${`button ${kind} ${lone ? "lone" : ""} ${rest.class ?? ""}`}
    disabled=${disabled || busy}
    aria-busy=${busy ? "true" : undefined}
    aria-pressed=${pressed === undefined ? undefined : String(pressed)}
    aria-label=${lone ? label : undefined}
    aria-keyshortcuts=${keys ? spelled(keys) : undefined}
    title=${title}
  >
    ${busy ? html`<${Icon} name="loader-circle" />` : icon && html`<${Icon} name=${icon} />`}
    ${!lone && html`<span>${children}</span>`}
    ${!lone && keys && html`<kbd class="kbd">${keys}</kbd>`}
  </button>`;
}

/** Return keys as ARIA spells them. @param {string} keys such as "Ctrl ↵" */
function spelled(keys) {
  return keys.replace("Ctrl", "Control").replace("↵", "Enter").replace(/ /g, "+");
}

/**
 * A choice of few, drawn as segments.
 * @param {{name?: string, label: string, value: string | number, hideLabel?: boolean,
 *   options: {value: string | number, label: Children, icon?: string, title?: string, disabled?: boolean}[],
 *   onChange: (value: any) => void, class?: string}} props
 */
export function Segments({ name, label, value, options, onChange, hideLabel, class: own = "" }) {
  const group = name ?? useName("choice");
  return html`<fieldset class=${`segments ${own}`}>
    <legend class=${hideLabel ? "sr-only" : "label"}>${label}</legend>
    <div class="segments-row">
      ${options.map(
        (option) => html`<label key=${option.value} title=${option.title} class="segment">
          <input
            type="radio"
            name=${group}
            value=${option.value}
            checked=${option.value === value}
            disabled=${option.disabled}
            onChange=${() => onChange(option.value)}
          />
          <span>${option.icon && html`<${Icon} name=${option.icon} />`}${option.label}</span>
        </label>`,
      )}
    </div>
  </fieldset>`;
}

/**
 * A field with its name, a hint and what is wrong with it. Its control is made by `children`, which get the attributes
 * that tie it to these.
 * @param {{label: string, hint?: Children, error?: string | null, hideLabel?: boolean,
 *   children: (tied: {id: string, "aria-describedby"?: string, "aria-invalid"?: "true"}) => Children}} props
 */
export function Field({ label, hint, error, children, hideLabel }) {
  const id = useName("field");
  const told = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  const tied = { id, "aria-describedby": told || undefined, "aria-invalid": error ? /** @type {const} */ ("true") : undefined };
  return html`<div class="field">
    <label class=${hideLabel ? "sr-only" : "label"} for=${id}>${label}</label>
    ${children(tied)}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${error && html`<p class="wrong" id=${`${id}-error`} role="alert">${error}</p>`}
  </div>`;
}

/**
 * A slider that tells its value.
 * @param {{label: string, value: number, min: number, max: number, step?: number, told?: string,
 *   onInput: (value: number) => void, disabled?: boolean}} props `told` is its value in words
 */
export function Slider({ label, value, min, max, step = 1, told, onInput, disabled }) {
  const id = useName("slider");
  return html`<div class="slider">
    <label class="label" for=${id}>${label}</label>
    <output for=${id}>${told ?? fmt.number(value)}</output>
    <input
      id=${id}
      type="range"
      min=${min}
      max=${max}
      step=${step}
      value=${value}
      disabled=${disabled}
      aria-valuetext=${told}
      onInput=${(/** @type {any} */ event) => onInput(Number(event.target.value))}
    />
  </div>`;
}

/** Names of the dialogs that are open, the one in front last. */
const dialogs = signal(/** @type {string[]} */ ([]));

/**
 * A dialog over the page, which Escape and a click beside it close.
 * @param {{open: boolean, onClose: () => void, label: string, class?: string, children?: Children}} props
 */
export function Dialog({ open, onClose, label, children, class: own = "" }) {
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const name = useName("dialog");
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog) return;
    if (open && !dialog.open) dialog.showModal();
    if (!open && dialog.open) dialog.close();
    if (!open) return;
    dialogs.value = [...dialogs.peek(), name];
    return () => void (dialogs.value = dialogs.peek().filter((each) => each !== name));
  }, [open]);
  return html`<dialog
    ref=${ref}
    class=${`dialog ${own}`}
    aria-label=${label}
    onClose=${() => open && onClose()}
    onCancel=${(/** @type {Event} */ event) => {
      event.preventDefault();
      onClose();
    }}
    onClick=${(/** @type {MouseEvent} */ event) => event.target === ref.current && onClose()}
  >
    ${open && html`${children}<${Toasts} of=${name} />`}
  </dialog>`;
}

// -- what is said in passing ------------------------------------------------------------------------------------------

/** @typedef {{id: number, text: string, kind: "info" | "error", action?: {label: string, run: () => void}}} Toast */

/** What is said just now. */
export const toasts = signal(/** @type {Toast[]} */ ([]));

/**
 * Say something in passing; errors stay until they are closed. Return what takes it back.
 * @param {string} text
 * @param {{kind?: "info" | "error", action?: {label: string, run: () => void}, seconds?: number}} [how]
 */
export function toast(text, { kind = "info", action, seconds = kind === "error" ? 0 : 6 } = {}) {
  const said = { id: ++ids, text, kind, action };
  const close = () => (toasts.value = toasts.value.filter((each) => each.id !== said.id));
  toasts.value = [...toasts.value.filter((each) => each.text !== text), said];
  if (seconds) setTimeout(close, seconds * 1000);
  return close;
}

/** What is being said, in front of everything: in the dialog that is open, which takes all clicks. @param {{of?: string}} props */
export function Toasts({ of = "" }) {
  if ((dialogs.value.at(-1) ?? "") !== of) return null;
  const close = (/** @type {Toast} */ said) => (toasts.value = toasts.value.filter((each) => each !== said));
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map(
      (said) => html`<div key=${said.id} class=${`toast ${said.kind}`}>
        <span>${said.text}</span>
        ${said.action && html`<${Button} kind="quiet" onClick=${() => (close(said), said.action?.run())}>${said.action.label}<//>`}
        <${Button} kind="quiet" icon="x" label=${t("shell.close")} onClick=${() => close(said)} />
      </div>`,
    )}
  </div>`;
}

/** @typedef {{title: string, text?: string, action: string, danger?: boolean, answer: (yes: boolean) => void}} Question */

/** The question that waits for an answer. */
export const question = signal(/** @type {Question | null} */ (null));

/**
 * Ask before something that cannot be undone; resolves to whether it was agreed to.
 * @param {{title: string, text?: string, action: string, danger?: boolean}} asked
 * @returns {Promise<boolean>}
 */
export function confirm(asked) {
  return new Promise((resolve) => {
    question.value = {
      ...asked,
      answer(yes) {
        question.value = null;
        resolve(yes);
      },
    };
  });
}

/** Return whether a key press belongs to a field in which one types. @param {KeyboardEvent} event */
export function isTyping(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  return target.isContentEditable || (target.matches("input, textarea, select") && !target.matches("[type=range], [type=radio], [type=checkbox]"));
}

/**
 * Have keys do something while a component is shown, unless one types or a dialog is open.
 * @param {Record<string, (event: KeyboardEvent) => void>} keys by `event.key`, with "Ctrl+" before it where it is held
 * @param {unknown[]} [inputs]
 */
export function useKeys(keys, inputs = []) {
  useEffect(() => {
    const press = (/** @type {KeyboardEvent} */ event) => {
      const held = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
      const run = keys[held + (event.key.length === 1 ? event.key.toLowerCase() : event.key)];
      const free = held === "Ctrl+" && event.key === "Enter" ? true : !isTyping(event);
      if (!run || !free || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      run(event);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, inputs);
}

/** Load the styles of a screen, or of a part that several have. @param {string} name @returns {Promise<void>} */
export function loadStyles(name) {
  const url = new URL(`../css/${name}.css`, import.meta.url).pathname;
  if (document.querySelector(`link[href="${url}"]`)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: url, onload: () => resolve(), onerror: reject });
    document.head.append(link);
  });
}

/** Copy a text, and say so. @param {string} text @param {string} said */
export async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = Object.assign(document.createElement("textarea"), { value: text, className: "sr-only" });
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  toast(said);
}
