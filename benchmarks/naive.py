"""The simplest image server that one would write, which ``make bench`` holds ours against: ``naive.py PORT``."""

import base64
import io
import sys
import threading
from typing import Any

import torch
from diffusers import QwenImagePipeline
from flask import Flask, request

from qwen_image_studio.models.table import MODELS

app = Flask(__name__)
lock = threading.Lock()
model = MODELS["miniature"]
torch.set_num_threads(model.cpu_threads or torch.get_num_threads())  # as many as our worker has
pipeline: Any = QwenImagePipeline.from_pretrained(model.repository, torch_dtype=torch.float32)
pipeline.set_progress_bar_config(disable=True)


def painted(prompt: str, seed: int) -> bytes:
    """Paint a picture with the settings that our server has by default; its PNG file."""
    image = pipeline(
        prompt=prompt,
        negative_prompt=model.negative_prompt,
        true_cfg_scale=model.recipe().guidance_scale,
        num_inference_steps=model.recipe().steps,
        width=128,
        height=128,
        generator=torch.Generator("cpu").manual_seed(seed),
    ).images[0]
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@app.post("/v1/images/generations")
def generate() -> dict[str, Any]:
    """Paint one picture at a time, and answer as OpenAI does."""
    asked = request.get_json()
    with lock:
        picture = painted(asked["prompt"], asked["seed"])
    return {"data": [{"b64_json": base64.b64encode(picture).decode()}]}


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]))
