/** The tools of the board: their column, the settings of the one in hand, and the zoom. */
import { Button, Icon, Segments, fmt, html, t, toast, useName } from "./ui.js";
import { LARGEST, NoMask, SMALLEST, brush, erasing, resize, tool } from "./drawing.js";
import { ExtendBar } from "./extend.js";

/** @typedef {import("./drawing.js").Drawing} Drawing */
/** @typedef {import("./drawing.js").Tool} Tool */

/** @type {readonly [tool: Tool, icon: string, key: string][]} */
export const TOOLS = [
  ["hand", "hand", "H"],
  ["brush", "brush", "B"],
  ["eraser", "eraser", "E"],
  ["lasso", "lasso", "L"],
  ["box", "square-dashed", "M"],
  ["extend", "expand", "O"],
];

/** Change the brush's size as the keys [ and ] do. @param {1 | -1} way */
export function step(way) {
  resize(brush.value + way * Math.max(2, Math.round(brush.value / 10)));
}

/** @param {{board: Drawing, locked: boolean}} props */
export function ToolColumn({ board, locked }) {
  return html`<div class="board-tools" role="toolbar" aria-label=${t("board.tools")}>
    ${TOOLS.map(
      ([name, icon, key]) => html`<${Button}
        key=${name}
        kind="quiet"
        icon=${icon}
        label=${t(`board.tool.${name}`)}
        keys=${key}
        pressed=${(locked ? "hand" : tool.value) === name}
        disabled=${locked && name !== "hand"}
        onClick=${() => locked || (tool.value = name)}
      />`,
    )}
    <hr />
    <${Button} kind="quiet" icon="undo-2" label=${t("board.undo")} keys="Ctrl Z" disabled=${locked || !board.canUndo.value} onClick=${board.undo} />
    <${Button} kind="quiet" icon="redo-2" label=${t("board.redo")} keys="Ctrl Shift Z" disabled=${locked || !board.canRedo.value} onClick=${board.redo} />
  </div>`;
}

/** The settings of the tool in hand. @param {{board: Drawing, onSizing: (now: boolean) => void}} props */
export function ToolBar({ board, onSizing }) {
  const now = tool.value;
  if (now === "hand") return null;
  const paints = now === "brush" || now === "eraser";
  return html`<div class=${`board-bar ${now}`} role="group" aria-label=${t(`board.tool.${now}`)}>
    ${now === "extend" ? html`<${ExtendBar} board=${board} />` : paints ? html`<${BrushSize} onSizing=${onSizing} />` : html`<${Way} />`}
    ${now !== "extend" && html`<${AreaActions} board=${board} />`}
  </div>`;
}

/** @param {{onSizing: (now: boolean) => void}} props */
function BrushSize({ onSizing }) {
  const id = useName("brush");
  const end = () => onSizing(false);
  return html`<div class="board-brush" title=${`${t("board.brush")} ([ ])`}>
    <label for=${id}>${t("board.brush")}</label>
    <input
      id=${id}
      type="range"
      min=${SMALLEST}
      max=${LARGEST}
      value=${brush.value}
      aria-valuetext=${t("board.px", { n: brush.value })}
      onInput=${(/** @type {any} */ event) => {
        resize(Number(event.target.value));
        onSizing(true);
      }}
      onBlur=${end}
      onPointerUp=${end}
    />
    <output for=${id}>${t("board.px", { n: brush.value })}</output>
  </div>`;
}

/** Whether lasso and box add or take away. */
function Way() {
  const options = [
    { value: false, label: t("board.way.add"), icon: "plus" },
    { value: true, label: t("board.way.remove"), icon: "eraser", title: t("board.way.alt") },
  ].map((option) => ({ ...option, value: String(option.value) }));
  return html`<${Segments}
    label=${t("board.way")}
    hideLabel
    value=${String(erasing.value)}
    options=${options}
    onChange=${(/** @type {string} */ value) => (erasing.value = value === "true")}
  />`;
}

/** @param {{board: Drawing}} props */
function AreaActions({ board }) {
  const take = async (/** @type {any} */ event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    try {
      await board.load(file);
    } catch (error) {
      if (!(error instanceof NoMask)) throw error;
      toast(t(`board.file.${error.reason}`, { width: String(board.width), height: String(board.height) }), { kind: "error" });
    }
  };
  return html`
    <${Button} icon="contrast" class="board-invert" label=${t("board.invert")} onClick=${board.invert}>${t("board.invert")}<//>
    <${Button} icon="x" disabled=${!board.coverage.value} onClick=${board.clear}>${t("board.clear")}<//>
    <label class="button lone board-file" title=${t("board.file")}>
      <${Icon} name="upload" />
      <span class="sr-only">${t("board.file")}</span>
      <input type="file" accept="image/*" class="sr-only" onChange=${take} />
    </label>
  `;
}

/** @param {{board: Drawing, camera: import("./camera.js").Camera}} props */
export function Zoom({ board, camera }) {
  const scale = board.view.value?.scale ?? 1;
  return html`<div class="board-zoom" role="group" aria-label=${t("board.zoom")}>
    <${Button} kind="quiet" icon="zoom-out" label=${t("board.zoom.out")} keys="-" onClick=${() => camera.zoom(1 / 1.25)} />
    <button type="button" class="button quiet" title=${`${t("board.zoom.natural")} (1)`} aria-keyshortcuts="1" onClick=${() => camera.natural()}>
      ${fmt.percent(Math.round(scale * 100) / 100)}
    </button>
    <${Button} kind="quiet" icon="zoom-in" label=${t("board.zoom.in")} keys="+" onClick=${() => camera.zoom(1.25)} />
    <${Button} kind="quiet" icon="maximize" label=${t("board.zoom.fit")} keys="0" onClick=${() => camera.fit()} />
  </div>`;
}
