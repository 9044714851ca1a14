/** "Use these settings" of an edit: its words, area and settings are laid on the picture that it was made from. */
import { request, ROOT } from "./api.js";
import { editOf, settings } from "./editing.js";
import { openBoard } from "./drawing.js";

/**
 * Put down what an edit was asked for, and return the id of the picture that it starts from. Throws ApiError.
 * @param {Record<string, any>} asked the request of its job @param {number | null} seed of its picture
 */
export async function restore(asked, seed) {
  const [source, ...refs] = [asked.image].flat();
  const picture = await request("GET", `/v1/images/${source}`);
  const edit = editOf(source);
  edit.value = {
    ...edit.peek(),
    words: asked.prompt ?? "",
    feather: asked.feather ?? null,
    refs,
    seed: String(seed ?? asked.seed ?? ""),
    keepOut: asked.negative_prompt ?? "",
    strength: asked.strength ?? 1,
    background: asked.background ?? "auto",
    roles: Object.fromEntries([asked.image].flat().map((id, at) => [id, written(asked.roles?.[at])]).filter(([, role]) => role)),
  };
  settings.value = { ...settings.peek(), tier: asked.tier ?? "quality", model: asked.model ?? "", n: 1 };
  const board = openBoard(source, picture);
  const { left = 0, top = 0, right = 0, bottom = 0, region, mask } = asked;
  board.extendTo({ left, top, right, bottom });
  board.clear();
  if (region) board.draw({ kind: "box", erase: false, points: corners(region, picture) });
  else if (mask) {
    const answer = await fetch(new URL(`v1/images/${mask}/content`, ROOT));
    if (answer.ok) await board.load(await answer.blob()); // else the area is drawn anew
  }
  return source;
}

/** Return a role as it is chosen. @param {{role?: string, derive?: string} | undefined} said */
const written = (said) => [said?.role, said?.derive].filter(Boolean).join(":");

/** Return a box as two corners in pixels. @param {Record<string, number>} box @param {{width: number, height: number}} picture */
function corners(box, { width, height }) {
  const [x, y] = [box.x ?? box.x1, box.y ?? box.y1];
  const all = [x, y, box.x2 ?? x + box.width, box.y2 ?? y + box.height];
  const inFractions = Object.values(box).every((each) => each <= 1);
  return inFractions ? all.map((each, i) => Math.round(each * (i % 2 ? height : width))) : all;
}
