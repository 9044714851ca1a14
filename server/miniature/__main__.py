"""``python -m server.miniature``: make the miniature's weights."""

import tempfile
from pathlib import Path

import click

from server.engine import MODELS

STAGES = ("vae", "text_encoder", "transformer", "eyes", "edit", "formats")
"""What is trained, in this order."""
FOLDER: "click.ParamType[Path]" = click.Path(file_okay=False, path_type=Path)


@click.group()
def main() -> None:
    """The very small model of the same classes as the large ones."""


@main.command()
@click.option(
    "--out",
    type=FOLDER,
    default=Path(MODELS["miniature"].repository),
    help="Folder to write; by default where the server looks for it.",
)
@click.option("--seed", default=0, show_default=True, help="Of the random weights.")
@click.option("--run", type=FOLDER, help="Folder of a training run whose weights to take.")
def build(out: Path, seed: int, run: Path | None) -> None:
    """Write the miniature: as a run has trained it, or with random weights, with which it paints noise."""
    from transformers.utils.logging import disable_progress_bar

    from server.miniature import build as builder  # loads torch, which --help can do without

    disable_progress_bar()
    builder.build(out, seed, run)
    click.echo(f"wrote {out.name} ({builder.size_of(out) / 1e6:.1f} MB)")


@main.command()
@click.argument("stage", type=click.Choice(STAGES))
@click.option(
    "--run", type=FOLDER, required=True, help="Folder of checkpoints and log; the stage goes on from what is there."
)
@click.option("--cache", type=FOLDER, help="Of drawings; by default in the run.")
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


@main.command()
@click.option("--run", type=FOLDER, required=True, help="Folder of a training run.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="PNG to write.")
@click.option("--steps", type=int, help="Of each picture; by default the model's.")
@click.option("--edits", is_flag=True, help="Edits instead of pictures from words.")
@click.option("--cache", type=FOLDER, help="Of drawings; by default in the run.")
def sheet(run: Path, out: Path, steps: int | None, edits: bool, cache: Path | None) -> None:
    """Paint a contact sheet with a run's weights, and tell the prompts."""
    from transformers.utils.logging import disable_progress_bar

    from server.miniature import build as builder
    from server.miniature import sheet as sheets

    disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        builder.build(weights, run=run)
        if edits:
            from server.miniature.training.stages import drawings

            prompts = sheets.paint_edits(weights, out, drawings(cache or run / "cache"), steps=steps)
        else:
            prompts = [*sheets.GENERATED, *sheets.unseen(28)]
            sheets.paint_sheet(weights, out, prompts, steps=steps)
    sheets.legend(prompts)


if __name__ == "__main__":
    main()
