/** Where a job stands, said the same way on every screen. */
import { add, Button, fmt, html, t } from "./ui.js";

add({
  "job.queued": ["Waiting", "排队中"],
  "job.next": ["Next in the queue", "下一个就是"],
  "job.place": ["Place {n} in the queue", "排在第 {n} 位"],
  "job.starting": ["Starting", "正在开始"],
  "job.loading": ["Loading the model", "正在加载模型"],
  "job.patience": ["The first time takes minutes", "首次加载需要几分钟"],
  "job.encoding": ["Reading your words", "正在理解文字"],
  "job.step": ["Step {step} of {steps}", "第 {step} 步，共 {steps} 步"],
  "job.finishing": ["Finishing", "正在完成"],
  "job.rows": ["{step} of {steps} pictures", "已完成 {step}/{steps} 张"],
  "job.left": ["{time} left", "还需 {time}"],
  "job.review": ["A reviewer looks at it first", "等待审核"],
  "job.done": ["Done", "完成"],
  "job.failed": ["That did not work", "没有成功"],
  "job.cancelled": ["Cancelled", "已取消"],
  "job.cancel": ["Cancel", "取消"],
  "job.again": ["Try again", "重试"],
  "job.progress": ["Progress", "进度"],
});

/** @typedef {import("./types.js").JobView} JobView */
/** @typedef {{text: string, detail: string, fraction: number | null, over: boolean, ok: boolean}} Standing */

/**
 * Return where a job stands: in words, with what is worth adding, and how far it is from 0 to 1 (null while nobody can
 * tell).
 * @param {JobView} job @returns {Standing}
 */
export function standing(job) {
  const open = (/** @type {string} */ text, detail = "", /** @type {number | null} */ fraction = null) => ({ text, detail, fraction, over: false, ok: true });
  const over = (/** @type {string} */ text, detail = "", ok = false) => ({ text, detail, fraction: 1, over: true, ok });
  switch (job.state) {
    case "queued": {
      const place = job.queue_position;
      return open(place === 1 ? t("job.next") : place ? t("job.place", { n: place }) : t("job.queued"));
    }
    case "running":
      return running(job, open);
    case "review":
      return { ...open(t("job.review"), "", 1), over: true };
    case "succeeded":
      return over(t("job.done"), "", true);
    case "cancelled":
      return over(t("job.cancelled"));
    default:
      return over(t("job.failed"), job.error?.message ?? "");
  }
}

/** @param {JobView} job @param {(text: string, detail?: string, fraction?: number | null) => Standing} open */
function running({ progress }, open) {
  const { phase, step, steps, eta_s: left } = progress;
  const fraction = steps ? step / steps : null;
  const detail = left === null ? "" : t("job.left", { time: fmt.duration(left) });
  if (phase === "rows") return open(t("job.rows", { step, steps }), detail, fraction);
  if (phase === "loading") return open(t("job.loading"), t("job.patience"));
  if (phase === "encoding") return open(t("job.encoding"));
  if (step && step >= steps) return open(t("job.finishing"), "", 1);
  if (step) return open(t("job.step", { step, steps }), detail, fraction);
  return open(t("job.starting"));
}

/**
 * The bar of a job: how far it is, in words and drawn, with the one button that fits: Cancel or Try again.
 * @param {{job: JobView, onCancel?: () => void, onRetry?: () => void, busy?: boolean}} props
 */
export function JobBar({ job, onCancel, onRetry, busy }) {
  const { text, detail, fraction, over, ok } = standing(job);
  return html`<div class=${`job-bar ${over && !ok ? "failed" : ""}`} role="group" aria-label=${t("job.progress")}>
    ${!over && html`<progress aria-label=${text} max="1" value=${fraction ?? undefined}></progress>`}
    <strong aria-live="polite">${text}</strong>
    ${detail && html`<span class="muted">${detail}</span>`}
    ${!over && onCancel && html`<${Button} icon="x" busy=${busy} onClick=${onCancel}>${t("job.cancel")}<//>`}
    ${over && !ok && onRetry && html`<${Button} icon="rotate-ccw" busy=${busy} onClick=${onRetry}>${t("job.again")}<//>`}
  </div>`;
}
