// openai with Azure's addresses and its way to send a key.
import { AzureOpenAI, toFile } from "openai";
import { KEY, URL_, picture, seen } from "./server.mjs";

const client = new AzureOpenAI({ endpoint: URL_, apiKey: KEY, apiVersion: "2025-04-01-preview" });

export async function generate() {
  const answer = await client.images.generate({ model: "Qwen-Image", prompt: "a red apple", size: "160x112" });
  seen(answer.data[0].b64_json, "160x112");
}

export async function edit() {
  const image = await toFile(picture, "picture.png", { type: "image/png" });
  const answer = await client.images.edit({ model: "gpt-image-1", image, prompt: "add a star" });
  seen(answer.data[0].b64_json);
}
