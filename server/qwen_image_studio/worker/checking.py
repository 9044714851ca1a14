"""The classifier's part in an attempt: it sees each preview that is shown, and each image before anybody else does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Band, HeldFor, Policy, Review
from qwen_image_studio.gallery import Gallery
from qwen_image_studio.gallery.holding import together
from qwen_image_studio.guard.bands import Finding, worst
from qwen_image_studio.guard.safety import SHORT_S, Safety, unseen
from qwen_image_studio.imaging import thumbnail
from qwen_image_studio.jobs import Lease, StoredImage
from qwen_image_studio.jobs.images import Images
from qwen_image_studio.worker.inputs import reading_inputs

PREVIEW_S = 2.0
"""Longest wait for the classifier at a preview, in seconds: the lease is renewed by the thread that waits."""


@dataclass(frozen=True)
class Checked:
    """What is left of an attempt's images, and what was said of them."""

    images: Sequence[StoredImage]
    warnings: Sequence[str]
    band: Band
    """The worst of all of them."""


class Checks:
    """The checks of one attempt, for an API key whose policy asks for them."""

    def __init__(self, safety: Safety, policy: Policy, gallery: Gallery, inputs: Sequence[StoredImage]) -> None:
        self._safety, self._policy, self._gallery = safety, policy, gallery
        self._holds_all = any(map(self._is_doubtful, inputs))

    def may_show(self, preview: Image.Image) -> bool:
        """Return whether a preview passes. One that the classifier does not see is not shown."""
        return not self._holds_all and self._safety.judge(thumbnail(preview), PREVIEW_S).band is Band.PASS

    def check(self, images: Sequence[StoredImage], look: Callable[[], None]) -> Checked:
        """Judge the stored images of the attempt one by one: some are held for a reviewer, some are deleted.

        `look` is called before each, and ends the attempt by what it raises. Raises StudioError ``content_blocked``
        where no image is left, and ``safety_unavailable`` where the policy lets nothing pass unseen.
        """
        kept: list[StoredImage] = []
        findings: list[Finding] = []
        for image in images:
            look()
            finding = self._judged(image, SHORT_S if findings and findings[-1].band is Band.UNAVAILABLE else None)
            findings.append(finding)
            if finding.band is Band.BLOCK:
                self._gallery.clear(*filter(None, (image.key, image.thumbnail_key, image.comparison_key)))
            else:
                kept.append(self._marked(image, finding))
        if not kept or (len(kept) < len(images) and any(image.layer is not None for image in images)):
            raise StudioError("content_blocked", _nothing_left(len(images)))  # of layers, none is left where one is not
        bands = [finding.band for finding in findings]
        band = worst([*bands, Band.REVIEW if self._holds_all else Band.PASS])
        return Checked(together(kept), _warnings(bands), band)

    def _judged(self, image: StoredImage, timeout_s: float | None) -> Finding:
        finding = self._safety.judge(self._gallery.open(image.key), timeout_s)
        if finding.band is Band.UNAVAILABLE and self._policy is Policy.STRICT:
            raise unseen("What this job has made")
        return finding

    def _marked(self, image: StoredImage, finding: Finding) -> StoredImage:
        image = replace(image, scores=finding.scores)
        if self._holds_all or finding.band is Band.REVIEW:
            return replace(image, review=Review.HELD, held_for=HeldFor.SAFETY)
        return image

    def _is_doubtful(self, image: StoredImage) -> bool:
        """Return whether a stored image has scores from which images are held, and no reviewer has approved it."""
        band = self._safety.thresholds.judge(image.scores).band
        return band in {Band.REVIEW, Band.BLOCK} and image.review is not Review.APPROVED


@reading_inputs()
def checks_for(safety: Safety, lease: Lease, gallery: Gallery, images: Images) -> Checks | None:
    """Return the checks of an attempt, or None where there are none: its policy asks for none, or it is a batch, whose
    rows are checked each by itself, and whose contact sheet shows nothing else. Raises InputUnreadable.
    """
    if lease.job.rows is not None or (policy := safety.policy_of(lease.job.key)) is Policy.OFF:
        return None
    return Checks(safety, policy, gallery, [images.get(image_id) for image_id in lease.job.inputs])


def _nothing_left(count: int) -> str:
    what = "the image" if count == 1 else f"all {count} images"
    return (
        f"The server's safety classifier blocked {what}. Say it otherwise, or try another seed; what is blocked is "
        "decided by the server's operator."
    )


def _warnings(bands: Sequence[Band]) -> list[str]:
    blocked = [str(number) for number, band in enumerate(bands, start=1) if band is Band.BLOCK]
    unchecked = bands.count(Band.UNAVAILABLE)
    warnings = []
    if blocked:
        warnings.append(
            f"{len(blocked)} of {len(bands)} images (number {', '.join(blocked)}) were blocked by the server's safety "
            "classifier and are gone."
        )
    if unchecked:
        warnings.append(
            f"The server's safety classifier did not answer, so {unchecked} of {len(bands)} images are not checked."
        )
    return warnings
