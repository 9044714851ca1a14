/** Worker processes with their devices: what each does, and the memory that it uses. */
import { called } from "./operations.js";
import { fmt, html, Icon, t } from "./ui.js";
import { queue } from "./waiting.js";

/** @typedef {import("./types.js").WorkerView} WorkerView */
/** @typedef {import("./types.js").DeviceView} DeviceView */

/** Return what a device is called. @param {string} device */
function named(device) {
  if (["cpu", "light", "safety"].includes(device)) return t(`status.${device}`);
  const gpu = /^cuda:(\d+)$/.exec(device);
  return gpu ? t("status.gpu", { n: gpu[1] }) : device;
}

/** @param {{workers: WorkerView[], devices: DeviceView[]}} props `devices` are told to operators alone */
export function Devices({ workers, devices }) {
  const hosts = new Set(workers.map((each) => each.host)).size;
  return html`<section class="card">
    <h2>${t("status.workers")}</h2>
    ${workers.length === 0 && html`<p class="muted">${t("status.no_workers")}</p>`}
    <ul class="status-devices">
      ${workers.map((worker) => {
        const device = devices.find((each) => each.host === worker.host && each.device === worker.device);
        return html`<${Device} key=${`${worker.host}/${worker.device}`} worker=${worker} device=${device} host=${device || hosts > 1 ? worker.host : ""} />`;
      })}
    </ul>
  </section>`;
}

/** @param {{worker: WorkerView, device?: DeviceView, host: string}} props */
function Device({ worker, device, host }) {
  const paints = !["light", "safety"].includes(worker.device);
  const job = device && queue.value?.data.find((each) => each.worker === device.name);
  return html`<li>
    <p class="status-device"><${Icon} name=${paints ? "cpu" : worker.device === "safety" ? "eye" : "layers"} /><strong>${named(worker.device)}</strong><span class="tag" data-state=${worker.state}>${t(`status.is_${worker.state}`)}</span></p>
    <p class="muted">${[paints ? (worker.model ?? t("status.no_model")) : "", host].filter(Boolean).join(" · ")}</p>
    ${job && html`<p>${t("status.doing", { operation: called(job.operation), owner: job.owner })}${job.steps > 0 && ` · ${t("status.step", { step: job.step, steps: job.steps })}`}</p>`}
    ${worker.message && html`<p class=${worker.state === "failed" || worker.state === "lost" ? "wrong" : "muted"}>${worker.message}</p>`}
    ${device && device.memory_used !== null && html`<${Memory} used=${device.memory_used} total=${paints ? device.memory_total : null} />`}
  </li>`;
}

/** @param {{used: number, total: number | null}} props */
function Memory({ used, total }) {
  const told = total === null ? t("status.memory_used", { used: fmt.bytes(used) }) : t("status.memory", { used: fmt.bytes(used), total: fmt.bytes(total) });
  return html`<div class="status-memory">${total !== null && html`<progress max=${total} value=${used} aria-label=${told}></progress>`}<span class="muted">${told}</span></div>`;
}
