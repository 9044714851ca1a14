"""The files that one attempt at a job stores: encoded pictures with their metadata and thumbnails, comparisons where
they were made from an image, and previews on the way. Their rows are written by `JobStore.finish`.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image

from qwen_image_studio import __version__
from qwen_image_studio.contract.references import written
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import OutputFormat, Way
from qwen_image_studio.credentials import Credentials, Ingredient, Statement, composed, made
from qwen_image_studio.gallery.clear import lost
from qwen_image_studio.gallery.gallery import Gallery
from qwen_image_studio.gallery.judging import Judgement, judge
from qwen_image_studio.gallery.names import attempt_image_id, attempt_keys, preview_key
from qwen_image_studio.imaging import Origin, encode, thumbnail
from qwen_image_studio.imaging.comparing import comparison
from qwen_image_studio.imaging.label import Label
from qwen_image_studio.imaging.pixels import digest, on_white
from qwen_image_studio.jobs import Lease, StoredImage
from qwen_image_studio.planning.engine import Painted
from qwen_image_studio.planning.plan import AdjustPlan, PaintPlan, Plan, pictures_of

COMPARISON_QUALITY = 85


class Attempt:
    """The files of one attempt; each attempt uses names of its own, so that none overwrites another's."""

    def __init__(
        self,
        gallery: Gallery,
        lease: Lease,
        label: Label = Label(),  # noqa: B008 - it is frozen
        credentials: Credentials | None = None,
    ) -> None:
        """`label` says how painted pictures are labelled, and `credentials` sign all pictures; None: nothing does."""
        self._gallery, self._lease, self._label, self._credentials = gallery, lease, label, credentials
        self.stored: list[StoredImage] = []
        """The pictures stored so far, as `JobStore.finish` takes them."""
        self.warnings: list[str] = []

    def store(
        self,
        painted: Painted,
        plan: Plan,
        inputs: Sequence[Image.Image] = (),
        before: Origin = {},  # noqa: B006 - not changed
        sources: Sequence[Ingredient] = (),
    ) -> None:
        """Encode one picture and store it durably, together with a comparison where it was made from an image as a
        whole.

        `inputs` are the job's images, and `before` is the metadata of the first of them on how it was made. The
        picture's bytes depend on the plan and its own seed alone; those of an adjusted picture on the input and
        `before`. Content credentials, which go into the file last, name the files that the inputs come from as its
        `sources`. Raises StudioError as `FileStore.put` does, and ``signing_failed``.
        """
        number, image, files = len(self.stored), painted.image, self._gallery.files
        keys = attempt_keys(self._lease, self._lease.token, number, plan.output_format.value)
        layer = plan.layer_of(number)
        made_from = self._gallery.noted(origin_of(plan, painted.seed, before, layer))
        shown = self._label.on(image) if isinstance(plan, PaintPlan) else image
        plain = self._encoded(shown, plan.output_format, made_from, plan.output_quality)
        data = self._signed(plain, plan.output_format, statement_on(plan, made_from, sources))
        files.put(keys.picture, data, plan.output_format.mime_type)
        files.put(keys.thumbnail, thumbnail(shown), "image/webp")
        judgement, is_compared = Judgement(), bool(inputs) and layer is None
        if is_compared:
            strip = _comparison(plan, inputs, shown)
            data_of_strip = self._encoded(strip, OutputFormat.WEBP, made_from, COMPARISON_QUALITY)
            said = composed([Ingredient(data, plan.output_format.mime_type)], by_ai="model" in made_from)
            files.put(keys.comparison, self._signed(data_of_strip, OutputFormat.WEBP, said), "image/webp")
            judgement = _judged(plan, inputs, image)  # the mark is no change of the edit's
        self._warn(judgement.warning, lost(plan, inputs, image))
        self.stored.append(
            StoredImage(
                id=attempt_image_id(self._lease, self._lease.token, number),
                owner=self._lease.job.owner,
                job_id=self._lease.job.id,
                number=number,
                layer=layer,
                key=keys.picture,
                thumbnail_key=keys.thumbnail,
                width=image.width,
                height=image.height,
                mime_type=plan.output_format.mime_type,
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                seed=painted.seed,
                change_inside=judgement.inside,
                change_outside=judgement.outside,
                comparison_key=keys.comparison if is_compared else None,
                pixels=_pixels(shown, plan.output_format),
                unsigned_sha256=None if self._credentials is None else hashlib.sha256(plain).hexdigest(),
            )
        )

    def show(self, preview: Image.Image) -> str:
        """Store a preview of the unfinished picture in place of the preview before it, and return its key."""
        key = preview_key(self._lease, self._lease.token)
        self._gallery.files.put(key, thumbnail(self._label.on(preview)), "image/webp")
        return key

    def _encoded(self, image: Image.Image, output_format: OutputFormat, made_from: Origin, quality: int) -> bytes:
        by_ai, producer = "model" in made_from, self._label.producer
        return encode(image, output_format, made_from, by_ai=by_ai, quality=quality, producer=producer)

    def _signed(self, data: bytes, output_format: OutputFormat, statement: Statement) -> bytes:
        """Return the file with its content credentials, where there are any."""
        if self._credentials is None:
            return data
        signed = self._credentials.signed(data, output_format.mime_type, statement)
        self._warn(signed.warning)
        return signed.data

    def _warn(self, *told: str | None) -> None:
        self.warnings += [each for each in told if each and each not in self.warnings]

    def clear(self) -> None:
        """Delete everything that the attempt may have stored."""
        clear_attempts(self._gallery, self._lease, [self._lease.token])


