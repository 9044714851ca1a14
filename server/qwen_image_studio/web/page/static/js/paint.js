/** Paint: words, a template or a brief on the left, what comes of it on the right. */
import { ApiError } from "./api.js";
import { Button, html, lang, Segments, signal, t, toast, useEffect, useKeys, useRef, useSignal } from "./ui.js";
import { models, tell } from "./store.js";
import { go, route } from "./router.js";
import { piecesOf } from "./asking.js";
import { Count, Settings, Shapes, Speed } from "./composer.js";
import { chosenTemplate, form, picking, pictures, Sentences, set, templates, wrong } from "./form.js";
import { useLater } from "./later.js";
import { paint, shown } from "./looking.js";
import "./words/paint.js";

/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {import("./types.js").ImageView} ImageView */
/** @typedef {import("./asking.js").Mode} Mode */

const FORMS = { words: null, template: () => import("./templates.js"), campaign: () => import("./campaign.js") };
const RESULTS = () => import("./results.js");
const REQUESTS = () => import("./requests.js");
const PICTURES = () => import("./pictures.js");

const isSending = signal(false);

/** Return what has to be said before the server is asked, as a parameter with a sentence; null where nothing is missing. */
function missing() {
  const { mode, prompt, brief, product, occasion } = form.value;
  const lacks = (/** @type {string} */ param) => ({ param, message: t(`paint.missing.${param}`) });
  if (mode === "words") return prompt.trim() ? null : lacks("prompt");
  if (mode === "campaign") return brief.trim() || product.trim() || occasion.trim() ? null : lacks("brief");
  return chosenTemplate()?.operation === "edit" && !pictures.value.sources.length ? lacks("image") : null;
}

/** Send what the form asks for. */
async function send() {
  if (isSending.value || picking.value) return;
  wrong.value = missing();
  if (wrong.value) return;
  isSending.value = true;
  try {
    const { requestOf } = await REQUESTS();
    await paint(requestOf(form.value, { models: models.value, templates: templates.value ?? [], pictures: pictures.value, language: lang.value }));
    if (matchMedia("(max-width: 760px)").matches) document.querySelector(".results")?.scrollIntoView({ behavior: "smooth", block: "start" });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    wrong.value = { param: error.param ?? "", message: error.message };
  } finally {
    isSending.value = false;
  }
}

/** Fill the form with what a picture was asked for. @param {JobView} job @param {ImageView | null} image */
const reuse = (job, image) => void import("./reuse.js").then((found) => found.reuse(job, image)).catch(tell);

/** The screen. */
export default function Screen() {
  const panel = useRef(/** @type {HTMLFormElement | null} */ (null));
  const { from } = route.value.query;
  useEffect(() => {
    if (!from) return;
    go("paint", "", {}, { replace: true }); // a reload does not fill it in once more
    import("./reuse.js").then((found) => found.reuseOf(from)).then((isKnown) => toast(t(isKnown ? "paint.reused" : "paint.reuse.none")), tell);
  }, [from]);
  useKeys({ "Ctrl+Enter": () => void send() });
  useEffect(() => {
    const show = () => {
      const atFault = /** @type {HTMLElement | null} */ (panel.current?.querySelector("[aria-invalid=true]"));
      atFault?.focus();
      atFault?.closest(".field, fieldset")?.scrollIntoView({ block: "center" }); // with the sentence below it
    };
    if (wrong.value) setTimeout(show, 100); // what is folded away opens first
  }, [wrong.value]);
  useLater(REQUESTS);
  const results = useLater(shown.value ? RESULTS : null);
  const picker = useLater(picking.value ? PICTURES : null);
  return html`<div class="screen left paint">
    <form class="panel composer" ref=${panel} noValidate aria-label=${t("paint.form")}
      onSubmit=${(/** @type {Event} */ event) => (event.preventDefault(), void send())}>
      <div class="panel-body">
        <h1>${t(`paint.title.${form.value.mode}`)}</h1>
        <${Composer} />
      </div>
      <${Foot} />
    </form>
    <section class="stage results" aria-label=${t("paint.results")}>
      ${shown.value ? results && html`<${results.Results} onReuse=${reuse} />` : html`<${Ideas} />`}
    </section>
    ${picker && html`<${picker.PicturePicker} />`}
  </div>`;
}

const MODES = /** @type {const} */ ([["words", "pencil"], ["template", "layout-template"], ["campaign", "megaphone"]]);

/** What to paint, and how. */
function Composer() {
  const { mode } = form.value;
  const own = useLater(FORMS[mode]);
  const isEdit = chosenTemplate()?.operation === "edit"; // the result has the picture's shape
  return html`
    <${Segments} class="modes" label=${t("paint.mode")} hideLabel value=${mode} onChange=${(/** @type {Mode} */ next) => set({ mode: next })}
      options=${MODES.map(([value, icon]) => ({ value, icon, label: t(`paint.mode.${value}`) }))} />
    ${mode === "words" ? html`<${Sentences} name="prompt" rows=${4} hideLabel placeholder=${t("paint.prompt.eg")} />` : own ? html`<${own.default} />` : html`<div class="loading" aria-busy="true"></div>`}
    ${mode !== "campaign" && html`${!isEdit && html`<${Shapes} />`}<${Count} />`}
    <${Speed} />
    <${Settings} />
  `;
}

/** The button, and what is wrong with the request where no field of the form is at fault. */
function Foot() {
  const { mode } = form.value;
  const ref = useRef(/** @type {HTMLElement | null} */ (null));
  const isSaid = useSignal(true);
  useEffect(() => {
    isSaid.value = true;
    const look = () => (isSaid.value = Boolean(ref.current?.closest("form")?.querySelector(".panel-body .wrong")));
    if (wrong.value) setTimeout(look, 100);
  }, [wrong.value, mode]);
  const count = mode === "campaign" ? piecesOf(form.value) : null;
  return html`<div class="panel-foot" ref=${ref}>
    ${wrong.value && !isSaid.value && html`<p class="wrong" role="alert">${wrong.value.message}</p>`}
    <${Button} kind="primary" type="submit" icon="sparkles" keys="Ctrl ↵" busy=${isSending.value} class=${missing() ? "lacking" : ""}>
      ${count ? t("paint.go.pieces", { n: count }) : t(`paint.go.${mode}`)}
    <//>
  </div>`;
}

const IDEAS = /** @type {const} */ (["apple", "panda", "rocket", "lion"]);

/** What one could paint, while nothing has been painted. */
function Ideas() {
  const take = (/** @type {string} */ idea) => {
    set({ mode: "words", prompt: t(`paint.idea.${idea}`) });
    setTimeout(() => /** @type {HTMLElement | null} */ (document.querySelector(".composer textarea"))?.focus());
  };
  return html`<div class="ideas">
    <h2>${t("paint.ideas")}</h2>
    <p class="muted">${t("paint.ideas.hint")}</p>
    <ul>
      ${IDEAS.map((idea) => html`<li key=${idea}><button type="button" class="card idea" onClick=${() => take(idea)}>
        <span class=${`idea-picture ${idea}`}></span><span>${t(`paint.idea.${idea}`)}</span>
      </button></li>`)}
    </ul>
  </div>`;
}
