// @langchain/openai: the tool for DALL·E.
import assert from "node:assert/strict";
import { DallEAPIWrapper } from "@langchain/openai";
import { KEY, V1, opened, seen } from "./server.mjs";

const made = (more) => new DallEAPIWrapper({ baseUrl: V1, apiKey: KEY, size: "256x256", ...more });

export async function link() {
  await opened(await made().invoke("a red apple"), "256x256");
}

export async function several() {
  const found = await made({ n: 2 }).invoke("a red apple");
  assert.equal(found.length, 2);
  for (const one of found) await opened(one.image_url, "256x256");
}

export async function base64() {
  seen(await made({ responseFormat: "b64_json" }).invoke("a red apple"), "256x256");
}
