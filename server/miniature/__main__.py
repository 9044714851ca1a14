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


@main.command()
@click.argument("stage", type=click.Choice(["vae", "text_encoder", "transformer"]))
@click.option(
    "--run",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of checkpoints and log; the stage goes on from what is there.",
)
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), help="Of drawings; by default in the run.")
@click.option("--steps", type=int, help="Steps in all; by default the recipe's.")
@click.option("--minutes", type=float, default=float("inf"), help="Stop after so long; a later call goes on.")
@click.option("--seed", default=0, show_default=True)
def train(stage: str, run: Path, cache: Path | None, steps: int | None, minutes: float, seed: int) -> None:
    """Train one part; needs what server/miniature/requirements.txt names, and npm for the drawings."""
    from server.miniature.training import stages
    from server.miniature.training.run import train as train_stage

    steps = steps or stages.STEPS[stage]
    made = stages.open_stage(stage, run, cache or run / "cache", seed, steps)
    done = train_stage(made, run, steps, minutes, click.echo)
    click.echo(f"{stage}: {done} of {steps} steps are done")


if __name__ == "__main__":
    main()
