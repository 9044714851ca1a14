"""The engine for notebooks and scripts, without a server."""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

from PIL import Image, ImageOps

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Operation, Precision, Prefer
from qwen_image_studio.loading.memory import plan_for
from qwen_image_studio.loading.preparing import preparation_for
from qwen_image_studio.loading.weights import DTYPES
from qwen_image_studio.local.loras import lora_of
from qwen_image_studio.local.studio import LocalStudio
from qwen_image_studio.models.licences import accepted, offered_tiers
from qwen_image_studio.models.loras import offered
from qwen_image_studio.models.served import offering
from qwen_image_studio.models.table import MODELS, find_model, not_offered
from qwen_image_studio.operations.layers import LAYERS
from qwen_image_studio.operations.request import validated
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.engine import Report, silent
from qwen_image_studio.recipe import MASK, Upload, image_params
from qwen_image_studio.settings import Settings

_PNG_MODES = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})
Pictures = Image.Image | list[Image.Image]
"""One picture, or a list of them where more than one was asked for."""


class Apart(NamedTuple):
    """A picture that was taken apart."""

    layers: list[Image.Image]
    """Pictures in RGBA that lie one on the other, the backmost first."""
    recomposed: Image.Image
    """What they make together."""


class Steering(TypedDict, total=False):
    """Options of all that a model does."""

    negative_prompt: str | None
    num_inference_steps: int | None
    guidance_scale: float | None
    seed: int | None
    tier: Literal["quality", "balanced", "turbo", "draft"]
    """How fast, and how good; what each is, says ``studio.model.tiers``."""
    loras: str | Sequence[str | Mapping[str, Any]]
    """LoRAs by name, each with its scale or without: ``"ink:0.8"``, or ``[{"name": "ink", "scale": 0.8}]``."""


class Drawing(Steering, total=False):
    """Options of every way of painting."""

    template: str
    """Instead of a prompt, the id of an instruction template; the operator's own count, too (STUDIO_TEMPLATES)."""
    slots: Mapping[str, str]
    """What stands in the template's slots."""
    language: Literal["en", "zh"]
    num_images: int

    background: Literal["auto", "opaque", "transparent"]
    """What lies behind what is painted: nothing where it is transparent, with a model that can."""


class Options(Drawing, total=False):
    """Options of the ways of painting that let the caller choose the size."""

    height: int | None
    width: int | None