def clear_attempts(gallery: Gallery, lease: Lease, tokens: Iterable[int]) -> None:
    """Delete everything that the attempts with these tokens at the leased job may have stored."""
    count, extension = pictures_of(lease.job.plan), str(lease.job.plan.get("output_format"))
    for token in tokens:
        gallery.clear(preview_key(lease, token))
        for number in range(count):
            gallery.clear(*attempt_keys(lease, token, number, extension))


def _pixels(image: Image.Image, output_format: OutputFormat) -> str | None:
    """Return what tells the pixels that a file gives back; None where its format changes them."""
    if output_format is not OutputFormat.PNG:
        return None
    return digest(image if image.mode == "RGBA" else image.convert("RGB"))


# -- metadata and comparison ---------------------------------------------------------------------------------------


def origin_of(
    plan: Plan,
    seed: int | None,
    before: Origin = {},  # noqa: B006 - not changed
    layer: int | None = None,
) -> dict[str, str | int | float]:
    """Return how an image was made, for its metadata: enough to paint it again, and nothing about who asked or where;
    of a layer also which of them it is.

    An adjusted image, which has no seed, keeps the metadata that its input had `before`, and gets its adjustments
    added.
    """
    software = f"Qwen-Image Studio {__version__}"
    if seed is None:
        adjustments = plan.adjustments if isinstance(plan, AdjustPlan) else ()
        done = [one.model_dump(mode="json", exclude_none=True) for one in adjustments]
        earlier = _earlier_adjustments(before)
        lasting = {name: value for name, value in before.items() if name not in {"width", "height"}}
        return {**lasting, "adjustments": json.dumps(earlier + done, ensure_ascii=False), "software": software}
    named = {"prompt", "negative_prompt", "model", "tier", "steps", "guidance_scale", "width", "height"}
    own = plan.model_dump(mode="json", include=named)
    return {**own, **_of_painting(plan, layer), "seed": seed, "software": software}


def _of_painting(plan: Plan, layer: int | None) -> dict[str, str | int]:
    """Return facts that few paintings have."""
    if not isinstance(plan, PaintPlan):
        return {}
    facts: dict[str, str | int] = {
        "loras": ", ".join(map(str, plan.loras)),
        "roles": written(plan.roles),
        "layers": plan.layers,
        "background": "" if plan.background is Background.AUTO else plan.background.value,
    }
    told = {name: fact for name, fact in facts.items() if fact}
    return told if layer is None else {**told, "layer": layer}


def statement_on(plan: Plan, made_from: Origin, sources: Sequence[Ingredient]) -> Statement:
    """Return what a picture's content credentials say of it."""
    paints = isinstance(plan, PaintPlan)
    return made(made_from, sources, paints=paints, has_mask=isinstance(plan, PaintPlan) and plan.mask)


def _earlier_adjustments(before: Origin) -> list[Any]:
    try:
        done = json.loads(str(before.get("adjustments", "[]")))
    except ValueError:
        return []
    return done if isinstance(done, list) else []


def _comparison(plan: Plan, inputs: Sequence[Image.Image], image: Image.Image) -> Image.Image:
    return comparison(inputs[0], image, plan.place if isinstance(plan, PaintPlan) else None)


def _judged(plan: Plan, inputs: Sequence[Image.Image], image: Image.Image) -> Judgement:
    if not isinstance(plan, PaintPlan):  # adjustments are exact, and the light worker is to stay small
        return Judgement()
    seen, is_edit = [on_white(each) for each in inputs], plan.way is Way.EDIT
    return judge(seen, on_white(image), place=plan.place, has_mask=plan.mask, is_edit=is_edit)
