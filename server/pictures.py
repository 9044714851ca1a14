"""What one attempt has painted, on its way into the storage: encoded, with its thumbnail and what made it."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image

from server import __version__
from server.engine import Painted, Plan
from server.imaging import Facts, encode, thumbnail
from server.jobs import Lease, StoredImage
from server.keeper import delete, preview_key, stem
from server.storage import Storage


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
        """Encode one picture and store it durably. Its bytes depend on the plan and its own seed alone, and where it
        was adjusted, on the input and what that says of how it was made.
        """
        lease, plan, number = self._lease, self._plan, len(self.stored)
        made_from = facts(plan, painted.seed, self._before)
        quality = plan.output_quality
        data = encode(painted.image, plan.output_format, made_from, by_ai="model" in made_from, quality=quality)
        key, thumbnail_key = _keys(lease, lease.token, number, plan.output_format.value)
        self._storage.put(key, data, plan.output_format.mime_type)
        self._storage.put(thumbnail_key, thumbnail(painted.image), "image/webp")
        self.stored.append(
            StoredImage(
                id=f"img_{hashlib.sha256(f'{lease.job.id}/{lease.token}/{number}'.encode()).hexdigest()[:24]}",
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
            )
        )


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


def _keys(lease: Lease, token: int, number: int, extension: str) -> tuple[str, str]:
    beginning = f"{stem(lease, token)}-{number:02d}"
    return f"{beginning}.{extension}", f"{beginning}.thumbnail.webp"
