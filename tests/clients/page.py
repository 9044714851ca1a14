"""What a run says of the clients: the matrix that is printed, and ``docs/clients.md``."""

from collections.abc import Iterable, Mapping, Sequence

from tests.clients.calling import Outcome
from tests.clients.table import Client, Program, Row
from tests.support import ROOT

PAGE = ROOT / "docs/clients.md"
_HEAD = """\
# Clients

Programs that paint through the APIs of OpenAI, Azure or Hugging Face take this server as it is: they get its address
and a key (`qwen-image-studio keys add NAME`), and nothing of them changes. `make clients` calls a server with each of
them, in the versions named here, and makes this page. Parameters, models and answers: [api.md](api.md).
"""


_PROGRAMS = """\
## Programs

These are not installed. Their requests are sent as their sources have them, and each answer is looked at for what the
program reads of it.
"""


def matrix(outcomes: Iterable[Outcome]) -> str:
    """Return a line for each row, below the name of its client."""
    lines, name = [], ""
    for outcome in outcomes:
        if outcome.row.client != name:
            name = outcome.row.client
            lines.append(name)
        why = f"skipped: {outcome.skipped}" if outcome.skipped else " ".join(outcome.failed.split())
        lines.append(f"  {_mark(outcome)} {outcome.row.task:<16}{why and ' '}{why[:400]}".rstrip())
    return "\n".join(lines)


def counted(outcomes: Sequence[Outcome]) -> str:
    """Return how many rows there are of each sort."""
    failed = sum(bool(outcome.failed) for outcome in outcomes)
    skipped = sum(bool(outcome.skipped) for outcome in outcomes)
    return f"{len(outcomes) - failed - skipped} passed, {failed} failed, {skipped} skipped"


def page(clients: Iterable[Client], programs: Iterable[Program], outcomes: Iterable[Outcome]) -> str:
    """Return the page: how each client is pointed at the server, and what came of each of its rows."""
    came = {outcome.row: outcome for outcome in outcomes}
    return "\n".join([_HEAD, *(_section(client, came) for client in clients), _programs(list(programs), came)])


def _section(client: Client, came: Mapping[Row, Outcome]) -> str:
    versions = ", ".join(f"`{package}` {version}" for package, version in client.versions.items())
    rows = [f"| {row.task.replace('_', ' ')} | {row.shows} | {_mark(came[row])} |" for row in client.rows]
    language = "js" if client.runs_on_node else "python"
    note = [client.note, ""] if client.note else []
    head = [f"## {client.name}", "", f"{versions}.", "", f"```{language}", client.use, "```", "", *note]
    return "\n".join([*head, "| asked for | what its user sees | |", "|---|---|---|", *rows, ""])


def _programs(programs: Sequence[Program], came: Mapping[Row, Outcome]) -> str:
    named = [f"{program.name} {program.version}".strip() for program in programs]
    uses = [f"| {name} | {program.use} |" for name, program in zip(named, programs, strict=True)]
    rows = [f"| {row.client} | {row.task} | {_mark(came[row])} |" for program in programs for row in program.rows]
    where, asked = ["| | where the address goes |", "|---|---|"], ["| | asked for | |", "|---|---|---|"]
    return "\n".join([_PROGRAMS, *where, *uses, "", *asked, *rows, ""])


def _mark(outcome: Outcome) -> str:
    return "✗" if outcome.failed else "–" if outcome.skipped else "✓"
