"""Weights: load, share and drop the parts of models on one device."""

import gc
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
    FlowMatchEulerDiscreteScheduler,
    QwenImage21Transformer2DModel,
    QwenImageTransformer2DModel,
)
from safetensors import SafetensorError
from transformers import (
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLProcessor,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.utils.logging import disable_progress_bar

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.models.folders import WEIGHED, find_folder, inspect, unavailable
from qwen_image_studio.models.table import Family, Model

LOG = logging.getLogger(__name__)
GIB = 2**30
WORKING_ROOM = 1.05  # painting takes this much of the weights' memory, at the least
SHARED = frozenset({"text_encoder", "vae", "tokenizer", "processor"})
"""Parts that models with the same `shares` have in common."""


class _WithoutVideo:
    """transformers insists on a video processor, which needs torchvision; no pipeline here ever shows it a video."""

    def check_argument_for_proper_class(self, name: str, argument: object) -> type:
        """Accept None in the video processor's place."""
        return type(argument)


class _Qwen2Processor(_WithoutVideo, Qwen2VLProcessor):  # type: ignore[misc]
    """Text and pictures for Qwen2.5-VL."""


class _Qwen3Processor(_WithoutVideo, Qwen3VLProcessor):  # type: ignore[misc]
    """Text and pictures for Qwen3-VL."""


_QWEN_IMAGE: Mapping[str, Any] = {
    "scheduler": FlowMatchEulerDiscreteScheduler,
    "vae": AutoencoderKLQwenImage,
    "text_encoder": Qwen2_5_VLForConditionalGeneration,
    "tokenizer": Qwen2Tokenizer,
    "transformer": QwenImageTransformer2DModel,
}
PARTS: Mapping[Family, Mapping[str, Any]] = {
    Family.QWEN_IMAGE: _QWEN_IMAGE,
    Family.QWEN_IMAGE_EDIT_PLUS: {**_QWEN_IMAGE, "processor": _Qwen2Processor},
    Family.QWEN_IMAGE_21: {
        "scheduler": FlowMatchEulerDiscreteScheduler,
        "vae": AutoencoderKLQwenImage21,
        "text_encoder": Qwen3VLForConditionalGeneration,
        "processor": _Qwen3Processor,
        "transformer": QwenImage21Transformer2DModel,
    },
}
"""Class of each part of a family's pipeline."""


class Weights:
    """The parts that are loaded on one device; text encoders and VAEs once for all models that share them."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        disable_progress_bar()  # a log is no place for bars that redraw themselves
        self.device = device
        self.dtype = dtype
        self._shared: dict[str, dict[str, Any]] = {}
        self._own: dict[str, dict[str, Any]] = {}

    def holds(self, model: Model) -> bool:
        """Whether every part of the model is loaded."""
        return _classes(model).keys() <= self._held(model).keys()

    def parts(self, model: Model) -> dict[str, Any]:
        """Every part of the model, after loading those that are missing.

        Raises StudioError ``model_unavailable`` or ``out_of_memory``.
        """
        classes = _classes(model)
        if missing := [name for name in classes if name not in self._held(model)]:
            self._check_could_fit(model)
            folder = find_folder(model, missing)
            self._make_room(model, inspect(folder, model, {name: classes[name].__name__ for name in missing}))
            for name in missing:
                shelf = self._shared if name in SHARED else self._own
                word = _sharing(model) if name in SHARED else model.name
                shelf.setdefault(word, {})[name] = self._load(folder, model, name, classes[name])
        return self._held(model)

    def empty_cache(self) -> None:
        """Give memory that nothing refers to any more back to the device."""
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _held(self, model: Model) -> dict[str, Any]:
        return {**self._shared.get(_sharing(model), {}), **self._own.get(model.name, {})}

    def _check_could_fit(self, model: Model) -> None:
        """Before gigabytes are fetched: could the device, with nothing else on it, hold the model?"""
        needed = int(model.memory_gib * GIB) * self.dtype.itemsize // 2
        if needed > (there := memory_of(self.device)[1]):
            raise self._too_small(model, needed, f"{there / GIB:.1f} GiB in all")

    def _make_room(self, model: Model, numbers: int) -> None:
        """Drop other models where the device cannot hold them beside so many new numbers of this one."""
        needed = int(numbers * self.dtype.itemsize * WORKING_ROOM)
        # Beside another model only where there is room to paint as well; a model alone is given what there is.
        if memory_of(self.device)[0] >= needed + int(model.working_gib * GIB):
            return
        self._own = {name: parts for name, parts in self._own.items() if name == model.name}
        self._shared = {word: parts for word, parts in self._shared.items() if word == _sharing(model)}
        self.empty_cache()
        if (free := memory_of(self.device)[0]) < needed:
            raise self._too_small(model, needed, f"{free / GIB:.1f} GiB free")

    def _too_small(self, model: Model, needed: int, there: str) -> StudioError:
        return StudioError(
            "out_of_memory",
            f"{model.name} needs {needed / GIB:.1f} GiB on {self.device}, which has {there}. Stop what else uses the "
            "device, or give the server a larger device or a smaller model.",
            param="model",
        )

    def _load(self, folder: Path, model: Model, name: str, kind: Any) -> Any:
        try:
            part = _read(folder, name, kind, self.dtype, self.device)
        except torch.OutOfMemoryError:
            failure = self._too_small(model, int(model.memory_gib * GIB), "less than that free")
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError):
            LOG.exception("cannot load %s from %s", name, folder)
            failure = unavailable(model, f"{name}/ cannot be read; fetch it again")
        else:
            if name == "text_encoder":
                part.register_forward_pre_hook(name_image_tokens, with_kwargs=True)
            return part
        # Only here, outside the except clause, is the half-loaded part free to go.
        self.empty_cache()
        raise failure


def name_image_tokens(
    encoder: Any, args: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Tell the text encoder which tokens are pictures, where the pipeline lost it.

    diffusers 0.42's edit pipelines pass on only some of the processor's outputs; without ``mm_token_type_ids``
    transformers 5 silently gives pictures the positions of plain text (huggingface/diffusers issue 14194).
    """
    if named.get("pixel_values") is not None and named.get("mm_token_type_ids") is None:
        named["mm_token_type_ids"] = (named["input_ids"] == encoder.config.image_token_id).to(torch.int32)
    return args, named


def memory_of(device: str) -> tuple[int, int]:
    """Free and total memory of the device in bytes."""
    if device.startswith("cuda"):
        try:
            torch.cuda.empty_cache()
            free, total = torch.cuda.mem_get_info(device)
        except (AssertionError, RuntimeError) as error:  # a torch for processors only, a driver that does not fit
            message = f"{device} cannot be used by this torch or this driver; qwen-image-studio doctor says more."
            raise StudioError("model_unavailable", message) from error
        return int(free), int(total)
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def _classes(model: Model) -> dict[str, Any]:
    return {name: kind for family in model.families.values() for name, kind in PARTS[family].items()}


def _sharing(model: Model) -> str:
    return model.shares or model.name


def _read(folder: Path, name: str, kind: Any, dtype: torch.dtype, device: str) -> Any:
    if name == "processor":
        return _read_processor(folder, kind)
    if name not in WEIGHED:
        return kind.from_pretrained(folder, subfolder=name, local_files_only=True)
    # Tensors go straight from the file to the device: a 20B transformer never stands in memory twice.
    return kind.from_pretrained(
        folder,
        subfolder=name,
        dtype=dtype,
        device_map={"": device},
        low_cpu_mem_usage=True,
        use_safetensors=True,
        local_files_only=True,
    ).eval()


def _read_processor(folder: Path, kind: Any) -> Any:
    """A processor over Pillow, put together from its files: the same with and without torchvision."""
    own = folder / "processor"
    tokens = own if (own / "tokenizer_config.json").is_file() else folder / "tokenizer"
    tokenizer = Qwen2Tokenizer.from_pretrained(tokens, local_files_only=True)
    images = Qwen2VLImageProcessorPil.from_pretrained(own, local_files_only=True)
    settings, _ = kind.get_processor_dict(own, local_files_only=True)
    return kind(images, tokenizer, None, chat_template=settings.get("chat_template") or tokenizer.chat_template)
