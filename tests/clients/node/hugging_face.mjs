// @huggingface/inference: the client of Hugging Face's inference.
import { InferenceClient } from "@huggingface/inference";
import { EDITOR, KEY, MODEL, picture, refused, seen } from "./server.mjs";

const painter = new InferenceClient(KEY, { endpointUrl: MODEL });
const editor = new InferenceClient(KEY, { endpointUrl: EDITOR });
const text = (parameters) => painter.textToImage({ inputs: "a red apple", parameters }, { outputType: "blob" });

export async function text_to_image() {
  const blob = await text({ width: 160, height: 112, num_inference_steps: 4, seed: 7 });
  seen(await blob.arrayBuffer(), "160x112");
}

export async function image_to_image() {
  const inputs = new Blob([picture], { type: "image/png" });
  const blob = await editor.imageToImage({ inputs, parameters: { prompt: "add a star" } });
  seen(await blob.arrayBuffer());
}

export async function bad_values() {
  await refused("InferenceClientProviderApiError", ["width"], () => text({ width: 7 }));
}
