/** What operations are called on the Status screen. */
import { t } from "./ui.js";
import { has } from "./words.js";

/** Return what an operation is called; one without a name of ours is shown as it is. @param {string | null} name */
export function called(name) {
  return name && has(`status.${name}`) ? t(`status.${name}`) : (name ?? "");
}
