"""A campaign from one sentence: pictures in one style, each with its own lettering, and a table of their texts.

Run it with ``pip install requests`` and a running server::

    SERVER_URL=http://127.0.0.1:8300 API_KEY=... python examples/campaign.py FOLDER

The contact sheet that the miniature paints of it is ``docs/campaign.webp``: ``contact-sheet.jpg`` as WebP.
"""

import os
import sys
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import requests

SERVER_URL = os.environ.get("SERVER_URL", "http://127.0.0.1:8300")
BRIEF = 'A cat, the launch of our café, "HOT" and "春", in English and Chinese, as post, banner and wide banner'
SEED = 1


def main(folder: Path) -> None:
    """Save the pictures of a campaign, its contact sheet and its texts."""
    with requests.Session() as server:
        if key := os.environ.get("API_KEY"):
            server.headers["Authorization"] = f"Bearer {key}"
        asked = {"operation": "campaign", "brief": BRIEF, "seed": SEED}
        answer = server.post(f"{SERVER_URL}/v1/jobs", json=asked)
        answer.raise_for_status()
        job = answer.json()
        while job["state"] in {"queued", "running"}:
            job = server.get(f"{SERVER_URL}/v1/jobs/{job['id']}", params={"wait": 50}).json()
        for colour in job["request"]["direction"]["palette"]:
            print(colour)
        archive = server.get(job["archive_url"])
        archive.raise_for_status()
        with ZipFile(BytesIO(archive.content)) as files:
            files.extractall(folder)
            for name in files.namelist():
                print(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "campaign"))