class QwenImageGenerator:
    """Qwen-Image for notebooks and scripts: the server's own recipe and engine, without the server.

    ::

        studio = QwenImageGenerator("Qwen-Image")  # or "Qwen-Image-Edit-2509", "miniature", ...
        red = studio.generate(prompt="a red apple", height=1024, width=1024, seed=7)
        red.info["seed"], red.info["warnings"]
        blue = studio.edit(red, prompt="make it blue")  # with a model that edits
        cat = studio.inpaint(red, region=(0.3, 0.3, 0.4, 0.4), prompt="put a cat there")
        wide = studio.outpaint(red, aspect_ratio="16:9")
        apart = studio.layers(red, layers=3)  # with a model that does so: apart.layers, and apart.recomposed
        four = studio.generate(prompt="a red apple", num_images=4)  # a list

    The pictures are PIL images; the ``info`` of each has prompt, seed, model, tier, warnings and compute_saved.
    """

    def __init__(
        self,
        model_name: str = "Qwen-Image",
        device: str = "auto",
        precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto",
        model_path: str | PathLike[str] | None = None,
        loras: Mapping[str, str | PathLike[str]] | None = None,
    ) -> None:
        """Choose a model of the table by name, alias or repository id; `model_path` is a folder that holds its files.
        `loras` are safetensors files by the names to ask for them, besides those that STUDIO_LORAS offers.

        A precision in which the model paints wrongly is replaced, with a Python warning. Nothing is loaded before the
        first picture. Raises StudioError ``unknown_model``, also for one whose licence STUDIO_LICENCES does not
        accept, or ``invalid_value`` for a device or a file that does not exist.
        """
        row = find_model(model_name, MODELS)
        settings = Settings()
        if not accepted(row.licence_id, settings):
            raise StudioError("unknown_model", not_offered(row), param="model_name")
        row = replace(row, tiers=offered_tiers(row.tiers, settings))
        if model_path is not None:
            row = replace(row, repository=str(model_path))
        self.device = _device(device)
        chosen, why = row.precision(None if precision == "auto" else Precision(precision))
        if why is not None:
            warnings.warn(why, stacklevel=2)
        row = offering({row.name: row}, offered(settings.loras))[row.name]
        own = {name: lora_of(Path(path), name) for name, path in (loras or {}).items()}
        self.model = replace(row, precisions=(chosen,), loras={**row.loras, **own})
        models = {row.name: self.model}
        # A precision that the caller names is used as it is, also where a better one would be as fast.
        dtypes = None if precision == "auto" else DTYPES
        memory = plan_for(models, self.device, settings) if precision == "auto" else None
        ready = preparation_for(settings, self.device)
        engine = QwenEngine(models, self.device, dtypes, preparation=ready, memory=memory)
        self._studio = LocalStudio(settings, models, self.device, engine)

    def generate(
        self,
        image: Image.Image | None = None,
        *,
        prompt: str = "",
        strength: float | None = None,
        callback: Report = silent,
        **options: Unpack[Options],
    ) -> Pictures:
        """Paint the prompt, and return a picture, or a list where `num_images` is above 1.

        What is left out is up to the model. With an image, painting starts from it; `strength`, above 0 to 1, says how
        far to go from the image. A `template` with its `slots` may stand in place of the prompt. `callback(phase, step,
        steps)` is called as the work goes on, and may raise to stop it. Raises StudioError.
        """
        asked = {**_contract(options), "prompt": prompt, "strength": strength}
        return self._paint(callback, [] if image is None else [image], operation=Operation.GENERATE, **asked)

    def edit(
        self,
        image: Image.Image | Sequence[Image.Image],
        *,
        prompt: str = "",
        roles: str | Sequence[str] = (),
        callback: Report = silent,
        **options: Unpack[Options],
    ) -> Pictures:
        """Change one image, or compose several, as many as the model takes, as the prompt says; for all else see
        :meth:`generate`. `roles` are what each image is, as a list or as a text such as ``"subject, control:edges"``.
        """
        asked = {**_contract(options), "prompt": prompt, "prefer": Prefer.MODEL, "roles": roles}
        return self._paint(callback, _listed(image), operation=Operation.EDIT, **asked)

    def inpaint(
        self,
        image: Image.Image | Sequence[Image.Image],
        *,
        prompt: str = "",
        mask: Image.Image | None = None,
        region: tuple[float, float, float, float] | None = None,
        roles: str | Sequence[str] = (),
        strength: float = 1.0,
        feather: int | None = None,
        prompt_kind: Literal["instruction", "description"] | None = None,
        callback: Report = silent,
        **options: Unpack[Drawing],
    ) -> Pictures:
        """Change what is white in the mask, or what is within the region, and no pixel outside; see also :meth:`edit`.

        The region is x, y, width and height in pixels, or in fractions of the image where all are at most 1. `feather`
        is the width of the soft edge in pixels, inwards.
        """
        images = _listed(image)
        box = None if region is None else dict(zip(("x", "y", "width", "height"), region, strict=True))
        asked = {
            **_contract(options),
            "prompt": prompt,
            "strength": strength,
            "feather": feather,
            "prompt_kind": prompt_kind,
            "region": box,
            "roles": roles,
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
    ) -> Pictures:
        """Continue an image by pixels on each side, or to a shape such as "16:9", or to a width and height.

        `anchor` says where the image is placed in that shape or size; see also :meth:`edit`.
        """
        sides = {"left": left, "right": right, "top": top, "bottom": bottom}
        shape = {"aspect_ratio": aspect_ratio, "anchor": anchor}
        how = {"strength": strength, "prompt_kind": prompt_kind}
        asked = {**_contract(options), **sides, **shape, **how, "prompt": prompt}
        return self._paint(callback, [image], operation=Operation.OUTPAINT, **asked)

    def layers(
        self,
        image: Image.Image,
        *,
        layers: int = LAYERS,
        resolution: Literal[640, 1024] | None = None,
        prompt: str = "",
        callback: Report = silent,
        **options: Unpack[Steering],
    ) -> Apart:
        """Take an image apart into layers with transparency, 2 to 8 of them, with a model that does so.

        `resolution` is the side of a square with the area at which that is done, and `prompt` what the image shows; the
        layers have the image's size.
        """
        asked = {**_contract(options), "layers": layers, "resolution": resolution, "prompt": prompt}
        made = self._paint(callback, [image], operation=Operation.LAYERS, **asked)
        *apart, recomposed = _listed(made)
        return Apart(apart, recomposed)

    def _paint(
        self, callback: Report, images: Sequence[Image.Image], mask: Image.Image | None = None, **asked: Any
    ) -> Pictures:
        uploads = [Upload(name, _file(image)) for name, image in zip(image_params(len(images)), images, strict=True)]
        uploads += [] if mask is None else [Upload(MASK, _file(mask))]
        prepared = self._studio.prepare(validated(asked, where="call"), uploads)
        pictures = []
        for painted in self._studio.paint(prepared, callback):
            painted.image.info |= {
                "prompt": dict(prepared.plan).get("prompt", ""),
                "seed": painted.seed,
                "model": self.model.name,
                "tier": prepared.plan.variant.tier.value if prepared.plan.variant else None,
                "warnings": [*prepared.warnings, *painted.warnings],
                "compute_saved": painted.compute_saved,
            }
            pictures.append(painted.image)
        return pictures if len(pictures) > 1 else pictures[0]


def one(pictures: Pictures) -> Image.Image:
    """Return the picture where one was asked for, for callers whose types are checked. Raises TypeError for a list."""
    if isinstance(pictures, list):
        raise TypeError(f"there are {len(pictures)} pictures")
    return pictures


def _file(image: Image.Image) -> bytes:
    """Return the image as a PNG file, such as a server would be sent."""
    image = ImageOps.exif_transpose(image)
    file = io.BytesIO()
    plain = image if image.mode in _PNG_MODES else image.convert("RGB")
    plain.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _listed(image: Image.Image | Sequence[Image.Image]) -> Sequence[Image.Image]:
    return [image] if isinstance(image, Image.Image) else image


def _contract(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options under the contract's names, without those that are None."""
    contract_names = {"num_inference_steps": "steps", "num_images": "n"}
    return {contract_names.get(name, name): value for name, value in options.items() if value is not None}


def _device(name: str) -> str:
    """Return the device to paint on. Raises StudioError where it does not exist."""
    import torch

    available = ["cpu", *(["mps"] if torch.backends.mps.is_available() else [])]
    available += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if name == "auto":
        return "cuda:0" if "cuda:0" in available else available[-1]
    asked = "cuda:0" if name == "cuda" else name
    if asked not in available:
        raise StudioError(
            "invalid_value",
            f"device: there is no '{name}' that this torch can use; there is {', '.join(available)}. Leave it out to "
            "have the best one, or see qwen-image-studio doctor.",
            param="device",
        )
    return asked
