"""Whether the trainer's tests have passed on the trainer as it stands: server/training/tests.sha256.

    python .ci/training_stamp.py check    succeeds where they have, and says so
    python .ci/training_stamp.py write    after they have passed; ``make test-training`` alone calls it

The weights in the tree are what the trainer made; nobody trains anew unless the trainer changes. So its tests run then.
"""

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRAINING = ROOT / "server/training"
STAMP = TRAINING / "tests.sha256"
USED = ("server/qwen_image_studio/models/known_words.py", "tests/support/miniature.py", "tests/support/plans.py")
"""What else decides over these tests and is seldom changed."""


def digest() -> str:
    """SHA-256 over the names and the bytes of the trainer's files."""
    files = [path for path in TRAINING.rglob("*") if path.is_file() and path.suffix in {".py", ".txt", ".safetensors"}]
    total = hashlib.sha256()
    for path in sorted([*files, *(ROOT / name for name in USED)]):
        total.update(f"{path.relative_to(ROOT).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def main() -> int:
    """Check or write the stamp."""
    match sys.argv[1:]:
        case ["write"]:
            STAMP.write_text(f"{digest()}\n")
            return 0
        case ["check"]:
            if STAMP.exists() and STAMP.read_text().strip() == digest():
                print("The trainer has not changed since its tests passed (server/training/tests.sha256).")
                return 0
            return 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
