// ai with @ai-sdk/openai.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateImage } from "ai";
import { KEY, V1, mask as hole, picture, refused, seen } from "./server.mjs";

const openai = createOpenAI({ baseURL: V1, apiKey: KEY });
const model = openai.image("Qwen-Image");

export async function generate() {
  const { images, usage } = await generateImage({ model, prompt: "a red apple", n: 2, size: "160x112" });
  assert.equal(images.length, 2);
  for (const image of images) seen(image.base64, "160x112");
  assert.ok(usage.totalTokens > 0);
}

export async function gpt_image() {
  const providerOptions = { openai: { quality: "high", outputFormat: "webp", outputCompression: 60, background: "opaque" } };
  const { image } = await generateImage({ model: openai.image("gpt-image-1"), prompt: "a red apple", providerOptions });
  seen(image.uint8Array);
  assert.equal(image.mediaType, "image/webp");
}

export async function edit() {
  for (const images of [[picture], [picture, picture]]) {
    const { image } = await generateImage({ model, prompt: { text: "add a star", images } });
    seen(image.base64);
  }
}

export async function mask() {
  const { image } = await generateImage({ model, prompt: { text: "a cat", images: [picture], mask: hole } });
  seen(image.base64);
}

export async function bad_values() {
  const call = () => generateImage({ model, prompt: "a red apple", size: "7x7" });
  assert.equal((await refused("APICallError", ["size"], call)).statusCode, 400);
}
