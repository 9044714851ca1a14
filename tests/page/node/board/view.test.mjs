import assert from "node:assert/strict";
import { test } from "node:test";
import * as views from "../../../../server/qwen_image_studio/web/page/static/js/view.js";
import * as margins from "../../../../server/qwen_image_studio/web/page/static/js/margins.js";
import { chance } from "./chance.mjs";

const BOARD = { width: 1016, height: 900 };
const ROOM = { x: 96, y: 84, width: 872, height: 732 };
const PICTURE = { x: 0, y: 0, width: 640, height: 427 };
const near = (a, b, slack = 1e-6) => assert.ok(Math.abs(a - b) <= slack, `${a} is not ${b}`);
const samePoint = (a, b) => (near(a.x, b.x), near(a.y, b.y));

/** Return views somebody may come to. */
function* some(seed, n = 200) {
  const next = chance(seed);
  for (; n; n--) yield { view: { scale: 2 ** (next() * 10 - 5), x: next() * 3000 - 1500, y: next() * 3000 - 1500 }, at: { x: next() * 1016, y: next() * 900 }, next };
}

test("screen to image and back", () => {
  for (const { view, at } of some(1)) {
    samePoint(views.toScreen(view, views.toImage(view, at)), at);
    samePoint(views.toImage(view, views.toScreen(view, at)), at);
    const box = views.placed(view, { x: at.x, y: at.y, width: 10, height: 20 });
    samePoint(box, views.toScreen(view, at));
    near(box.width, 10 * view.scale);
  }
});

test("zooming leaves what is at the pointer where it is, there and back", () => {
  for (const { view, at, next } of some(2)) {
    const factor = 0.2 + next() * 4;
    const closer = views.zoom(view, factor, at, 0.001);
    samePoint(views.toImage(closer, at), views.toImage(view, at));
    near(closer.scale, Math.min(views.CLOSEST, view.scale * factor));
    if (closer.scale === views.CLOSEST) continue;
    const back = views.zoom(closer, 1 / factor, at, 0.001);
    near(back.scale, view.scale);
    samePoint(back, view);
  }
});

test("zoom ends at its limits, in place", () => {
  const view = views.fit(ROOM, PICTURE);
  const at = { x: 300, y: 300 };
  const most = views.zoom(view, 1e6, at, 0.5);
  assert.equal(most.scale, views.CLOSEST);
  samePoint(views.toImage(most, at), views.toImage(view, at));
  assert.equal(views.zoom(view, 1e-6, at, 0.5).scale, 0.5);
});

test("a picture that fits lies in the middle of its room and touches two sides", () => {
  for (const [width, height] of [[640, 427], [427, 640], [4096, 4096], [9000, 100], [64, 64]]) {
    const part = { x: -20, y: -30, width, height };
    const box = views.placed(views.fit(ROOM, part), part);
    near(box.x + box.width / 2, ROOM.x + ROOM.width / 2);
    near(box.y + box.height / 2, ROOM.y + ROOM.height / 2);
    assert.ok(box.width <= ROOM.width + 1e-6 && box.height <= ROOM.height + 1e-6);
    const scale = views.fit(ROOM, part).scale;
    if (scale < 4) near(Math.max(box.width / ROOM.width, box.height / ROOM.height), 1);
    else assert.equal(scale, 4);
  }
});

test("some of the picture stays on the board, and a view that is fine stays", () => {
  for (const { view } of some(3)) {
    const held = views.clamp(view, BOARD, PICTURE);
    const box = views.placed(held, PICTURE);
    const seen = (start, length, room) => Math.min(start + length, room) - Math.max(start, 0);
    assert.ok(seen(box.x, box.width, BOARD.width) >= Math.min(views.HELD, box.width) - 1e-6);
    assert.ok(seen(box.y, box.height, BOARD.height) >= Math.min(views.HELD, box.height) - 1e-6);
    assert.equal(held.scale, view.scale);
    const again = views.clamp(held, BOARD, PICTURE);
    samePoint(again, held);
  }
});

test("two fingers keep what is below them", () => {
  for (const { view, at, next } of some(4)) {
    const before = [at, { x: at.x + 20 + next() * 300, y: at.y - next() * 200 }];
    const turn = { x: next() * 100, y: next() * 100 };
    const factor = 0.5 + next();
    const now = before.map(({ x, y }) => ({ x: at.x + (x - at.x) * factor + turn.x, y: at.y + (y - at.y) * factor + turn.y }));
    const after = views.pinch(view, before, now, 0.0001);
    if (after.scale >= views.CLOSEST) continue;
    now.forEach((finger, i) => samePoint(views.toImage(after, finger), views.toImage(view, before[i])));
  }
});

test("a pinch on a trackpad zooms to the pointer, scrolling pans", () => {
  const view = views.fit(ROOM, PICTURE);
  const at = { x: 400, y: 200 };
  const turn = { deltaX: 30, deltaY: -12, deltaMode: 0, ctrlKey: false };
  assert.deepEqual(views.wheel(view, turn, at, 0.1), views.pan(view, -30, 12));
  assert.deepEqual(views.wheel(view, { ...turn, deltaMode: 1 }, at, 0.1), views.pan(view, -480, 192));
  const closer = views.wheel(view, { ...turn, ctrlKey: true }, at, 0.1);
  assert.ok(closer.scale > view.scale);
  samePoint(views.toImage(closer, at), views.toImage(view, at));
  const notch = views.wheel(view, { ...turn, deltaY: -120, ctrlKey: true }, at, 0.1);
  assert.ok(notch.scale < view.scale * 1.6);
});

test("shapes grow as the server grows them, and keep the picture in the middle", () => {
  assert.deepEqual(margins.shaped({ width: 640, height: 427 }, "16:9"), { left: 59, top: 0, right: 60, bottom: 0 });
  assert.deepEqual(margins.shaped({ width: 640, height: 427 }, "1:1"), { left: 0, top: 106, right: 0, bottom: 107 });
  assert.deepEqual(margins.shaped({ width: 512, height: 512 }, "1:1"), { left: 0, top: 0, right: 0, bottom: 0 });
  assert.equal(margins.shaped({ width: 4096, height: 2304 }, "9:16"), null);
  for (const shape of ["1:1", "4:3", "16:9", "9:16"]) {
    for (const size of [{ width: 640, height: 427 }, { width: 333, height: 1001 }, { width: 1024, height: 1024 }]) {
      const found = margins.shaped(size, shape);
      assert.ok(margins.isShaped(size, found, shape), `${shape} of ${size.width}`);
    }
  }
});

test("a side grows as far as the server paints, in whole pixels", () => {
  const size = { width: 640, height: 427 };
  const none = { left: 0, top: 0, right: 0, bottom: 0 };
  assert.deepEqual(margins.widened(size, none, "left", 12.6), { ...none, left: 13 });
  assert.deepEqual(margins.widened(size, none, "top", -5), none);
  assert.deepEqual(margins.widened(size, none, "top", NaN), none);
  assert.equal(margins.widened(size, { ...none, left: 1000 }, "right", 9999).right, 4096 - 1640);
  assert.deepEqual(margins.grown(size, { left: 1, top: 2, right: 3, bottom: 4 }), { width: 644, height: 433 });
});
