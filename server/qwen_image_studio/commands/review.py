"""``qwen-image-studio review``: what waits for a reviewer, and an operator's verdicts from the shell."""

import click

from qwen_image_studio.commands.times import shown
from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.words import Review, Scope
from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.jobs.pictures import Picture, Wanted
from qwen_image_studio.jobs.review import Verdict
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings

_SHELL = Caller("", "command line", frozenset({Scope.OPERATE}))
"""Whoever may open the database may decide on the images of all owners."""
_COUNTED = 10_000

_by = click.option("--by", default=None, help="Who decides; it is kept with the verdict.")


@click.group()
def review() -> None:
    """Images that wait for a reviewer: list, approve, reject."""


@review.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
def list_held(limit: int) -> None:
    """List what is held, of all owners: id, time, owner, why, scores, job, and a link that works for ten minutes."""
    settings = Settings()
    with open_store(settings) as store:
        gallery = open_gallery(settings, store)
        held = Wanted(review=Review.HELD)
        found, _, total = store.pictures.page(_SHELL, held, limit=limit, after=None, count_to=_COUNTED)
        for picture in found:
            click.echo("\t".join([*_cells(picture), gallery.link(picture.image.key, review=True)]))
    click.echo(f"{total} wait.", err=True)


@review.command("approve")
@click.argument("image_ids", nargs=-1, required=True)
@_by
def approve(image_ids: tuple[str, ...], by: str | None) -> None:
    """Give images out; a job whose last held image this is succeeds."""
    _decide(image_ids, Verdict(Review.APPROVED, user=by))


@review.command("reject")
@click.argument("image_ids", nargs=-1, required=True)
@click.option("--reason", "reasons", multiple=True, help="Why; whoever asked for the image reads it.")
@_by
def reject(image_ids: tuple[str, ...], reasons: tuple[str, ...], by: str | None) -> None:
    """Keep images withheld; a job that has no other image fails as rejected."""
    _decide(image_ids, Verdict(Review.REJECTED, reasons, user=by))


def _decide(image_ids: tuple[str, ...], verdict: Verdict) -> None:
    with open_store(Settings()) as store:
        for image_id in image_ids:
            decided, _ = store.reviews.decide(image_id, verdict, _SHELL)
            click.echo(f"{decided.id}\t{decided.review}\t{decided.review_by}")


def _cells(picture: Picture) -> list[str]:
    image = picture.image
    scores = " ".join(f"{name}={score:.2f}" for name, score in image.scores.items()) or "-"
    return [image.id, shown(image.created_at), image.owner, image.held_for or "-", scores, image.job_id or "-"]
