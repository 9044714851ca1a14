/** The button that takes a picture apart into layers; the dialog comes when it is first opened. */
import { add, Button, html, loadStyles, t, useSignal } from "./ui.js";
import { models } from "./store.js";
import { useLater } from "./later.js";

add({ "layers.apart": ["Take apart", "分层"] });

const LAYERS = () => Promise.all([import("./layers.js"), loadStyles("layers")]).then(([found]) => found);

/** Return whether a model takes pictures apart here. */
export const takesApart = () => models.value.some((model) => model.operations.some((each) => each === "layers"));

/** @param {{image: {id: string, width: number, height: number}}} props */
export function TakeApart({ image }) {
  const open = useSignal(false);
  const wasOpen = useSignal(false); // it stays, so that the focus comes back to the button
  const found = useLater(wasOpen.value ? LAYERS : null);
  if (!takesApart()) return null;
  return html`<${Button} icon="layers" onClick=${() => (open.value = wasOpen.value = true)}>${t("layers.apart")}<//>
    ${found && html`<${found.LayersDialog} image=${image} open=${open.value} onClose=${() => (open.value = false)} />`}`;
}

/** The layers that a job has made, each switched on and off. @param {{job: import("./types.js").JobView}} props */
export function Layered({ job }) {
  const found = useLater(LAYERS);
  return found ? html`<${found.Stack} key=${job.id} job=${job} />` : html`<div class="stack" aria-busy="true"></div>`;
}
