"""Weights: the parts of models on one device, loaded, shared and dropped."""

import gc
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError
from transformers.utils.logging import disable_progress_bar

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Precision
from qwen_image_studio.models.folders import WEIGHED, find_folder, inspect, unavailable
from qwen_image_studio.models.table import Model

LOG = logging.getLogger(__name__)
GIB = 2**30
WORKING_ROOM = 1.05  # memory for painting, as a multiple of that for the weights, at the least
SHARED = frozenset({"text_encoder", "vae", "tokenizer", "processor"})
"""Names of the parts that models with the same `shares` have in common."""
DTYPES: Mapping[Precision, torch.dtype] = {
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
    Precision.FP32: torch.float32,
}
"""Number format of torch for each precision."""
CPU_DTYPES: Mapping[Precision, torch.dtype] = dict.fromkeys(Precision, torch.float32)
"""Number formats on a CPU: float32 for all, since shorter ones are no faster there."""

_Key = tuple[str, torch.dtype]
"""Name of the model, or of what models share, and number format of the parts."""


class Weights:
    """The parts loaded on one device; text encoders and VAEs are loaded once for all models that share them."""

    def __init__(self, device: str, dtypes: Mapping[Precision, torch.dtype] | None = None) -> None:
        """Hold nothing yet; `dtypes` are the number formats by precision, by default its own, on a CPU float32."""
        disable_progress_bar()  # bars that redraw themselves would fill the log
        self.device = device
        self._dtypes = dtypes or (CPU_DTYPES if device == "cpu" else DTYPES)
        self._shared: dict[_Key, dict[str, Any]] = {}
        self._own: dict[_Key, dict[str, Any]] = {}

    def holds(self, model: Model, precision: Precision) -> bool:
        """Return whether every part of the model is loaded in that precision."""
        return part_classes(model).keys() <= self._held(model, self._dtypes[precision]).keys()

    def parts(self, model: Model, precision: Precision) -> dict[str, Any]:
        """Return every part of the model in that precision, after loading those that are missing.

        Raises StudioError ``model_unavailable`` or ``out_of_memory``.
        """
        dtype = self._dtypes[precision]
        classes = part_classes(model)
        if missing := [name for name in classes if name not in self._held(model, dtype)]:
            self._check_could_fit(model, dtype)
            folder = find_folder(model, missing)
            numbers = inspect(folder, model, {name: classes[name].__name__ for name in missing})
            self._make_room(model, dtype, numbers)
            for name in missing:
                shelf, whose = (self._shared, _sharing(model)) if name in SHARED else (self._own, model.name)
                shelf.setdefault((whose, dtype), {})[name] = self._load(folder, model, name, classes[name], dtype)
        return self._held(model, dtype)

    def keep_only(self, model: Model, precision: Precision) -> None:
        """Drop all but the parts of the model in that precision, and what the device keeps for later."""
        self._drop_others(model, self._dtypes[precision])

    def empty_cache(self) -> None:
        """Give memory that nothing refers to any more back to the device."""
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _held(self, model: Model, dtype: torch.dtype) -> dict[str, Any]:
        return {**self._shared.get((_sharing(model), dtype), {}), **self._own.get((model.name, dtype), {})}

    def _check_could_fit(self, model: Model, dtype: torch.dtype) -> None:
        """Raise StudioError ``out_of_memory`` for a model that not even an empty device holds, before it is fetched."""
        needed = _bytes_of(model, dtype)
        if needed > (there := memory_of(self.device)[1]):
            raise self._too_small(model, needed, f"{there / GIB:.1f} GiB in all")

    def _make_room(self, model: Model, dtype: torch.dtype, numbers: int) -> None:
        """Drop other models where the device cannot hold them beside `numbers` new weights of this one."""
        needed = int(numbers * dtype.itemsize * WORKING_ROOM)
        # Other models stay only where there is also room to paint; a model alone may use all memory there is.
        if memory_of(self.device)[0] >= needed + int(model.working_gib * GIB):
            return
        self._drop_others(model, dtype)
        if (free := memory_of(self.device)[0]) < needed:
            raise self._too_small(model, needed, f"{free / GIB:.1f} GiB free")

    def _drop_others(self, model: Model, dtype: torch.dtype) -> None:
        self._own = {key: parts for key, parts in self._own.items() if key == (model.name, dtype)}
        self._shared = {key: parts for key, parts in self._shared.items() if key == (_sharing(model), dtype)}
        self.empty_cache()

    def _too_small(self, model: Model, needed: int, there: str) -> StudioError:
        return StudioError(
            "out_of_memory",
            f"{model.name} needs {needed / GIB:.1f} GiB on {self.device}, which has {there}. Stop what else uses the "
            "device, or give the server a larger device or a smaller model.",
            param="model",
        )

    def _load(self, folder: Path, model: Model, name: str, kind: Any, dtype: torch.dtype) -> Any:
        try:
            part = _read(folder, name, kind, dtype, self.device)
        except torch.OutOfMemoryError:
            failure = self._too_small(model, _bytes_of(model, dtype), "less than that free")
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError):
            LOG.exception("cannot load %s from %s", name, folder)
            failure = unavailable(model, f"{name}/ cannot be read; fetch it again")
        else:
            if name == "text_encoder":
                part.register_forward_pre_hook(name_image_tokens, with_kwargs=True)
            return part
        # The half-loaded part can be freed only here, since inside the except clause the traceback refers to it.
        self.empty_cache()
        raise failure


def name_image_tokens(
    encoder: Any, args: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Tell the text encoder which tokens are pictures, where the pipeline has dropped that.

    diffusers 0.42's edit pipelines pass on only some of the processor's outputs; without ``mm_token_type_ids``
    transformers 5 silently gives pictures the positions of plain text (huggingface/diffusers issue 14194).
    """
    if named.get("pixel_values") is not None and named.get("mm_token_type_ids") is None:
        named["mm_token_type_ids"] = (named["input_ids"] == encoder.config.image_token_id).to(torch.int32)
    return args, named


def memory_of(device: str) -> tuple[int, int]:
    """Return the free and the total memory of the device in bytes."""
    if device.startswith("cuda"):
        try:
            torch.cuda.empty_cache()
            free, total = torch.cuda.mem_get_info(device)
        except (AssertionError, RuntimeError) as error:  # torch without CUDA, or a driver that does not fit
            message = f"{device} cannot be used by this torch or this driver; qwen-image-studio doctor says more."
            raise StudioError("model_unavailable", message) from error
        return int(free), int(total)
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def part_classes(model: Model) -> dict[str, Any]:
    """Return the class of each part of the model by the part's name, those of all its families together."""
    return {name: kind for way in model.families for name, kind in model.family(way).parts().items()}


def _bytes_of(model: Model, dtype: torch.dtype) -> int:
    return int(model.memory_gib * GIB) * dtype.itemsize // torch.bfloat16.itemsize


def _sharing(model: Model) -> str:
    return model.shares or model.name


def _read(folder: Path, name: str, kind: Any, dtype: torch.dtype, device: str) -> Any:
    if name not in WEIGHED:
        return kind.from_pretrained(folder, subfolder=name, local_files_only=True)
    # Tensors go straight from the file to the device: a 20B transformer is never in memory twice.
    return kind.from_pretrained(
        folder,
        subfolder=name,
        dtype=dtype,
        device_map={"": device},
        low_cpu_mem_usage=True,
        use_safetensors=True,
        local_files_only=True,
    ).eval()
