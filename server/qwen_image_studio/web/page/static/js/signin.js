/** The door: what somebody sees whom the server does not know (any more), with what to do about it. */
import { ApiError } from "./api.js";
import { showKey } from "./door.js";
import { Button, Field, html, Icon, lang, t, useEffect, useRef, useSignal } from "./ui.js";
import { speak } from "./words.js";
import "./words/signin.js";

const LOGO = new URL("../logo.svg", import.meta.url).pathname;

/**
 * Return what led here: no session yet, one that is over, a link that opens nothing, or a server that does not answer.
 * @param {ApiError | null} why @returns {"out" | "first" | "over" | "link" | "down"}
 */
export function reason(why) {
  if (!why) return "out";
  if (why.code === "link_refused" || why.param === "k") return "link";
  if (why.status !== 401) return "down";
  return why.param === "session" ? "over" : "first";
}

/**
 * @param {{why: ApiError | null, onOpen: () => Promise<void>}} props `why` the server did not let anybody in; `onOpen`
 *   is called when it should now
 */
export default function SignIn({ why, onOpen }) {
  const led = reason(why);
  const heading = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => heading.current?.focus(), [led]);
  return html`<div class="door">
    <section class="card door-card" aria-labelledby="door-title">
      <p class="row door-name"><img src=${LOGO} alt="" width="40" height="40" />Qwen-Image Studio</p>
      <h1 id="door-title" ref=${heading} tabindex="-1">${t(`signin.${led}`)}</h1>
      <p class="muted">${t(`signin.${led}_text`)}</p>
      ${led === "down" && why?.message && html`<p class="wrong" role="alert">${why.message}</p>`}
      ${led === "down"
        ? html`<${Button} kind="primary" icon="refresh-cw" onClick=${onOpen}>${t("signin.again")}<//>`
        : led === "link"
          ? html`<details><summary><${Icon} name="chevron-right" />${t("signin.have_key")}</summary><${KeyForm} onOpen=${onOpen} /></details>`
          : html`<${KeyForm} onOpen=${onOpen} />`}
    </section>
    <${Button} kind="quiet" icon="languages" onClick=${() => speak(lang.value === "zh" ? "en" : "zh")}>${t("signin.speak")}<//>
  </div>`;
}

/** @param {{onOpen: () => Promise<void>}} props */
function KeyForm({ onOpen }) {
  const key = useSignal("");
  const seen = useSignal(false);
  const busy = useSignal(false);
  const wrong = useSignal(/** @type {string | null} */ (null));
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));

  /** @param {Event} event */
  async function send(event) {
    event.preventDefault();
    if (busy.value) return;
    wrong.value = key.value.trim() ? null : t("signin.empty");
    if (wrong.value) return void field.current?.focus();
    busy.value = true;
    try {
      await showKey(key.value.trim());
      key.value = "";
      await onOpen();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      wrong.value = error.isLost ? t("signin.down_text") : error.message;
      field.current?.focus();
    } finally {
      busy.value = false;
    }
  }

  return html`<form class="door-form" onSubmit=${send} novalidate>
    <${Field} label=${t("signin.key")} hint=${t("signin.key_hint")} error=${wrong.value}>
      ${(/** @type {object} */ tied) => html`<div class="door-key">
        <input
          ...${tied}
          ref=${field}
          type=${seen.value ? "text" : "password"}
          value=${key.value}
          onInput=${(/** @type {any} */ event) => (key.value = event.target.value)}
          autocomplete="current-password"
          autocapitalize="off"
          spellcheck=${false}
          placeholder="qis_…"
        />
        <${Button}
          kind="quiet"
          icon="eye"
          label=${t("signin.show")}
          pressed=${seen.value}
          onClick=${() => (seen.value = !seen.value)}
        />
      </div>`}
    <//>
    <${Button} kind="primary" type="submit" icon="log-in" busy=${busy.value}>${t("signin.go")}<//>
  </form>`;
}
