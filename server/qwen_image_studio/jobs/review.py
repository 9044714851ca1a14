"""Review: who may see an image that waits for a verdict or was rejected; and the verdicts.

A withheld image (held or rejected) is given out by nothing that gives out a job's images, and is no input of another
job, whoever asks: a key that paints and reviews must not hand on what nobody has looked at. Reviewers look at the image
itself.
"""

from sqlalchemy import ColumnElement, literal_column

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.words import Review, Scope
from qwen_image_studio.database.tables import images
from qwen_image_studio.jobs.states import StoredImage

HELD = images.c.review == literal_column("'held'")
WITHHELD = images.c.review.in_([literal_column("'held'"), literal_column("'rejected'")])
"""Conditions on an image; they are literal, as those in `tables`."""


def reviews(caller: Caller, owner: str) -> bool:
    """Return whether the caller may look at withheld images of an owner: reviewers at their own owner's, operators at
    all.
    """
    return Scope.OPERATE in caller.scopes or (caller.owner == owner and Scope.REVIEW in caller.scopes)


def visible_to(caller: Caller, image: StoredImage) -> bool:
    """Return whether the caller may look at an image by itself; `seen_by` is the same in SQL."""
    if reviews(caller, image.owner) and image.review is not Review.NONE:
        return True
    return caller.owner == image.owner and not image.review.withheld


def seen_by(caller: Caller) -> ColumnElement[bool]:
    """Return the condition on images that the caller may look at them by themselves, as in a list."""
    own = images.c.owner == caller.owner
    if Scope.OPERATE in caller.scopes:
        return own | (images.c.review != literal_column("'none'"))
    return own if Scope.REVIEW in caller.scopes else own & ~WITHHELD
