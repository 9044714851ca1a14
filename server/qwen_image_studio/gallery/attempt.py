"""What one attempt has painted, on its way into the storage: encoded, with its thumbnail and what made it, and where it
was made from an image, with how much of that was changed.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image, ImageOps

from qwen_image_studio import __version__
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import LIGHT, Operation, OutputFormat
from qwen_image_studio.gallery.storage import Storage
from qwen_image_studio.imaging import Facts, encode, thumbnail
from qwen_image_studio.imaging.comparing import Change, comparison, measure_change, shared_outlines
from qwen_image_studio.imaging.masks import MAX_ASPECT_GAP
from qwen_image_studio.jobs import Lease, StoredImage
from qwen_image_studio.planning.engine import Painted
from qwen_image_studio.planning.plan import Plan

_log = logging.getLogger(__name__)

COMPARISON_QUALITY = 85
# Measured with the miniature. A picture that only went through its autoencoder differs by a mean of 0.04 to 0.08, and
# its strongest thousandth by 0.25 to 0.36; with 0.2% of the area recoloured besides, by 0.95. The smallest true edits
# of the miniature (golden, smaller) have means from 0.11 and strongest differences from 0.75.
NOTHING_MEAN = 0.1
NOTHING_STRONGEST = 0.4
# Pictures of other things on other grounds differ by a mean of 0.88 to 0.97 and share outlines from -0.1 to 0.36, the
# two most alike 0.42. Edits of the background share 0.63 and more; greys, sepia, night, posters and oil on photographs
# 0.88 and more, drawn lines 0.32 and more. Where an object shrinks few are shared, and the mean is below 0.4.
TOO_MUCH_MEAN = 0.5
TOO_MUCH_OUTLINES = 0.3
_NOTHING = (
    "The edit changed almost nothing; say what is there now and what should become of it, such as 'replace the apple "
    "with a pear', or try another seed."
)
_NOTHING_INSIDE = (
    "Almost nothing changed where the image may change; see that the mask or region covers what you mean, and say what "
    "should be there, or try another seed."
)
_TOO_MUCH = (
    "Nearly everything in the image changed; if that was not meant, say in the instruction what should stay as it is, "
    "or mark what may change with a mask or region (inpaint)."
)


class Pictures:
    """The pictures of one attempt."""

    def __init__(
        self, storage: Storage, lease: Lease, plan: Plan, inputs: Sequence[Image.Image], before: Facts
    ) -> None:
        """`inputs` are the job's images, and `before` is what the first of them says of how it was made."""
        self._storage, self._lease, self._plan = storage, lease, plan
        self._inputs, self._before = inputs, before
        self.stored: list[StoredImage] = []
        self.warnings: list[str] = []

    def keep(self, painted: Painted) -> None:
        """Encode one picture and store it durably, and beside it a comparison with the image that it was made from.

        Its bytes depend on the plan and its own seed alone, and where it was adjusted, on the input and what that says
        of how it was made.
        """
        lease, plan, number = self._lease, self._plan, len(self.stored)
        made_from = facts(plan, painted.seed, self._before)
        quality = plan.output_quality
        by_ai = "model" in made_from
        data = encode(painted.image, plan.output_format, made_from, by_ai=by_ai, quality=quality)
        key, thumbnail_key, comparison_key = _keys(lease, lease.token, number, plan.output_format.value)
        self._storage.put(key, data, plan.output_format.mime_type)
        self._storage.put(thumbnail_key, thumbnail(painted.image), "image/webp")
        inside = outside = None
        if self._inputs:
            strip = comparison(self._inputs[0], painted.image, plan.place)
            file = encode(strip, OutputFormat.WEBP, made_from, by_ai=by_ai, quality=COMPARISON_QUALITY)
            self._storage.put(comparison_key, file, OutputFormat.WEBP.mime_type)
            inside, outside = self._changed(painted.image)
        self.stored.append(
            StoredImage(
                id=_image_id(lease, lease.token, number),
                owner=lease.job.owner,
                job_id=lease.job.id,
                number=number,
                key=key,
                thumbnail_key=thumbnail_key,
                width=painted.image.width,
                height=painted.image.height,
                mime_type=plan.output_format.mime_type,
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                seed=painted.seed,
                change_inside=inside,
                change_outside=outside,
                comparison_key=comparison_key if self._inputs else None,
            )
        )

    def _changed(self, image: Image.Image) -> tuple[float | None, float | None]:
        """How much of the first input changed inside and outside the area that was to change; warns of what is odd."""
        plan, before = self._plan, self._inputs[0]
        if plan.model == LIGHT:  # it does what it is told, and its worker stays small without the measure
            return None, None
        if plan.place is not None:
            return None, measure_change(before, image.crop(plan.place)).inside
        if plan.mask:
            change = measure_change(before, image, self._inputs[-1].convert("L"))
        elif plan.operation is Operation.GENERATE:
            change = measure_change(ImageOps.fit(before, image.size, Image.Resampling.LANCZOS), image)
        elif abs(before.width * image.height / (before.height * image.width) - 1) > MAX_ASPECT_GAP:
            return None, None
        else:
            before = before.resize(image.size, Image.Resampling.LANCZOS)
            change = measure_change(before, image)
            self._warn_of_too_much(change, before, image)
        self._warn_of_nothing(change)
        return change.inside, change.outside

    def _warn_of_nothing(self, change: Change) -> None:
        if self._plan.operation is Operation.GENERATE or change.inside is None:
            return
        if change.inside < NOTHING_MEAN and change.strongest < NOTHING_STRONGEST:
            self._warn(_NOTHING_INSIDE if self._plan.mask else _NOTHING)

    def _warn_of_too_much(self, change: Change, before: Image.Image, image: Image.Image) -> None:
        # Of several images a new picture is composed, in which the first one need not be found again.
        if len(self._inputs) == 1 and change.inside is not None and change.inside > TOO_MUCH_MEAN:
            if shared_outlines(before, image) < TOO_MUCH_OUTLINES:
                self._warn(_TOO_MUCH)

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


