"""Weights: the parts of models on one device, loaded, shared and dropped."""

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError
from transformers.utils.logging import disable_progress_bar

from qwen_image_studio.contract.errors import DeviceLost, StudioError
from qwen_image_studio.contract.words import Precision
from qwen_image_studio.loading.fp8 import to_fp8
from qwen_image_studio.loading.memory import TILED_PIXELS, MemoryPlan, device_bytes, quantised_bytes, working_bytes
from qwen_image_studio.loading.modulation import settle
from qwen_image_studio.loading.placing import come, is_streamed, leave, stop_streaming, stream, without_head
from qwen_image_studio.loading.preparing import UNCOMPILED, Preparation, prepare, spare
from qwen_image_studio.loading.single_files import read_transformer
from qwen_image_studio.loading.text_encoder import name_image_tokens
from qwen_image_studio.models.architectures import GIB
from qwen_image_studio.models.folders import TRANSFORMER, WEIGHED, find_folder, inspect, unavailable
from qwen_image_studio.models.footprints import Place, Stored, shared_bytes
from qwen_image_studio.models.table import Model

LOG = logging.getLogger(__name__)
WORKING_ROOM = 1.05  # memory for painting, as a multiple of that for the weights, at the least
SHARED = frozenset({"text_encoder", "vae", "tokenizer", "processor"})
"""Names of the parts that models with the same `shares` have in common, but for those with a VAE of their own."""
DTYPES: Mapping[Precision, torch.dtype] = {
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
    Precision.FP32: torch.float32,
    Precision.FP8: torch.bfloat16,
}
"""Number format of torch for each precision, of all that is not narrower."""
CPU_DTYPES: Mapping[Precision, torch.dtype] = dict.fromkeys(Precision, torch.float32)
"""Number formats on a CPU: float32 for all, since shorter ones are no faster there."""


@dataclass(frozen=True)
class _Form:
    """How a model's parts are held."""

    dtype: torch.dtype
    """Number format of all that is not narrower."""
    stored: Stored | None = None
    """How the memory plan stores the transformer; None where there is no plan, and it lies on the device as it is."""


