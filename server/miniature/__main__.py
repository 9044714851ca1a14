"""``python -m server.miniature``: make the miniature's weights."""

from pathlib import Path

import click

from server.engine import MODELS


@click.group()
def main() -> None:
    """The very small model of the same classes as the large ones."""


@main.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(MODELS["miniature"].repository),
    help="Folder to write; by default where the server looks for it.",
)
@click.option("--seed", default=0, show_default=True, help="Of the random weights.")
def build(out: Path, seed: int) -> None:
    """Write the miniature with random weights: it runs like a large model and paints noise."""
    from transformers.utils.logging import disable_progress_bar

    from server.miniature import build as builder  # loads torch, which --help can do without

    disable_progress_bar()
    builder.build(out, seed)
    click.echo(f"wrote {out.name} ({builder.size_of(out) / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
