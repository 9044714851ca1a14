"""OpenAI's own client with this server: generate, edit a part under a mask, and watch a picture being painted.

Run it with ``pip install openai pillow`` and a running server::

    SERVER_URL=http://127.0.0.1:8300 API_KEY=... python examples/openai_client.py FOLDER
"""

import base64
import os
import sys
from io import BytesIO
from pathlib import Path

from openai import OpenAI
from PIL import Image, ImageDraw

SERVER_URL = os.environ.get("SERVER_URL", "http://127.0.0.1:8300")


def main(folder: Path) -> None:
    """Save a picture, an edit of a part of it, and a picture with its previews."""
    folder.mkdir(parents=True, exist_ok=True)
    # The client insists on a key; a server without keys takes any.
    with OpenAI(base_url=f"{SERVER_URL}/v1", api_key=os.environ.get("API_KEY") or "none") as client:
        apple = generate(client)
        save(apple, folder / "apple.png")
        save(edit(client, apple), folder / "cat.png")
        for name, picture in stream(client):
            save(picture, folder / name)


def generate(client: OpenAI) -> bytes:
    """Return a picture; what OpenAI's API has no name for, such as the seed, goes into ``extra_body``."""
    answer = client.images.generate(prompt="蓝色背景上的红苹果", extra_body={"seed": 7})
    return decoded((answer.data or [])[0].b64_json)


def edit(client: OpenAI, picture: bytes) -> bytes:
    """Return the picture with a cat in place of the apple: only where the mask is transparent may it change."""
    width, height = Image.open(BytesIO(picture)).size
    mask = Image.new("RGBA", (width, height), "black")
    ImageDraw.Draw(mask).rectangle((0.1 * width, 0.1 * height, 0.9 * width, 0.9 * height), fill=(0, 0, 0, 0))
    answer = client.images.edit(
        image=("apple.png", picture), mask=("mask.png", as_png(mask)), prompt="把苹果换成猫", extra_body={"seed": 7}
    )
    return decoded((answer.data or [])[0].b64_json)


def stream(client: OpenAI) -> list[tuple[str, bytes]]:
    """Return up to two previews (WebP) of a picture that is being painted, and the picture, each with a file's name."""
    found = []
    events = client.images.generate(
        prompt="a star on a purple background", stream=True, partial_images=2, extra_body={"seed": 7}
    )
    for event in events:
        if event.type == "image_generation.partial_image":
            found.append((f"star-{event.partial_image_index}.webp", decoded(event.b64_json)))
        else:
            found.append(("star.png", decoded(event.b64_json)))
    return found


def decoded(b64_json: str | None) -> bytes:
    """Return the bytes of a picture in an answer."""
    return base64.b64decode(b64_json or "")


def as_png(image: Image.Image) -> bytes:
    """Return the bytes of a PNG file."""
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def save(picture: bytes, path: Path) -> None:
    """Write a picture, and say where."""
    path.write_bytes(picture)
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
