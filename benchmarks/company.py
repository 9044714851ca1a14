"""What a submit costs with all that a company switches on: ``make bench`` runs this after `benchmarks.service`.

Three servers run side by side and are measured in turns: one with a key that has every limit for itself and for its
people, callbacks, the classifier and hashed prompts; one with nothing of it, and so without a key; and that of the
commit before all this was there.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from benchmarks import Row, show
from benchmarks.servers import Studio, earlier, ours
from benchmarks.service import Figures, in_turns, info, ratios, spread, submit_p95
from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Policy
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.support.loopback import LoopbackServer

EARLIER = "7eedb14"
"""The last commit without keys that have limits, a call log, review and callbacks."""
PEOPLE = 300
MANY = Limits(
    images_per_day=10**9,
    images_per_month=10**9,
    requests_per_minute=10**9,
    jobs_at_once=10**9,
    max_pixels=2048 * 2048,
    max_steps=150,
)
"""Every limit, so that each is counted and none is reached."""
BOUND = 1.3
ON = {
    "STUDIO_SAFETY": "standard",
    "STUDIO_PROMPTS": "hashed",
    "STUDIO_REVIEW_CHANGE": "0.5",
    "STUDIO_WEBHOOK_ALLOW": "127.0.0.1",
    "STUDIO_LOG_FORMAT": "json",
}


class Receiver(LoopbackServer):
    """Takes callbacks."""

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer 204."""
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.send_response(204)
        handler.end_headers()


def main() -> int:
    """Measure the submits and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=7, help="turns, each with many submits to each server")
    rounds = arguments.parse_args().rounds
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        on, off = everything(folder, stack.enter_context(Receiver()).url), ours(folder, "off")
        before = earlier(folder, EARLIER)
        studios = [on, off] if before is None else [on, off, before]
        for studio in studios:
            stack.enter_context(studio)
        measured = in_turns({studio.name: partial(submit_p95, studio) for studio in studios}, rounds, warm=1)
    print("\nsubmit while a job runs, p95: minimum, median and maximum of the turns")
    rows = list(compared(measured))
    show(rows)
    return 0 if all(good for *_, good in rows) else 1


def everything(folder: Path, callback: str) -> Studio:
    """Return a server with all of it on: each submit is of another person of one key, and has a callback."""
    studio = ours(folder, "on", **ON)
    with closing(open_database(Settings(data_dir=folder / "on" / "data"))) as database:
        limits = KeyLimits(key=MANY, person=MANY)
        studio.api_key = KeyStore(database).add("company", limits=limits, policy=Policy.STRICT)
    people = itertools.cycle(range(PEOPLE))
    studio.wishes = ({"user": f"person-{number}", "webhook_url": callback} for number in people)
    return studio


def compared(measured: Figures) -> Iterator[Row]:
    """Yield the rows of the table."""
    ratio = ratios(measured["on"], measured["off"])
    yield "all on / off", spread(ratio), f"<= {BOUND:g}", statistics.median(ratio) <= BOUND
    if EARLIER in measured:
        yield info(f"  off / {EARLIER}", ratios(measured["off"], measured[EARLIER]))
    for name, figures in measured.items():
        yield info(f"  {name}, ms", figures)


if __name__ == "__main__":
    sys.exit(main())
