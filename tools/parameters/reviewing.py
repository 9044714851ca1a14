"""The parameters of image_review: a verdict on one image."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from tools.parameters.pictures import references
from tools.parameters.tolerant import Tolerant, lowered

MAX_REASON_CHARS = 200

Decision = Literal["approved", "rejected"]
_MEANT = {
    **dict.fromkeys(("approve", "yes", "ok", "通过", "批准", "同意"), "approved"),
    **dict.fromkeys(("reject", "no", "拒绝", "不通过", "驳回"), "rejected"),
}
"""What people and models write for the two verdicts."""


def _one_image(value: object) -> object:
    """Return the id of one image, whatever words surround it. Raises ValueError where there is none, or several."""
    found = references(value)
    if len(found) != 1 or "://" in found[0]:
        raise ValueError("takes the id of one image, as an earlier answer named it (img_…)")
    return found[0]


def _decision(value: object) -> object:
    said = lowered(value)
    return _MEANT.get(said, said) if isinstance(said, str) else said


class ReviewParameters(Tolerant):
    """Parameters of image_review."""

    FREE_TEXTS: ClassVar[frozenset[str]] = frozenset({"reason"})

    image_id: Annotated[str, BeforeValidator(_one_image)]
    verdict: Annotated[Decision, BeforeValidator(_decision)]
    reason: str = Field("", max_length=MAX_REASON_CHARS)

    def body(self) -> dict[str, Any]:
        """Return what is sent to the server."""
        return {"state": self.verdict, "reasons": [self.reason] if self.reason else []}
