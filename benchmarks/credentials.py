"""``make bench-credentials``: what signing costs a picture, by format, size, and the length of the chain before it.

Pictures are noise, the worst that there is to hash and copy. Times are CPU milliseconds of this process, so that
others do not show; there is no time-stamp.
"""

import time
from statistics import median

from PIL import Image

from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.credentials import Credentials, Ingredient, made, open_credentials
from qwen_image_studio.imaging import Origin, encode
from qwen_image_studio.settings import Settings
from tests.support.authority import KEYS, authority

SIDES = (512, 1024, 2048)
TURNS = 15
CHAIN = (1, 10, 50)
BOUND_MS = 25.0
"""Most CPU milliseconds for a signature at 1024 pixels with ES256."""
FACTS: Origin = {"prompt": "a red cup on a table", "model": "Qwen-Image", "seed": 7, "steps": 40}


def signer(kind: str) -> Credentials:
    """Return a signer with a throwaway certificate."""
    found = open_credentials(authority().issue(kind).settings(Settings(_env_file=None)))
    assert found is not None
    return found


def milliseconds(signer: Credentials, data: bytes, mime_type: str, *sources: Ingredient) -> float:
    """Return the median CPU time of one signature."""
    taken = []
    for _ in range(TURNS):
        began = time.process_time()
        signer.signed(data, mime_type, made(FACTS, sources, paints=True))
        taken.append(1000 * (time.process_time() - began))
    return median(taken)


def main() -> int:
    """Print the table; return 1 where the bound is missed."""
    own, missed = signer("es256"), False
    print("format, side               encoded ms   signed ms   file kB   larger by kB")
    for output_format in OutputFormat:
        for side in SIDES:
            picture = Image.effect_noise((side, side), 80).convert("RGB")
            began = time.process_time()
            data = encode(picture, output_format, FACTS)
            encoded = 1000 * (time.process_time() - began)
            took = milliseconds(own, data, output_format.mime_type)
            more = len(own.signed(data, output_format.mime_type, made(FACTS, paints=True)).data) - len(data)
            over = side == 1024 and took > BOUND_MS
            missed |= over
            line = (
                f"{output_format.value} {side}".ljust(27)
                + f"{encoded:10.0f}{took:12.1f}{len(data) / 1000:10.0f}{more / 1000:15.1f}"
            )
            print(line + ("  OVER" if over else ""))
    data = encode(Image.effect_noise((1024, 1024), 80).convert("RGB"), OutputFormat.PNG, FACTS)
    for kind in KEYS:
        print(f"png 1024, {kind}".ljust(27) + f"{'':10}{milliseconds(signer(kind), data, 'image/png'):12.1f}")
    _chains(own, data)
    return int(missed)


def _chains(own: Credentials, data: bytes) -> None:
    """Print what an edit costs after so many edits before it."""
    before = Ingredient(own.signed(data, "image/png", made(FACTS, paints=True)).data, "image/png")
    for number in range(1, max(CHAIN) + 1):
        if number in CHAIN:
            took, larger = milliseconds(own, data, "image/png", before), len(before.data) - len(data)
            print(f"png 1024, edit {number} of a chain".ljust(27) + f"{'':10}{took:12.1f}{'':10}{larger / 1000:15.1f}")
        before = Ingredient(own.signed(data, "image/png", made(FACTS, [before], paints=True)).data, "image/png")


if __name__ == "__main__":
    raise SystemExit(main())
