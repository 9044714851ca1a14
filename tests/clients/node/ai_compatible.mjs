// ai with @ai-sdk/openai-compatible.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage } from "ai";
import { KEY, V1, picture, refused, seen } from "./server.mjs";

const model = createOpenAICompatible({ name: "studio", baseURL: V1, apiKey: KEY }).imageModel("Qwen-Image");

export async function generate() {
  const { images } = await generateImage({ model, prompt: "a red apple", n: 2, size: "160x112" });
  assert.equal(images.length, 2);
  for (const image of images) seen(image.base64, "160x112");
}

export async function extra() {
  const asked = { model, prompt: "a red apple", providerOptions: { studio: { seed: 7 } } };
  const [one, other] = [await generateImage(asked), await generateImage(asked)];
  assert.ok(seen(one.image.base64).equals(seen(other.image.base64)));
}

export async function edit() {
  for (const images of [[picture], [picture, picture]]) {
    const { image } = await generateImage({ model, prompt: { text: "add a star", images } });
    seen(image.base64);
  }
}

export async function bad_values() {
  const call = () => generateImage({ model, prompt: "a red apple", size: "7x7" });
  assert.equal((await refused("APICallError", ["size"], call)).statusCode, 400);
}
