"""``qwen-image-studio usage``: what was made and what it cost."""

import click
from pydantic import ValidationError

from qwen_image_studio.contract.account import UsageGroup, UsageQuery, UsageView
from qwen_image_studio.contract.errors import from_validation
from qwen_image_studio.jobs.costs import as_sheet
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.logs import printable


@click.command()
@click.option("--month", help="Such as 2026-11, in UTC; default: this month, or all where --group has month.")
@click.option("--key", help="Only what this API key used.")
@click.option("--group", default="month,key,person,model", show_default=True, help=f"Of {','.join(UsageGroup)}.")
@click.option("--csv", "is_csv", is_flag=True, help="As CSV, for a spreadsheet.")
def usage(month: str | None, key: str | None, group: str, is_csv: bool) -> None:
    """Add up pictures, painted megapixel-steps and device seconds by month, key, person and model."""
    try:
        query = UsageQuery(month=month, group=group)
    except ValidationError as error:
        raise from_validation(error) from error
    with open_store(Settings()) as store:
        costs = store.costs.added_up(store.database.now(), query.groups, month=query.month, key=key)
    click.echo(as_sheet(costs).rstrip() if is_csv else "\n".join(map(_line, costs)) or "Nothing was used.")


def _line(cost: UsageView) -> str:
    """Return one cost as a line; empty names are dashes, and what it was not grouped by is left out."""
    named = (cost.month, cost.key, cost.person, cost.model)
    figures = f"{cost.pictures} pictures, {cost.megapixel_steps:g} megapixel-steps, {cost.device_s:g} s"
    return "\t".join([*(printable(name) or "-" for name in named if name is not None), figures])
