"""Hugging Face's own client with this server: a picture, and an edit of it.

Run it with ``pip install huggingface_hub pillow`` and a running server::

    SERVER_URL=http://127.0.0.1:8300 API_KEY=... python examples/huggingface_client.py FOLDER
"""

import os
import sys
from io import BytesIO
from pathlib import Path

from huggingface_hub import InferenceClient

SERVER_URL = os.environ.get("SERVER_URL", "http://127.0.0.1:8300")
MODELS = f"{SERVER_URL}/models"


def main(folder: Path) -> None:
    """Save a picture, and the same apple on another background."""
    folder.mkdir(parents=True, exist_ok=True)
    # The client insists on a key; a server without keys takes any. A model is named by its address.
    client = InferenceClient(token=os.environ.get("API_KEY") or "none")
    apple = client.text_to_image("蓝色背景上的红苹果", model=f"{MODELS}/Qwen/Qwen-Image", seed=7)
    file = BytesIO()
    apple.save(file, "PNG")
    green = client.image_to_image(
        file.getvalue(), prompt="make the background green", model=f"{MODELS}/Qwen/Qwen-Image-Edit-2509", seed=7
    )
    for name, picture in (("apple.png", apple), ("green.png", green)):
        picture.save(folder / name)
        print(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
