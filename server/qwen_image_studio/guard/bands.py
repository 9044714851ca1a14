"""From the classifier's scores to what is done: three bands, and the operator's thresholds between them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qwen_image_studio.contract.words import Band
from qwen_image_studio.settings import Settings

_WORST_LAST = list(Band)


@dataclass(frozen=True)
class Finding:
    """What the classifier says of one picture."""

    band: Band
    scores: Mapping[str, float] = field(default_factory=dict)
    """Its scores by name, 0 to 1; empty where it did not answer."""


@dataclass(frozen=True)
class Thresholds:
    """The score from which a picture is held, and the one from which it is blocked."""

    review: float
    block: float
    classifier: str
    """Name of the classifier whose scores they are about."""

    @classmethod
    def of(cls, settings: Settings) -> "Thresholds":
        """Return the operator's thresholds."""
        return cls(settings.safety_review, settings.safety_block, settings.classifier_name)

    def judge(self, scores: Mapping[str, float] | None) -> Finding:
        """Return what follows for a picture by its highest score; None stands for a classifier that did not answer."""
        if not scores:
            return Finding(Band.UNAVAILABLE)
        highest = max(scores.values())
        band = Band.BLOCK if highest >= self.block else Band.REVIEW if highest >= self.review else Band.PASS
        return Finding(band, scores)

    @property
    def version(self) -> str:
        """Return a text that changes whenever the same picture may get into another band."""
        return f"{self.classifier or 'none'}/{self.review:g}/{self.block:g}"


def worst(bands: Iterable[Band]) -> Band:
    """Return the worst of some bands; `pass` of none."""
    return max(bands, key=_WORST_LAST.index, default=Band.PASS)
