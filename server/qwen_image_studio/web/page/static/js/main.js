/** Boot, the frame around the screens, and who may see which. */
import { ApiError, onRefused, request } from "./api.js";
import { keepLink, showLink, watchTabs } from "./door.js";
import { go, href, route } from "./router.js";
import { Button, Dialog, effect, html, Icon, lang, loadStyles, question, render, signal, t, toast, Toasts, useEffect, useSignal } from "./ui.js";
import { can, deciding, held, isGuest, line, me, open, reviews, signOut, tell } from "./store.js";
import { speak } from "./words.js";
import "./words/shell.js";

/** @typedef {{icon: string, load: () => Promise<{default: () => unknown}>, may: () => boolean}} Screen */

/** @type {Record<string, Screen>} */
const SCREENS = {
  paint: { icon: "sparkles", load: () => import("./paint.js"), may: () => !isGuest.value && can("generate") },
  edit: { icon: "square-pen", load: () => import("./edit.js"), may: () => isGuest.value || can("edit") },
  gallery: { icon: "layout-grid", load: () => import("./gallery.js"), may: () => true },
  review: { icon: "circle-check", load: () => import("./review.js"), may: () => reviews.value },
  status: { icon: "activity", load: () => import("./status.js"), may: () => !isGuest.value },
};

/** What the page shows: nothing yet, the sign-in with why it is there, or the screens. */
const door = signal(/** @type {{open: boolean, why: ApiError | null} | null} */ (null));

// -- theme ------------------------------------------------------------------------------------------------------------

const THEME = "studio.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = signal(localStorage.getItem(THEME) ?? (dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => localStorage.getItem(THEME) || (theme.value = dark.matches ? "dark" : "light"));
effect(() => void (document.documentElement.dataset.theme = theme.value));

function turnTheme() {
  theme.value = theme.value === "dark" ? "light" : "dark";
  localStorage.setItem(THEME, theme.value);
}

effect(() => {
  document.documentElement.lang = lang.value === "zh" ? "zh-CN" : "en";
  const name = door.value?.open ? (route.value.name in SCREENS ? route.value.name : "paint") : "sign_in";
  document.title = `${t(`shell.${name}`)} · Qwen-Image Studio`;
});

// -- frame ------------------------------------------------------------------------------------------------------------

function Rail() {
  const more = useSignal(false);
  return html`<nav class="rail" aria-label=${t("shell.screens")}>
    <img class="logo" src=${new URL("../logo.svg", import.meta.url).pathname} alt="Qwen-Image Studio" width="34" height="34" />
    ${Object.entries(SCREENS).map(([name, { icon, may }]) => may() && html`<${Door} key=${name} name=${name} icon=${icon} />`)}
    <div class="rail-end"><${Choices} /></div>
    <button type="button" class="rail-more" onClick=${() => (more.value = true)}>
      <${Icon} name="ellipsis" /><span>${t("shell.more")}</span>
    </button>
    <${Dialog} open=${more.value} onClose=${() => (more.value = false)} label=${t("shell.settings")} class="sheet">
      <div class="sheet-rows"><${Choices} withWords /></div>
      <${Button} onClick=${() => (more.value = false)}>${t("shell.close")}<//>
    <//>
  </nav>`;
}

/** @param {{name: string, icon: string}} props */
function Door({ name, icon }) {
  const waiting = name === "review" ? held.value - deciding.value : 0;
  return html`<a href=${href(name)} aria-current=${route.value.name === name ? "page" : undefined}>
    <${Icon} name=${icon} />
    <span>${t(`shell.${name}`)}</span>
    ${waiting > 0 && html`<span class="badge"><span aria-hidden="true">${waiting > 99 ? "99+" : waiting}</span><span class="sr-only">${t("shell.held", { n: waiting })}</span></span>`}
  </a>`;
}

/** Language, theme and the way out. @param {{withWords?: boolean}} props */
function Choices({ withWords }) {
  const tint = theme.value === "dark" ? { icon: "sun", label: t("shell.light") } : { icon: "moon", label: t("shell.dark") };
  const choices = [
    { icon: "languages", label: t("shell.speak"), run: () => speak(lang.value === "zh" ? "en" : "zh") },
    { ...tint, run: turnTheme },
    ...(me.value && "session" in me.value && me.value.session ? [{ icon: "log-out", label: t("shell.sign_out"), run: leave }] : []),
  ];
  return choices.map(
    ({ icon, label, run }) => html`<${Button} key=${icon} kind="quiet" icon=${icon} label=${label} onClick=${run}>${withWords ? label : undefined}<//>`,
  );
}

