"""``qwen-image-studio safety``: the classifier's process, which `serve` starts where the settings name a classifier."""

import click

from qwen_image_studio.settings import Settings
from qwen_image_studio.system.processes import die_with_parent


@click.command()
@click.option("--name", default="", help="Name under which it reports; default: one of its own.")
@click.option("--parent", type=int, default=None, help="Process to die with.")
def safety(name: str, parent: int | None) -> None:
    """Run the process that scores pictures."""
    from qwen_image_studio.host.safety import run_safety

    if parent is not None:
        die_with_parent(parent)
    run_safety(Settings(), name)
