"""``python -m tests.clients``: call a server with every client, and print what works.

With ``write`` docs/clients.md is written, else compared. With words, only clients whose modules, and programs
whose names, have one of them are called. The exit status is 1 where something does not work, or the page is stale.
"""

import sys
import tempfile
from pathlib import Path

from tests.clients.calling import call_all
from tests.clients.page import PAGE, counted, matrix, page
from tests.clients.table import read_clients, read_programs


def main() -> int:
    """Run the matrix."""
    words = [word for word in sys.argv[1:] if word != "write"]
    clients = [client for client in read_clients() if not words or any(word in client.module for word in words)]
    programs = [program for program in read_programs() if not words or any(word in program.name for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = call_all(clients, programs, Path(folder))
    print(matrix(outcomes))
    stale = False
    if not words and not any(outcome.skipped for outcome in outcomes):
        made = page(clients, programs, outcomes)
        if "write" in sys.argv[1:]:
            PAGE.write_text(made, encoding="utf-8")
        elif stale := not PAGE.exists() or PAGE.read_text(encoding="utf-8") != made:
            print("docs/clients.md is not what this run says: .venv/bin/python -m tests.clients write", file=sys.stderr)
    print(f"\n{counted(outcomes)}")
    return int(stale or any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
