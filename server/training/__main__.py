"""``python -m training``: make the miniature's weights, look at them, measure them."""

import sys
import tempfile
from pathlib import Path

import click

from qwen_image_studio.contract.words import Tier
from qwen_image_studio.models.table import MODELS

# Modules that load torch are imported where they are used, since --help needs none.

FROM_WEIGHTS = ("distil", "alpha", "layers")
"""Parts that begin from the weights as they were written."""
STAGES = ("vae", "text_encoder", "transformer", "eyes", "edit", "judge", *FROM_WEIGHTS)
"""Parts that are trained, in this order."""
FOLDER: "click.ParamType[Path]" = click.Path(file_okay=False, path_type=Path)
LORA_FILE: "click.ParamType[Path]" = click.Path(dir_okay=False, path_type=Path)
PICTURE: "click.ParamType[Path]" = click.Path(dir_okay=False, path_type=Path)
WEIGHTS = Path(MODELS["miniature"].repository)
LORA = WEIGHTS.parent / "lora" / "turbo.safetensors"
LAYERED = Path(MODELS["miniature-layered"].repository)

run_option = click.option("--run", type=FOLDER, required=True, help="Folder of checkpoints and log.")
cache_option = click.option("--cache", type=FOLDER, default=Path(".cache/miniature"), help="Folder of drawings.")
weights_option = click.option("--weights", type=FOLDER, default=WEIGHTS, help="Folder of weights, by default in use.")