class Weights:
    """The parts loaded on one device; text encoders and VAEs are loaded once for all models that share them."""

    def __init__(
        self,
        device: str,
        dtypes: Mapping[Precision, torch.dtype] | None = None,
        preparation: Preparation = UNCOMPILED,
        plan: MemoryPlan | None = None,
    ) -> None:
        """Hold nothing yet; `dtypes` are the number formats by precision, by default its own, on a CPU float32;
        `preparation` is how transformers are made ready. Without a `plan`, all lies on the device as it is.
        """
        disable_progress_bar()  # bars that redraw themselves would fill the log
        self.device = device
        self._dtypes = dtypes or (CPU_DTYPES if device == "cpu" else DTYPES)
        self._preparation, self._plan = preparation, plan
        self._shared: dict[tuple[str, torch.dtype], dict[str, Any]] = {}
        self._own: dict[tuple[str, _Form], dict[str, Any]] = {}
        """What no other model has, by the model's name: that which was used last comes last."""
        self._away: dict[tuple[str, _Form], list[torch.Tensor]] = {}
        """Weights of those that wait in the machine's memory for their turn."""

    def holds(self, model: Model, precision: Precision) -> bool:
        """Return whether every part of the model is loaded in that precision."""
        form = self._form(precision)
        return (model.name, form) not in self._away and set(model.part_names) <= self._held(model, form).keys()

    def parts(self, model: Model, precision: Precision) -> dict[str, Any]:
        """Return every part of the model in that precision, after loading those that are missing.

        Raises StudioError ``model_unavailable`` or ``out_of_memory``.
        """
        form = self._form(precision)
        key = model.name, form
        if missing := [name for name in model.part_names if name not in self._held(model, form)]:
            self._load_missing(model, form, missing)
        self._own[key] = self._own.pop(key, {})
        if key in self._away:
            self._bring_back(model, form)
        return self._held(model, form)

    def keep_only(self, model: Model, precision: Precision) -> bool:
        """Take all but the parts of the model in that precision off the device, and what it keeps for later; return
        whether there was anything else.
        """
        return self._clear_others(model, self._form(precision))

    def stream(self, model: Model, precision: Precision) -> bool:
        """Have the model's weights pass through the device block by block until they are to `settle`; return whether
        that spares memory.
        """
        parts = self._held(model, self._form(precision))
        keep = self._plan is not None and self._plan.waiting
        whole = [name for name in (TRANSFORMER, "text_encoder") if not is_streamed(parts[name])]
        spare(parts[TRANSFORMER])
        for name in whole:
            stream(parts[name], self.device, blocks=name == TRANSFORMER, keep=keep)
        self.empty_cache()
        return bool(whole)

    def settle(self, model: Model, precision: Precision) -> None:
        """Bring a model that was made to `stream` back to where the plan has it; what finds no room there is dropped,
        and read again when it is needed.
        """
        form = self._form(precision)
        for name, part in [*self._held(model, form).items()]:
            if not is_streamed(part) or self._streams(name, form):
                continue
            stop_streaming(part)
            try:
                self._settle(part, name, model, form)
            except torch.OutOfMemoryError:
                shared = self._shared[_sharing(model), form.dtype] if _is_shared(model, name) else None
                shelf = self._own[model.name, form] if shared is None else shared
                del shelf[name]
        self.empty_cache()

    def empty_cache(self) -> None:
        """Give memory that nothing refers to any more back to the device."""
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _form(self, precision: Precision) -> _Form:
        if self._plan is None:
            return _Form(self._dtypes[precision])
        stored = self._plan.stored(precision)
        return _Form(self._dtypes[stored.precision], stored)

    def _held(self, model: Model, form: _Form) -> dict[str, Any]:
        shared = self._shared.get((_sharing(model), form.dtype), {})
        common = {name: part for name, part in shared.items() if _is_shared(model, name)}
        return {**common, **self._own.get((model.name, form), {})}

    def _load_missing(self, model: Model, form: _Form, missing: Sequence[str]) -> None:
        classes = part_classes(model)
        if self._plan is None:
            self._check_could_fit(model, form.dtype)
        folder = find_folder(model, missing)
        numbers = inspect(folder, model, {name: classes[name].__name__ for name in missing})
        self._make_room(model, form, self._needed(model, form, missing, numbers))
        for name in missing:
            part = self._load(folder, model, name, classes[name], form)
            if _is_shared(model, name):
                self._shared.setdefault((_sharing(model), form.dtype), {})[name] = part
            else:
                self._own.setdefault((model.name, form), {})[name] = part

    def _needed(self, model: Model, form: _Form, missing: Sequence[str], numbers: int) -> int:
        """Return the memory of the device that missing parts with so many `numbers` take, in bytes."""
        if self._plan is None or form.stored is None:
            return numbers * form.dtype.itemsize
        own = device_bytes(model, form.stored) if TRANSFORMER in missing else 0
        return own + (shared_bytes(model.network, self._plan.encoder) if "text_encoder" in missing else 0)

    def _check_could_fit(self, model: Model, dtype: torch.dtype) -> None:
        """Raise StudioError ``out_of_memory`` for a model that not even an empty device holds, before it is fetched."""
        needed = _bytes_of(model, dtype)
        if needed > (there := memory_of(self.device)[1]):
            raise self._too_small(model, needed, f"{there / GIB:.1f} GiB in all")

    def _make_room(self, model: Model, form: _Form, needed: int) -> None:
        """Take other models off the device, those used longest ago first, where it cannot hold them beside `needed`
        bytes more of this one.
        """
        # Other models stay only where there is also room to paint; a model alone may use all memory there is.
        work = working_bytes({model.name: model}, self._plan.tile_pixels if self._plan else TILED_PIXELS)
        needed = int(needed * WORKING_ROOM)
        for key in [key for key in self._own if key != (model.name, form) and key not in self._away]:
            if memory_of(self.device)[0] >= needed + work:
                return
            self._clear(key)
        if memory_of(self.device)[0] >= needed + work:
            return
        self._clear_others(model, form)
        if (free := memory_of(self.device)[0]) < needed:
            raise self._too_small(model, needed, f"{free / GIB:.1f} GiB free")

    def _bring_back(self, model: Model, form: _Form) -> None:
        """Bring a model from the machine's memory to the device; without room for all of it, it goes on waiting."""
        key = model.name, form
        self._make_room(model, form, needed := sum(tensor.nbytes for tensor in self._away[key]))
        try:
            come(self._away[key], self.device)
        except torch.OutOfMemoryError as error:
            leave(self._own[key][TRANSFORMER])
            raise self._too_small(model, needed, "less than that free") from error
        del self._away[key]

    def _clear(self, key: tuple[str, _Form]) -> None:
        """Take a model off the device: it waits in the machine's memory where the plan has room for it there."""
        transformer = self._own[key].get(TRANSFORMER)  # none where only a smaller part could be loaded
        if transformer is not None and self._plan is not None and self._plan.waiting:
            spare(transformer)
            self._away[key] = leave(transformer)
        else:
            del self._own[key]
        self.empty_cache()

    def _clear_others(self, model: Model, form: _Form) -> bool:
        """Take all other parts off the device; return whether there were any."""
        others = [key for key in self._own if key != (model.name, form) and key not in self._away]
        for key in others:
            self._clear(key)
        kept = _sharing(model), form.dtype
        strangers = [key for key in self._shared if key != kept]
        for stranger in strangers:
            del self._shared[stranger]
        self.empty_cache()
        return bool(others or strangers)

    def _too_small(self, model: Model, needed: int, there: str) -> StudioError:
        return StudioError(
            "out_of_memory",
            f"{model.name} needs {needed / GIB:.1f} GiB on {self.device}, which has {there}. Stop what else uses the "
            "device, or give the server a larger device or a smaller model.",
            param="model",
        )

    def _load(self, folder: Path, model: Model, name: str, kind: Any, form: _Form) -> Any:
        try:
            part = self._placed(folder, model, name, kind, form)
        except torch.OutOfMemoryError:
            failure = self._too_small(model, _bytes_of(model, form.dtype), "less than that free")
        except torch.AcceleratorError as error:  # CUDA answers every later call with the same error
            raise DeviceLost(f"{self.device}: {error}") from error
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

    def _placed(self, folder: Path, model: Model, name: str, kind: Any, form: _Form) -> Any:
        """Return a part, loaded to where the plan has it."""
        read = partial(_read, folder, model, name, kind, form.dtype)
        if name == TRANSFORMER:
            part = self._transformer(read, model, form)
            prepare(part, form.dtype, self._preparation)
            return part
        if name == "text_encoder" and self._plan is not None:
            return self._encoder(read, self._plan)
        return read(self.device)

    def _transformer(self, read: Callable[[str], Any], model: Model, form: _Form) -> Any:
        plan, stored = self._plan, form.stored
        if plan is None or stored is None or stored == Stored(stored.precision) or quantised_bytes(model):
            return read(self.device)
        # The files' pages are the memory that it takes of the machine, until each tensor goes to the device.
        part = read("cpu")
        if stored.precision is Precision.FP8:
            to_fp8(part, device=self.device)
        if self._streams(TRANSFORMER, form):
            stream(part, self.device, blocks=True, keep=plan.waiting)
        else:
            self._settle(part, TRANSFORMER, model, form)
        return part

    def _encoder(self, read: Callable[[str], Any], plan: MemoryPlan) -> Any:
        if plan.encoder is Place.CARD:
            return without_head(read(self.device))
        part = without_head(read("cpu"))
        if plan.encoder is Place.STREAMED:
            stream(part, self.device, blocks=False, keep=plan.waiting)
            return part
        to_fp8(part, lambda *_: True, self.device, rounds=False)
        return part.to(self.device)

    def _streams(self, name: str, form: _Form) -> bool:
        """Return whether the plan has a part's weights pass through the device."""
        place = form.stored.place if name == TRANSFORMER and form.stored else self._plan and self._plan.encoder
        return place is Place.STREAMED

    def _settle(self, part: Any, name: str, model: Model, form: _Form) -> None:
        """Move a part from the machine's memory to the device, all but the modulation that the plan has in tables."""
        tables = form.stored is not None and form.stored.tables and model.network.transformer.tabled
        if name == TRANSFORMER and tables and not quantised_bytes(model):
            settle(part, self.device, pin=self._plan is not None and self._plan.waiting)
        else:
            part.to(self.device)


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


def _is_shared(model: Model, name: str) -> bool:
    return name in SHARED and not (model.own_vae and name == "vae")


def _read(folder: Path, model: Model, name: str, kind: Any, dtype: torch.dtype, device: str) -> Any:
    if name == TRANSFORMER and model.file:
        return read_transformer(model, folder, kind, dtype, device)
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
