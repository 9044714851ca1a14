"""``qwen-image-studio log``: the call log."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import click
from pydantic import ValidationError

from qwen_image_studio.commands.times import age, shown
from qwen_image_studio.contract.errors import from_validation
from qwen_image_studio.contract.operators import CallsQuery
from qwen_image_studio.contract.words import Operation
from qwen_image_studio.jobs.calls import Call, Calls, Sought, as_sheet, view_of
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.logs import printable

_PAGE = 500
_LOOK_S = 1.0


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """Return a time such as ``2026-11-29T12:00`` (UTC), or an age such as ``30d``, in Unix seconds."""
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - age(context, option, value)
    except click.BadParameter:
        raise click.BadParameter("write an age such as 30d or 12h, or a time such as 2026-11-29T12:00 (UTC)") from None


@click.command("log")
@click.option("--since", callback=_moment, help="From then on: an age (30d, 12h), or a time in UTC (2026-11-29T12:00).")
@click.option("--until", callback=_moment, help="Before then, likewise.")
@click.option("--key", help="Name of an API key.")
@click.option("--owner")
@click.option("--person", help="As 'qwen-image-studio person' prints it for a user of Dify.")
@click.option("--operation", help=", ".join(Operation))
@click.option("--model")
@click.option("--outcome", help="succeeded, cancelled, failed, refused, or with a code, such as failed:out_of_memory.")
@click.option("--job", "job_id")
@click.option("--prompt", "text", help="Text within the prompt; where only hashes are kept, the whole prompt.")
@click.option("--limit", type=click.IntRange(1), help="Most rows, the newest; default: 50, and for CSV and JSON all.")
@click.option("--csv", "as_", flag_value="csv", help="As CSV, for a spreadsheet.")
@click.option("--json", "as_", flag_value="json", help="As JSON, an object per line.")
@click.option("--follow", is_flag=True, help="Go on with what comes; end it with Ctrl-C.")
def log(text: str | None, limit: int | None, as_: str | None, follow: bool, **sought: str | float | None) -> None:
    """Show the call log, the newest row last: jobs that ended, and requests that were refused or changed something."""
    try:
        CallsQuery.model_validate({"outcome": sought["outcome"]})
    except ValidationError as error:
        raise from_validation(error) from error
    with open_store(Settings()) as store:
        wanted = Sought(**sought, words=store.prompts.sought(text))  # type: ignore[arg-type] # as the options say
        most = limit if limit is not None or as_ is not None else 50
        rows = list(_newest(store.calls, wanted, most))[::-1]
        _show(rows, as_, is_first=True)
        last = rows[-1].seq if rows else 0
        while follow:
            time.sleep(_LOOK_S)
            if rows := store.calls.since(wanted, last or 0, _PAGE):
                _show(rows, as_, is_first=False)
                last = rows[-1].seq


def _newest(calls: Calls, wanted: Sought, most: int | None) -> Iterator[Call]:
    """Yield rows, newest first; all of them without `most`."""
    after, left = None, most
    while left is None or left > 0:
        rows, has_more = calls.page(wanted, _PAGE if left is None else min(left, _PAGE), after)
        yield from rows
        if not has_more:
            return
        after = rows[-1].seq
        left = None if left is None else left - len(rows)


def _show(rows: list[Call], as_: str | None, *, is_first: bool) -> None:
    if as_ == "csv":
        sheet = as_sheet(rows)
        text = (sheet if is_first else sheet.partition("\r\n")[2]).removesuffix("\r\n")
    elif as_ == "json":
        text = "\n".join(view_of(row).model_dump_json() for row in rows)
    else:
        text = "\n".join(map(_line, rows))
    if text:
        click.echo(text)


def _line(row: Call) -> str:
    """Return a row for people: when, whose, what, how it ended and how long it took."""
    whose = "/".join(name for name in (row.key or row.owner, row.person) if name) or "-"
    is_job = view_of(row).kind == "job"
    what = f"{row.operation} {row.model} {row.job_id}" if is_job else f"{row.method} {row.route} {row.status}"
    took = "cached" if row.cached else f"{(row.took_ms or 0) / 1000:.2f} s"
    cells = [shown(row.at), row.peer or "-", whose, what, row.outcome, took]
    return "\t".join(map(printable, cells))
