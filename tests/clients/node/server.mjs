// The server that the clients call, pictures to send it, and what is asked of its answers.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const { SERVER_URL: URL_, API_KEY: KEY, SPENT_KEY: SPENT, FOLDER } = process.env;
export const V1 = `${URL_}/v1`;
export const MODEL = `${URL_}/models/Qwen/Qwen-Image`;
export const EDITOR = `${URL_}/models/Qwen/Qwen-Image-Edit-2509`;
export const WRONG = "qis_nobody";

// A PNG of 128 x 128 pixels, and a mask of its size with its left half transparent; the run lays them there.
export const picture = readFileSync(join(FOLDER, "picture.png"));
export const mask = readFileSync(join(FOLDER, "mask.png"));

// Look at a picture in bytes or base64: PNG or WebP, and its size.
export function seen(data, size = "128x128") {
  assert.ok(data, "there is no picture");
  const bytes = typeof data === "string" ? Buffer.from(data, "base64") : Buffer.from(data);
  assert.equal(sizeOf(bytes), size);
  return bytes;
}

function sizeOf(bytes) {
  if (bytes.toString("latin1", 1, 4) === "PNG") return `${bytes.readUInt32BE(16)}x${bytes.readUInt32BE(20)}`;
  assert.equal(bytes.toString("latin1", 8, 16), "WEBPVP8X", "neither PNG nor WebP with metadata came");
  return `${bytes.readUIntLE(24, 3) + 1}x${bytes.readUIntLE(27, 3) + 1}`;
}

// Look at the picture behind a link, which needs no key.
export async function opened(link, size = "128x128") {
  assert.ok(link, "there is no link");
  const answer = await fetch(link);
  assert.equal(answer.status, 200);
  return seen(await answer.arrayBuffer(), size);
}

// Expect that a client throws an error of that class, and that all these words are in what its user reads.
export async function refused(name, words, call) {
  let thrown;
  try {
    await call();
  } catch (error) {
    thrown = error;
  }
  assert.ok(thrown, `${name} was not thrown`);
  assert.equal(thrown.constructor.name, name, thrown.message);
  for (const word of words) assert.ok(thrown.message.includes(word), `${word} is not in: ${thrown.message}`);
  return thrown;
}