function leave() {
  signOut().then(() => (door.value = { open: false, why: null }), tell);
}

function Question() {
  const asked = question.value;
  return html`<${Dialog} open=${asked !== null} onClose=${() => asked?.answer(false)} label=${asked?.title ?? ""} class="question">
    <h2>${asked?.title}</h2>
    ${asked?.text && html`<p>${asked.text}</p>`}
    <div class="row end">
      <${Button} onClick=${() => asked?.answer(false)}>${t("shell.cancel")}<//>
      <${Button} kind=${asked?.danger ? "danger" : "primary"} onClick=${() => asked?.answer(true)}>${asked?.action}<//>
    </div>
  <//>`;
}

/** A screen, loaded with its styles when it is first opened. @param {{name: string, load: () => Promise<{default: any}>}} props */
function Loaded({ name, load }) {
  const found = useSignal(/** @type {{of: string, View: any} | null} */ (null));
  const failed = useSignal(false);
  useEffect(() => {
    failed.value = false;
    Promise.all([load(), loadStyles(name)]).then(
      ([module]) => (found.value = { of: name, View: module.default }),
      () => (failed.value = true),
    );
  }, [name]);
  if (failed.value) return html`<div class="empty"><h1>${t("shell.broken")}</h1><${Button} kind="primary" onClick=${() => location.reload()}>${t("shell.reload")}<//></div>`;
  const { of, View } = found.value ?? { of: "", View: null };
  return of === name && View ? html`<${View} />` : html`<div class="empty" aria-busy="true"></div>`;
}

function App() {
  if (door.value === null) return null;
  const name = route.value.name;
  const screen = SCREENS[name];
  const inside = door.value.open
    ? html`<${Rail} /><main class="main">${screen?.may() && html`<${Loaded} key=${name} name=${name} load=${screen.load} />`}</main>`
    : html`<main class="main alone"><${SignIn} why=${door.value.why} /></main>`;
  return html`${inside}<${Toasts} /><${Question} />`;
}

/** @param {{why: ApiError | null}} props */
function SignIn({ why }) {
  const View = useSignal(/** @type {any} */ (null));
  useEffect(() => void Promise.all([import("./signin.js"), loadStyles("signin")]).then(([module]) => (View.value = module.default)), []);
  return View.value && html`<${View.value} why=${why} onOpen=${enter} />`;
}

// -- boot -------------------------------------------------------------------------------------------------------------

/** Whoever comes to a screen that is not for him, or to none, is led to the first one that is. */
effect(() => {
  const { name } = route.value;
  if (!door.value?.open || SCREENS[name]?.may()) return;
  const first = Object.keys(SCREENS).find((each) => SCREENS[each].may()) ?? "edit";
  const image = me.value && "image_id" in me.value ? me.value.image_id : null;
  go(first, first === "edit" && image ? image : "", {}, { replace: true });
});

let said = "live";
let unsay = () => {};
effect(() => {
  if (line.value === said) return;
  said = line.value;
  unsay();
  unsay = said === "lost" ? toast(t("shell.line_lost"), { seconds: 0 }) : toast(t("shell.line_back"));
});

/** Return whether the server still knows who asks as the same. */
async function isStill() {
  const now = await request("GET", "/v1/me");
  return ["kind", "key", "image_id"].every((each) => now[each] === /** @type {any} */ (me.value)?.[each]);
}

/** Go in: read who asks, and open the screens, or the door where nobody is known. */
async function enter() {
  try {
    await open();
    door.value = { open: true, why: null };
    // What a page of this reviewer could not send any more is sent now.
    if (reviews.value && localStorage.getItem("studio.verdicts")) void import("./verdicts.js");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.isLost) toast(t("shell.lost"), { kind: "error", action: { label: t("shell.reload"), run: () => location.reload() } });
    door.value = { open: false, why: error };
  }
}

async function boot() {
  const { name, id, query } = route.value;
  let dead = null;
  if (query.k) {
    go(name, id, {}, { replace: true }); // before anything else can read it
    keepLink(id, query.k);
  }
  try {
    await showLink();
  } catch (error) {
    dead = error instanceof ApiError ? error : null;
  }
  await enter();
  if (dead && door.value?.open) tell(dead);
  else if (dead) door.value = { open: false, why: dead };
  onRefused((error) => me.value && (door.value = { open: false, why: error }));
  watchTabs(isStill);
}

// CSS cannot tell which pictures have come. An opaque one hides what lies behind it.
document.addEventListener("load", ({ target }) => target instanceof HTMLImageElement && target.toggleAttribute("data-there", true), true);

render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
void boot();
