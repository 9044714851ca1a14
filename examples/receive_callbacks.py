"""A receiver of callbacks: it saves the pictures of every job that has ended, each once.

Run it with ``pip install standardwebhooks`` where the server can reach it, and name its address as ``webhook_url``::

    WEBHOOK_SECRET=$(qwen-image-studio webhooks secret) python examples/receive_callbacks.py FOLDER 9000

Beyond your own machine put a proxy with TLS in front of it.
"""

import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

MAX_BYTES = 1_000_000


class Receiver(BaseHTTPRequestHandler):
    """Answers each callback: 401 to what the server has not signed, 204 to what is done, 500 to have it sent again."""

    webhook = Webhook(os.environ["WEBHOOK_SECRET"])
    folder = Path()
    timeout = 30
    """Seconds for which a sender may be silent."""

    def do_POST(self) -> None:
        """Verify, save what is new, and answer. An exception is no answer, and then the server sends it again."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BYTES))
        try:
            event = self.webhook.verify(body, dict(self.headers))
        except WebhookVerificationError as error:
            self.send_error(401, str(error))
            return
        done = self.folder / f"{self.headers['webhook-id']}.done"  # signed, so nobody else has chosen it
        if not done.exists():  # the same event may come twice
            save(event, self.folder)
            done.touch()
        self.send_response(204)
        self.end_headers()


def save(event: dict[str, Any], folder: Path) -> None:
    """Save the pictures of an event, and say what has happened."""
    job = event["data"]
    if job is None:
        print("a test of the operator's", flush=True)
        return
    print(event["type"], job["id"], job["error"]["message"] if job["error"] else "", flush=True)
    for image in job["images"]:
        path = folder / f"{image['id']}.{image['mime_type'].removeprefix('image/')}"
        with urllib.request.urlopen(image["url"], timeout=30) as answer:
            path.write_bytes(answer.read())
        print(path, flush=True)


def main(folder: Path, port: int) -> None:
    """Receive until Ctrl-C."""
    folder.mkdir(parents=True, exist_ok=True)
    Receiver.folder = folder
    with ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"), int(sys.argv[2] if len(sys.argv) > 2 else 9000))
