import { html, t } from "./ui.js";

/** Stands here until the screen is written. */
export default function Screen() {
  return html`<div class="empty"><h1>${t("shell.edit")}</h1></div>`;
}
