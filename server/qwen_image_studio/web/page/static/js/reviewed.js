/** What a reviewer reads of a picture: what was asked, why it waits, scores, source, and the verdict that it had. */
import { person } from "./people.js";
import { can, me } from "./store.js";
import { fmt, html, t } from "./ui.js";
import { has } from "./words.js";

/** @typedef {import("./types.js").ListedImage} ListedImage */

/** @param {{image: ListedImage}} props */
export function Facts({ image }) {
  const { reviewer: seen, change } = image;
  const others = (seen?.made_from ?? []).slice(isCompared(image) ? 1 : 0);
  const inside = change?.inside ?? null;
  const outside = change?.outside ?? null;
  return html`
    <section><h2 class="label">${t("review.asked")}</h2><p class="review-asked">${image.prompt ?? html`<span class="muted">${t("review.no_prompt")}</span>`}</p></section>
    <div class="review-scores">
      ${Object.entries(seen?.scores ?? {}).map(([name, value]) => html`<${Score} key=${name} value=${value} label=${has(`review.score_${name}`) ? t(`review.score_${name}`) : t("review.score", { name })} />`)}
      ${inside !== null && html`<${Score} label=${t(outside === null ? "review.whole" : "review.inside")} value=${inside} />`}
      ${outside !== null && html`<${Score} label=${t("review.outside")} value=${outside} />`}
    </div>
    <dl class="review-facts">
      <${Fact} name="model">${image.model === "cv" ? t("review.no_model") : image.model}<//>
      <${Fact} name="size">${`${image.width} × ${image.height}`}<//>
      <${Fact} name="from"><span title=${image.user}>${from(image)}</span><//>
      ${can("operate") && seen && seen.owner !== me.value?.owner && html`<${Fact} name="owner">${seen.owner}<//>`}
      ${image.held_for && html`<${Fact} name="held_for">${t(`review.for_${image.held_for}`)}<//>`}
      ${image.parent_id && html`<${Fact} name="batch">${t("review.yes")}<//>`}
    </dl>
    ${others.length > 0 && html`<section>
      <h2 class="label">${t("review.made_from")}</h2>
      <div class="row">
        ${others.map((each, at) => html`<a key=${each.id} class="thumb review-source" href=${each.url} target="_blank" rel="noopener" aria-label=${t("review.look_at", { n: at + 1 })}>
          <img src=${each.thumbnail_url} alt="" />
        </a>`)}
      </div>
    </section>`}
    ${seen?.at && html`<dl class="review-facts">
      <${Fact} name="by">${seen.by}<//>
      <${Fact} name="at">${fmt.time(seen.at)}<//>
      ${image.review === "rejected" && html`<${Fact} name="reasons">${image.review_reasons.join(" · ") || t("review.no_reasons")}<//>`}
      ${seen.note && html`<${Fact} name="note">${seen.note}<//>`}
    </dl>`}
  `;
}

/** Operations whose picture lies over the one that it was made from. */
const COMPARED = new Set(["edit", "inpaint", "adjust"]);

/** Return whether a picture can be laid over the one before. @param {ListedImage} image */
export function isCompared(image) {
  const [before] = image.reviewer?.made_from ?? [];
  if (!before || !COMPARED.has(image.operation ?? "")) return false;
  return Math.abs((before.width * image.height) / (before.height * image.width) - 1) < 0.02;
}

/** Return where a picture comes from: Dify, a studio link, or the key by its name; and the person. @param {ListedImage} image */
function from(image) {
  const key = image.reviewer?.key ?? "";
  const who = person(image.user);
  const way = who && who.kind !== "own" ? t(`review.from_${who.kind}`) : "";
  const names = [way, key.toLowerCase() === way.toLowerCase() ? "" : key, who?.name ?? ""].filter(Boolean);
  return names.join(" · ") || t("review.from_here");
}

/** @param {{name: string, children?: import("preact").ComponentChildren}} props */
function Fact({ name, children }) {
  return html`<div><dt>${t(`review.${name}`)}</dt><dd>${children}</dd></div>`;
}

/** @param {{label: string, value: number}} props */
function Score({ label, value }) {
  return html`<div class="review-score"><span>${label}</span><strong>${fmt.percent(value)}</strong><progress max="1" value=${value} aria-label=${label}></progress></div>`;
}
