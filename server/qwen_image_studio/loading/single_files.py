"""Transformers in a file of their own: GGUF, and safetensors as ComfyUI lays them, plain or with scaled fp8.

Of the model's folder only the transformer's config is read. The file is compared with it by names and shapes before a
tensor is loaded, so that a file of another model is told in a sentence and not by a picture of noise.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.models.folders import TRANSFORMER, file_of, unavailable
from qwen_image_studio.models.table import Model

LOG = logging.getLogger(__name__)
_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
"""What ComfyUI puts before the names of a transformer's tensors in a file that may hold other parts, too."""
_SCALES = ("scale_weight", "weight_scale")
"""Names of the tensor beside a ``weight`` by which it has to be multiplied."""
_NOT_WEIGHTS = (*_SCALES, "scale_input", "input_scale", "comfy_quant", "scaled_fp8")
_FUSED, _HALVES = "gate_up", ("gate_layer", "proj")
"""Two layers of Qwen-Image-2.1 that ComfyUI keeps as one, and their own names."""

_Shapes = Mapping[str, tuple[int, ...]]


def read_transformer(model: Model, folder: Path, kind: Any, dtype: torch.dtype, device: str) -> Any:
    """Return the transformer (of diffusers' class `kind`) from the model's file, with its config from the folder.

    Weights of a GGUF file stay as they are in memory and are widened to `dtype` at each use; others are in `dtype`.
    Raises StudioError ``model_unavailable``, or torch.OutOfMemoryError.
    """
    path = file_of(model)
    shapes, load, quantization = _gguf(model, dtype) if path.suffix.casefold() == ".gguf" else _safetensors(dtype)
    try:
        _compare(model, _expected(folder, kind), dict(_unfused(shapes(path))))
        loaded: Any = kind.from_single_file(
            load(path, device),
            config=str(folder),
            subfolder=TRANSFORMER,
            dtype=dtype,
            device=device,
            local_files_only=True,
            quantization_config=quantization,
        )
    except (StudioError, torch.OutOfMemoryError):
        raise
    except (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, SafetensorError) as error:
        LOG.warning("cannot read %s: %s", path, error)
        reason = f"{path.name} is damaged, cut off or of another kind; fetch it again"
        raise unavailable(model, reason, packaged=False) from error
    return loaded.eval()


_Load = Callable[[Path, str], dict[str, Any]]
_Way = tuple[Callable[[Path], Iterator[tuple[str, tuple[int, ...]]]], _Load, Any]
"""How the shapes of a file's tensors are read, how the tensors are loaded for a device, and diffusers' quantization."""


def _safetensors(dtype: torch.dtype) -> _Way:
    def shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                yield name, tuple(file.get_slice(name).get_shape())

    def load(path: Path, device: str) -> dict[str, Any]:
        with safe_open(path, framework="pt", device=device) as file:
            names = set(file.keys())
            return {_plain(name): _widened(file, name, names, dtype) for name in names if _is_weight(name)}

    return shapes, load, None


def _widened(file: Any, name: str, names: set[str], dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor in `dtype`, multiplied by its scale where it has one: one number, or one for each row."""
    tensor: torch.Tensor = file.get_tensor(name)
    scales = [found for each in _SCALES if (found := f"{name.removesuffix('weight')}{each}") in names]
    if not scales or not name.endswith(".weight"):
        return tensor.to(dtype)
    scale: torch.Tensor = file.get_tensor(scales[0]).float()
    if scale.numel() not in {1, len(tensor)}:
        raise ValueError(f"{scales[0]} has a scale for each of many blocks, which is not read")
    return tensor.float().mul_(scale.reshape(-1, *[1] * (tensor.ndim - 1))).to(dtype)


def _gguf(model: Model, dtype: torch.dtype) -> _Way:
    try:
        import gguf
    except ImportError as error:
        remedy = "reading a GGUF file needs the package gguf: pip install 'qwen-image-studio[gguf]'"
        raise unavailable(model, remedy) from error
    from diffusers import GGUFQuantizationConfig
    from diffusers.models.model_loading_utils import load_gguf_checkpoint

    def shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
        for tensor in gguf.GGUFReader(path).tensors:
            yield tensor.name, tuple(int(side) for side in reversed(tensor.shape))  # GGUF names the last side first

    def load(path: Path, device: str) -> dict[str, Any]:
        return {_plain(name): _whole_vector(tensor) for name, tensor in load_gguf_checkpoint(path).items()}

    return shapes, load, GGUFQuantizationConfig(compute_dtype=dtype)


def _whole_vector(tensor: Any) -> Any:
    """Return biases and norms as plain tensors, since only the weights of linear layers are widened at their use."""
    from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor

    is_vector = len(getattr(tensor, "quant_shape", tensor.shape)) == 1
    return dequantize_gguf_tensor(tensor) if is_vector and hasattr(tensor, "quant_type") else tensor


def _expected(folder: Path, kind: Any) -> _Shapes:
    """Return the shapes of the transformer's tensors by their names, without any memory for them."""
    with torch.device("meta"):
        empty = kind.from_config(kind.load_config(folder, subfolder=TRANSFORMER, local_files_only=True))
    return {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}


def _compare(model: Model, expected: _Shapes, found: _Shapes) -> None:
    """Raise StudioError ``model_unavailable`` for a file that lacks tensors, or has them in other shapes."""
    name = file_of(model).name
    if missing := [each for each in expected if each not in found]:
        reason = f"{name} is not this model's transformer, it lacks {missing[0]}; name a file made of this model"
        raise unavailable(model, reason, packaged=False)
    for each, shape in expected.items():
        if found[each] != shape:
            other = f"{each} is {found[each]} in it, not {shape}"
            reason = f"{name} is another model's transformer, {other}; name a file made of this model"
            raise unavailable(model, reason, packaged=False)


def _unfused(shapes: Iterator[tuple[str, tuple[int, ...]]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the names and shapes of weights as diffusers has them."""
    for name, shape in shapes:
        if not _is_weight(name):
            continue
        if f".{_FUSED}." in name:
            for half in _HALVES:
                yield _plain(name).replace(_FUSED, half), (shape[0] // 2, *shape[1:])
        else:
            yield _plain(name), shape


def _plain(name: str) -> str:
    """Return the name of a tensor without what ComfyUI puts before it."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _is_weight(name: str) -> bool:
    return name.rpartition(".")[2] not in _NOT_WEIGHTS
