"""The engine for notebooks and scripts, without the server.

::

    from qwen_image_studio.local.generator import QwenImageGenerator

    studio = QwenImageGenerator("Qwen-Image")
    picture = studio.generate(prompt="一只红苹果, studio light", height=1024, width=1024, seed=7)[0]
    picture.save("apple.png")
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, Literal, TypedDict, Unpack

import torch
from PIL import Image
from pydantic import ValidationError

from qwen_image_studio.contract.errors import from_validation
from qwen_image_studio.contract.words import Operation, Prefer
from qwen_image_studio.imaging.masks import Mask, mask_from, region_mask
from qwen_image_studio.models.table import MODELS, find_model
from qwen_image_studio.operations.counting import check_images
from qwen_image_studio.operations.plan import plan as make_plan
from qwen_image_studio.operations.requests import JOB_REQUEST, AdjustRequest, BatchRequest, InpaintRequest, Request
from qwen_image_studio.painting.inputs import upright
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.engine import Report, silent


class Drawing(TypedDict, total=False):
    """What every way of painting takes."""

    negative_prompt: str | None
    num_inference_steps: int | None
    guidance_scale: float | None
    seed: int | None
    num_images: int


class Options(Drawing, total=False):
    """What the ways of painting take that make images of any size."""

    height: int | None
    width: int | None


class QwenImageGenerator:
    """Qwen-Image for notebooks and scripts: the server's own engine, without the server.

    ::

        studio = QwenImageGenerator("Qwen-Image")  # or "Qwen-Image-Edit-2509", "miniature", …
        red = studio.generate(prompt="a red apple", height=1024, width=1024, seed=7)[0]
        red.info["seed"], red.info["warnings"]
        blue = studio.edit(red, prompt="make it blue")[0]  # with a model that edits
        cat = studio.inpaint(red, region=(0.3, 0.3, 0.4, 0.4), prompt="put a cat there")[0]
        wide = studio.outpaint(red, aspect_ratio="16:9")[0]

    The pictures are PIL images; ``info`` of each tells prompt, seed, model, warnings and compute_saved.
    """

    def __init__(
        self,
        model_name: str = "Qwen-Image",
        device: str = "auto",
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        model_path: str | PathLike[str] | None = None,
    ) -> None:
        """Choose a model of the table by name or repository id; `model_path` is a folder that holds its files.

        Nothing is loaded before the first picture. Raises StudioError ``unknown_model``.
        """
        row = find_model(model_name, MODELS)
        if model_path is not None:
            row = replace(row, repository=str(model_path))
        self.model = row
        self._models = {row.name: row}
        dtype = {"auto": None, "bf16": torch.bfloat16, "fp32": torch.float32}[precision]
        self._engine = QwenEngine(self._models, _best_device() if device == "auto" else device, dtype)

    def generate(
        self,
        image: Image.Image | None = None,
        *,
        prompt: str,
        strength: float | None = None,
        callback: Report = silent,
        **options: Unpack[Options],
    ) -> list[Image.Image]:
        """Paint `num_images` pictures of the prompt, with the model's own settings for what is left out.

        With an image, in its likeness; `strength`, above 0 to 1, says how far to go from it. `callback(phase, step,
        steps)` follows the work and may raise to stop it. Raises StudioError.
        """
        asked = {**_contract(options), "prompt": prompt, "strength": strength}
        return self._paint(callback, [] if image is None else [image], operation=Operation.GENERATE, **asked)

    def edit(
        self,
        image: Image.Image | Sequence[Image.Image],
        *,
        prompt: str,
        callback: Report = silent,
        **options: Unpack[Options],
    ) -> list[Image.Image]:
        """Change one image, or up to three together, as the prompt says; otherwise as :meth:`generate`."""
        asked = {**_contract(options), "prompt": prompt, "prefer": Prefer.MODEL}
        return self._paint(callback, _listed(image), operation=Operation.EDIT, **asked)

    def inpaint(
        self,
        image: Image.Image | Sequence[Image.Image],
        *,
        prompt: str,
        mask: Image.Image | None = None,
        region: tuple[float, float, float, float] | None = None,
        strength: float = 1.0,
        prompt_kind: Literal["instruction", "description"] | None = None,
        callback: Report = silent,
        **options: Unpack[Drawing],
    ) -> list[Image.Image]:
        """Change what is white in the mask, or the region (x, y, width, height in pixels, or in fractions where all are
        at most 1), and no pixel beyond it; otherwise as :meth:`edit`.
        """
        images = _listed(image)
        box = None if region is None else dict(zip(("x", "y", "width", "height"), region, strict=True))
        asked = {
            **_contract(options),
            "prompt": prompt,
            "strength": strength,
            "prompt_kind": prompt_kind,
            "region": box,
        }
        return self._paint(callback, images, mask, operation=Operation.INPAINT, **asked)

    def outpaint(
        self,
        image: Image.Image,
        *,
        prompt: str = "",
        left: int = 0,
        right: int = 0,
        top: int = 0,
        bottom: int = 0,
        aspect_ratio: str | None = None,
        anchor: Literal["center", "left", "right", "top", "bottom"] = "center",
        strength: float | None = None,
        prompt_kind: Literal["instruction", "description"] | None = None,
        callback: Report = silent,
        **options: Unpack[Options],
    ) -> list[Image.Image]:
        """Continue an image by so many pixels on each side, or to a shape such as "16:9", or to width and height.

        `anchor` says where it stands in that shape or size; otherwise as :meth:`edit`.
        """
        sides = {"left": left, "right": right, "top": top, "bottom": bottom}
        shape = {"aspect_ratio": aspect_ratio, "anchor": anchor}
        how = {"strength": strength, "prompt_kind": prompt_kind}
        asked = {**_contract(options), **sides, **shape, **how, "prompt": prompt}
        return self._paint(callback, [image], operation=Operation.OUTPAINT, **asked)

    def _paint(
        self, callback: Report, images: Sequence[Image.Image], drawn: Image.Image | None = None, **asked: Any
    ) -> list[Image.Image]:
        sources = [upright(image) for image in images]
        try:
            request = JOB_REQUEST.validate_python(asked)
        except ValidationError as error:
            raise from_validation(error, where="call") from error
        assert not isinstance(request, AdjustRequest | BatchRequest)  # noqa: S101 - no method asks for these
        check_images(request, len(sources), masks=drawn is not None)
        mask = _mask(request, drawn, sources)
        plan, warnings = make_plan(request, self._models, [image.size for image in sources], mask)
        pictures = []
        inputs = sources if mask is None else [*sources, mask.image]
        for painted in self._engine.paint(plan, inputs, callback):
            painted.image.info |= {
                "prompt": plan.prompt,
                "seed": painted.seed,
                "model": plan.model,
                "warnings": [*warnings, *painted.warnings],
                "compute_saved": painted.compute_saved,
            }
            pictures.append(painted.image)
        return pictures


def _mask(request: Request, drawn: Image.Image | None, sources: Sequence[Image.Image]) -> Mask | None:
    if not isinstance(request, InpaintRequest):
        return None
    size = sources[0].size
    if request.region is not None:
        return region_mask(request.region, size)
    assert drawn is not None  # noqa: S101 - checked before
    return mask_from(drawn, size)


def _listed(image: Image.Image | Sequence[Image.Image]) -> Sequence[Image.Image]:
    return [image] if isinstance(image, Image.Image) else image


def _contract(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options by the contract's names."""
    theirs = {"num_inference_steps": "steps", "num_images": "n"}
    return {theirs.get(name, name): value for name, value in options.items() if value is not None}


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"