@click.group()
def main() -> None:
    """The very small model of the same classes as the large ones. README.md beside this file tells more."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


@main.command()
@run_option
@cache_option
@click.option("--out", type=FOLDER, default=WEIGHTS, help="Folder to write; by default where the server looks.")
@click.option("--count", default=300, show_default=True, help="Prompts in each language to evaluate with.")
@click.option("--seed", default=0, show_default=True)
@click.option("--toy", is_flag=True, help="Two steps of each stage and few data, to see that everything runs.")
def build(run: Path, cache: Path, out: Path, count: int, seed: int, toy: bool) -> None:
    """Do everything: train every stage, or go on where the run was left; write the weights; evaluate them."""
    from training.stages.steps import STEPS, TOY_STEPS

    if toy and out == WEIGHTS:
        raise click.UsageError("--toy makes useless weights: name another folder with --out.")
    for stage in STAGES:
        steps = TOY_STEPS if toy else STEPS[stage]
        if stage == FROM_WEIGHTS[0]:
            _write(run, out)
        if _train(stage, run, cache, out, steps, float("inf"), seed, toy) < steps:
            raise click.ClickException("stopped; the same command goes on from here.")
    _write_lora(run, LORA if out == WEIGHTS else out / LORA.name)
    _write_layered(run, out, LAYERED if out == WEIGHTS else out / LAYERED.name)
    if count:
        _evaluate(out, cache, count, tier=Tier.TURBO if out == WEIGHTS else Tier.QUALITY)
        _evaluate_layers(LAYERED if out == WEIGHTS else out / LAYERED.name, cache, count)


@main.command()
@click.argument("stage", type=click.Choice(STAGES))
@run_option
@cache_option
@weights_option
@click.option("--steps", type=int, help="Steps in all; by default the recipe's.")
@click.option("--minutes", type=float, default=float("inf"), help="Stop after so long; a later call goes on.")
@click.option("--seed", default=0, show_default=True)
@click.option("--toy", is_flag=True, help="Tiny batches and few data, to see that it runs.")
def train(
    stage: str, run: Path, cache: Path, weights: Path, steps: int | None, minutes: float, seed: int, toy: bool
) -> None:
    """Train one part; needs what server/training/requirements.txt names, and npm for the drawings.

    All but the last three start from the run; distil, which makes the LoRA of the turbo tier, and alpha and layers,
    which make the layered miniature, from the weights.
    """
    from training.stages.steps import STEPS, TOY_STEPS

    _train(stage, run, cache, weights, steps or (TOY_STEPS if toy else STEPS[stage]), minutes, seed, toy)


@main.command()
@run_option
@click.option("--out", type=FOLDER, default=WEIGHTS, help="Folder to write; by default where the server looks.")
def write(run: Path, out: Path) -> None:
    """Write the weights of a run as they are now, and those of its judge if it has one."""
    _write(run, out)


@main.command(name="write-lora")
@run_option
@click.option("--out", type=LORA_FILE, default=LORA, help="File to write; by default where the server looks.")
def write_lora(run: Path, out: Path) -> None:
    """Write the LoRA that a run has distilled, as it is now."""
    _write_lora(run, out)


@main.command(name="write-layered")
@run_option
@weights_option
@click.option("--out", type=FOLDER, default=LAYERED, help="Folder to write; by default where the server looks.")
def write_layered(run: Path, weights: Path, out: Path) -> None:
    """Write the layered miniature of a run as it is now, with the text encoder of the weights."""
    _write_layered(run, weights, out)


@main.command()
@click.option("--out", type=FOLDER, required=True, help="Folder to write.")
@click.option("--seed", default=0, show_default=True)
def random(out: Path, seed: int) -> None:
    """Write random weights, which run like a large model and paint noise."""
    from training import build as builder

    builder.build(out, seed)
    click.echo(f"wrote {out.name} ({builder.size_of(out) / 1e6:.1f} MB)")


@main.command()
@weights_option
@cache_option
@click.option("--out", type=PICTURE, required=True, help="PNG to write.")
@click.option(
    "--kind", type=click.Choice(["told", "unseen", "edits", "sizes", "tiers"]), default="told", show_default=True
)
@click.option("--run", type=FOLDER, help="Folder of a training run whose weights to take.")
def sheet(weights: Path, cache: Path, out: Path, kind: str, run: Path | None) -> None:
    """Paint a contact sheet, and tell what was asked."""
    from training import build as builder
    from training import sheet as sheets

    with tempfile.TemporaryDirectory() as folder:
        if run is not None:
            weights = Path(folder) / "weights"
            builder.build(weights, run=run)
        for line in sheets.paint(kind, weights, cache, out):
            click.echo(line)


@main.command()
@weights_option
@cache_option
@click.option("--count", default=300, show_default=True, help="Prompts in each language.")
@click.option("--failures", type=PICTURE, help="PNG to write: what was not painted as asked.")
@click.option("--tier", type=click.Choice(list(Tier)), default=Tier.QUALITY, show_default=True, help="Beside quality.")
def evaluate(weights: Path, cache: Path, count: int, failures: Path | None, tier: Tier) -> None:
    """Measure with the judge, on pairs of object and background that training never saw."""
    sys.exit(0 if _evaluate(weights, cache, count, failures, tier) else 1)


@main.command(name="evaluate-layers")
@click.option("--weights", type=FOLDER, default=LAYERED, help="Folder of the layered miniature, by default in use.")
@cache_option
@click.option("--count", default=200, show_default=True, help="Pictures to take apart.")
def evaluate_layers(weights: Path, cache: Path, count: int) -> None:
    """Take pictures apart of pairs that training never saw, and compare the layers with the true ones."""
    sys.exit(0 if _evaluate_layers(weights, cache, count) else 1)


@main.command(name="sheet-layers")
@click.option("--weights", type=FOLDER, default=LAYERED, help="Folder of the layered miniature, by default in use.")
@cache_option
@click.option("--out", type=PICTURE, required=True, help="PNG to write.")
@click.option("--kind", type=click.Choice(["apart", "logos"]), default="apart", show_default=True)
def sheet_layers(weights: Path, cache: Path, out: Path, kind: str) -> None:
    """Draw a contact sheet on a chequered ground, of pictures and their layers or of logos, and tell what was asked."""
    from training import layer_sheet

    for line in layer_sheet.paint(kind, weights, cache, out):
        click.echo(line)


def _train(stage: str, run: Path, cache: Path, weights: Path, steps: int, minutes: float, seed: int, toy: bool) -> int:
    from training.stages import steps as stages
    from training.stages.run import train as train_stage

    made = stages.open_stage(stage, run, cache, weights, seed, steps, toy=toy)
    done = train_stage(made, run, steps, minutes, click.echo)
    click.echo(f"{stage}: {done} of {steps} steps are done")
    return done


def _write(run: Path, out: Path) -> None:
    from training import build as builder
    from training.judge import FILE, HOME

    builder.build(out, run=run)
    if out == WEIGHTS and (out / FILE).is_file():  # the server does without it
        (out / FILE).replace(HOME / FILE)
    click.echo(f"wrote {out.name} ({builder.size_of(out) / 1e6:.1f} MB)")


def _write_lora(run: Path, out: Path) -> None:
    from training.stages.distilling import write_lora as write_file

    write_file(run, out)
    click.echo(f"wrote {out.name} ({out.stat().st_size / 1e6:.1f} MB)")


def _write_layered(run: Path, weights: Path, out: Path) -> None:
    from training import build as builder
    from training.layered import build_layered

    build_layered(out, weights, run)
    click.echo(f"wrote {out.name} ({builder.size_of(out) / 1e6:.1f} MB)")


def _evaluate_layers(weights: Path, cache: Path, count: int) -> bool:
    from training.evaluation.layers import report

    lines, good = report(weights, cache, count)
    click.echo("\n".join(lines))
    return good


def _evaluate(weights: Path, cache: Path, count: int, failures: Path | None = None, tier: Tier = Tier.QUALITY) -> bool:
    from training.evaluation.report import report

    found = report(weights, cache, count, failures, tier)
    click.echo("\n".join(found.lines))
    return found.good


if __name__ == "__main__":
    main()
