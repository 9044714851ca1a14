"""``qwen-image-studio layers``: an image taken apart into a folder, without a server."""

from pathlib import Path
from typing import Any

import click

from qwen_image_studio.local.files import layers_to_files
from qwen_image_studio.local.options import layers_options


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@layers_options
def layers(image: Path, folder: Path, documents: tuple[str, ...], **options: Any) -> None:
    """Take IMAGE apart into layers with transparency, without a server."""
    layers_to_files(image, folder, documents, options)
