/** Read a picture's size and the steps drawn on it as JSON, and write a byte for each of its pixels. */
import { blank, bytesOf, draw } from "../../../../server/qwen_image_studio/web/page/static/js/mask.js";

let text = "";
for await (const piece of process.stdin) text += piece;
const { width, height, steps } = JSON.parse(text);
process.stdout.write(bytesOf(steps.reduce(draw, blank({ width, height }))));
