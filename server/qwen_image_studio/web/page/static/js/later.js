/** Parts of a screen whose code comes when they are first needed. */
import { t, toast, useEffect, useSignal } from "./ui.js";

const modules = new Map();

/**
 * Return a module that is loaded when it is first needed; null until it is there.
 * @template T @param {(() => Promise<T>) | null} load the same function at each rendering @returns {T | null}
 */
export function useLater(load) {
  const arrived = useSignal(0);
  useEffect(() => {
    if (!load || modules.has(load)) return;
    load().then(
      (module) => (modules.set(load, module), (arrived.value += 1)),
      () => toast(t("shell.broken"), { kind: "error" }),
    );
  }, [load]);
  return arrived.value >= 0 ? (modules.get(load) ?? null) : null;
}