def forget_pictures(storage: Storage, lease: Lease, tokens: Iterable[int]) -> None:
    """Delete what attempts that did not succeed have stored."""
    count, extension = len(lease.job.plan.get("seeds", ())), str(lease.job.plan.get("output_format"))
    for token in tokens:
        delete(storage, preview_key(lease, token))
        for number in range(count):
            delete(storage, *_keys(lease, token, number, extension))


def facts(plan: Plan, seed: int | None, before: Facts = {}) -> dict[str, str | int | float]:  # noqa: B006 - not changed
    """What made an image, for its metadata: enough to paint it again, nothing of who asked or where.

    Of an adjusted image it says what was done, after what had made it `before`.
    """
    software = f"Qwen-Image Studio {__version__}"
    if seed is None:
        done = [one.model_dump(mode="json", exclude_none=True) for one in plan.adjustments]
        earlier = _earlier_adjustments(before)
        lasting = {name: value for name, value in before.items() if name not in {"width", "height"}}
        return {**lasting, "adjustments": json.dumps(earlier + done, ensure_ascii=False), "software": software}
    kept = {"prompt", "negative_prompt", "model", "tier", "steps", "guidance_scale", "width", "height"}
    return {**plan.model_dump(mode="json", include=kept), "seed": seed, "software": software}


def _earlier_adjustments(before: Facts) -> list[Any]:
    try:
        done = json.loads(str(before.get("adjustments", "[]")))
    except ValueError:
        return []
    return done if isinstance(done, list) else []


def _image_id(lease: Lease, token: int, number: int) -> str:
    """Each attempt has its own, so that none disturbs another."""
    return f"img_{hashlib.sha256(f'{lease.job.id}/{token}/{number}'.encode()).hexdigest()[:24]}"


def _keys(lease: Lease, token: int, number: int, extension: str) -> tuple[str, str, str]:
    """Of a picture, its thumbnail and its comparison: a link to any of them tells whose it is."""
    beginning = f"{stem(lease, token)}-{_image_id(lease, token, number)}"
    return f"{beginning}.{extension}", f"{beginning}.thumbnail.webp", f"{beginning}.comparison.webp"


def delete(storage: Storage, *keys: str) -> None:
    """Clear away; that it fails must not change how a job ends."""
    for key in keys:
        try:
            storage.delete(key)
        except StudioError as error:
            _log.warning("%s stays behind: %s", key, error)


def stem(lease: Lease, token: int) -> str:
    """Beginning of the keys of an attempt's files: each attempt has its own, so that none disturbs another."""
    return f"{time.strftime('%Y/%m/%d', time.gmtime(lease.job.created_at))}/{lease.job.id}-{token}"


def preview_key(lease: Lease, token: int) -> str:
    return f"{stem(lease, token)}.preview.webp"
