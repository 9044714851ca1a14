// openai: OpenAI's own client for Node.
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";
import { KEY, SPENT, V1, WRONG, mask as hole, opened, picture, refused, seen } from "./server.mjs";

const made = (apiKey = KEY) => new OpenAI({ baseURL: V1, apiKey });
const file = (bytes = picture) => toFile(bytes, "picture.png", { type: "image/png" });

export async function models() {
  const listed = [];
  for await (const model of made().models.list()) listed.push(model.id);
  assert.ok(listed.length);
  for (const name of [listed[0], "Qwen/Qwen-Image"]) assert.ok((await made().models.retrieve(name)).created > 0);
}

export async function generate() {
  const answer = await made().images.generate({ model: "Qwen-Image", prompt: "a red apple", size: "160x112" });
  seen(answer.data[0].b64_json, "160x112");
  assert.ok(answer.usage.total_tokens > 0);
}

export async function options() {
  const answer = await made().images.generate({
    model: "Qwen-Image",
    prompt: "a red apple",
    n: 2,
    background: "opaque",
    moderation: "low",
    output_compression: 60,
    output_format: "webp",
    quality: "high",
    size: "160x112",
    style: "vivid",
    user: "anna",
    response_format: "b64_json",
    seed: 7,
    num_inference_steps: 4,
  });
  const [one, other] = answer.data.map((image) => seen(image.b64_json, "160x112"));
  assert.ok(!one.equals(other));
}

export async function link() {
  const answer = await made().images.generate({ prompt: "a red apple", response_format: "url" });
  await opened(answer.data[0].url);
}

export async function stream() {
  const asked = { prompt: "a red apple", stream: true, partial_images: 2, steps: 100 };
  const events = [];
  for await (const event of await made().images.generate(asked)) events.push(event);
  const last = events.pop();
  assert.ok(events.length, "there is no partial image");
  for (const event of events) assert.equal(event.type, "image_generation.partial_image");
  assert.equal(last.type, "image_generation.completed");
  assert.ok(last.usage.total_tokens > 0);
  seen(last.b64_json);
}

export async function edit() {
  for (const image of [await file(), await Promise.all([file(), file(), file()])]) {
    const answer = await made().images.edit({ image, prompt: "add a star", input_fidelity: "high" });
    seen(answer.data[0].b64_json);
  }
}

export async function mask() {
  const answer = await made().images.edit({ image: await file(), mask: await file(hole), prompt: "a cat" });
  seen(answer.data[0].b64_json);
}

export async function variation() {
  const answer = await made().images.createVariation({ image: await file(), size: "256x256", response_format: "url" });
  await opened(answer.data[0].url, "256x256");
}

export async function bad_values() {
  const error = await refused("BadRequestError", ["size"], () =>
    made().images.generate({ prompt: "a red apple", size: "enormous" }),
  );
  assert.deepEqual([error.code, error.param], ["invalid_value", "size"]);
  assert.ok(error.requestID);
}

export async function wrong_key() {
  await refused("AuthenticationError", ["key"], () => made(WRONG).images.generate({ prompt: "a red apple" }));
}

export async function used_up() {
  let tries = 0;
  const counting = (url, options) => {
    tries += 1;
    return fetch(url, options);
  };
  const client = new OpenAI({ baseURL: V1, apiKey: SPENT, fetch: counting });
  await refused("RateLimitError", ["0 images a day"], () => client.images.generate({ prompt: "a red apple" }));
  assert.equal(tries, 1);
}
