"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from qwen_image_studio.contract.layers import Resolution
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import AspectRatio, PromptKind, Tier

Command = TypeVar("Command", bound=Callable[..., Any])
_OUTPUT = (
    click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True,
                 help="File to write: .png, .jpg or .webp; with -n 2 and more, numbered files."),
)  # fmt: skip
_MODEL = (
    click.option("--model", help="A model's name, or NAME=FOLDER, or NAME=FILE; default: as the server's."),
    click.option("--tier", type=click.Choice([tier.value for tier in Tier]), help="Default: quality."),
    click.option("--lora", "loras", metavar="NAME[:SCALE]", multiple=True,
                 help="A LoRA of STUDIO_LORAS, or a .safetensors FILE; may come several times."),
    click.option("--negative-prompt", help="What to keep out."),
    click.option("--steps", type=int, help="Denoising steps; default: the tier's."),
    click.option("--guidance-scale", type=float, help="True CFG; 1 is off; default: the tier's."),
    click.option("--seed", type=int, help="Default: random; it is printed."),
)  # fmt: skip
_PICTURES = (
    click.option("-n", "n", type=int, help="How many images; default: 1."),
    click.option("--background", type=click.Choice([one.value for one in Background]),
                 help="transparent: in .png and .webp, by a model that can; default: auto."),
    click.option("--output-quality", type=int, help="1 to 100, of .jpg and .webp; default: 95."),
)  # fmt: skip
_OPTIONS = (*_OUTPUT, *_MODEL, *_PICTURES)
_LAYERS = (
    click.option("-o", "--out", "folder", type=click.Path(file_okay=False, path_type=Path), required=True,
                 help="Folder to write to, which is made: 01-background.png ... and recomposed.png."),
    click.option("--layers", type=int, help="How many, 2 to 8, the background among them; default: 4."),
    click.option("--resolution", type=click.Choice([str(one.value) for one in Resolution]),
                 help="Side of a square with the area at which it is taken apart; default: the model's own."),
    click.option("--prompt", help="What the image shows; default: the model sees for itself."),
    click.option("--format", "output_format", type=click.Choice(["png", "webp"]), help="Default: png."),
    click.option("--document", "documents", type=click.Choice(["psd", "pptx"]), multiple=True,
                 help="Write the layers as one file, too; may come twice."),
)  # fmt: skip
_SIZES = (
    click.option("--size", help="WIDTHxHEIGHT in pixels."),
    click.option("--aspect-ratio", type=click.Choice([ratio.value for ratio in AspectRatio])),
)
_PARTS = (
    click.option("--strength", type=float, help="How far to go from what is there, above 0 to 1."),
    click.option("--prompt-kind", type=click.Choice([kind.value for kind in PromptKind]),
                 help="What PROMPT is; default: an instruction where the model takes one."),
)  # fmt: skip

roles_option = click.option("--roles", help="What each image is, such as: subject, style, , control:edges.")
"""The option that says what each image is to the painting."""


def part_options(command: Command) -> Command:
    """Return the click command with the options for painting a part of an image or its surroundings."""
    for option in reversed((*_OPTIONS, *_PARTS)):
        command = option(command)
    return command


def painting_options(command: Command) -> Command:
    """Return the click command with the options for painting a whole image."""
    for option in reversed((*_OPTIONS, *_SIZES)):
        command = option(command)
    return command


def layers_options(command: Command) -> Command:
    """Return the click command with the options for taking an image apart."""
    for option in reversed((*_LAYERS, *_MODEL)):
        command = option(command)
    return command


def region(_context: click.Context, _option: click.Parameter, value: str | None) -> dict[str, float] | None:
    """Return the region that X,Y,WIDTH,HEIGHT describes. Raises BadParameter for anything else."""
    if value is None:
        return None
    try:
        x, y, width, height = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("write X,Y,WIDTH,HEIGHT in pixels, or in fractions of the image") from None
    return {"x": x, "y": y, "width": width, "height": height}
