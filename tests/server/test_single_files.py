"""A transformer in a file of its own: GGUF, and safetensors as ComfyUI lays them, beside the folder of the rest."""

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from diffusers import QwenImage21Transformer2DModel, QwenImageTransformer2DModel
from safetensors.torch import load_file, save_file

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Precision
from qwen_image_studio.loading.single_files import read_transformer
from qwen_image_studio.loading.weights import Weights
from qwen_image_studio.models.folders import TRANSFORMER, find_folder, inspect, patterns_of, whole_place
from qwen_image_studio.models.revision import revision_of
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.models.verifying import cut_off
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.settings import Settings
from tests.support.plans import painted

pytestmark = pytest.mark.usefixtures("one_thread")
OWN = "diffusion_pytorch_model.safetensors"
Tensors = Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def tensors(miniature: Model) -> Tensors:
    """The tensors of the miniature's transformer."""
    return load_file(Path(miniature.repository) / TRANSFORMER / OWN)


@pytest.fixture(scope="module")
def rest(miniature: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature's folder without the weights of its transformer."""
    folder = tmp_path_factory.mktemp("rest") / "weights"
    shutil.copytree(miniature.repository, folder)
    (folder / TRANSFORMER / OWN).unlink()
    return folder


def lying_at(file: Path, folder: Path) -> Model:
    """The miniature as an operator names it whose transformer is in a file."""
    (model,) = configured_models(Settings(models=(f"miniature={file}:{folder}",)), card_gib=0).values()
    return model


def picture(model: Model) -> list[str]:
    """What tells one picture of the model from another."""
    return painted(QwenEngine({model.name: model}, "cpu"), steps=2)


def as_gguf(path: Path, tensors: Tensors, kind: gguf.GGMLQuantizationType, prefix: str = "") -> Path:
    """Write a GGUF file as the tools around ComfyUI do: matrices quantised, vectors in float32."""
    writer = gguf.GGUFWriter(path, arch="qwen_image")
    for name, tensor in tensors.items():
        own = kind if tensor.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(prefix + name, gguf.quants.quantize(tensor.float().numpy(), own), raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def scaled(tensors: Tensors, spelled: str) -> dict[str, torch.Tensor]:
    """The tensors as ComfyUI scales them: matrices in fp8, each with its scale, and a mark."""
    laid: dict[str, torch.Tensor] = {"scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            laid[name] = tensor
            continue
        scale = tensor.float().abs().max() / 448
        laid[name] = (tensor.float() / scale).to(torch.float8_e4m3fn)
        laid[f"{name.removesuffix('weight')}{spelled}"] = scale
        laid[f"{name.removesuffix('weight')}scale_input"] = torch.ones(())
    return laid


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_file_that_loses_nothing_paints_the_folders_picture(
    tmp_path: Path, miniature: Model, tensors: Tensors, rest: Path, prefix: str
) -> None:
    file = tmp_path / "whole.safetensors"
    save_file({prefix + name: tensor for name, tensor in tensors.items()}, file)
    model = lying_at(file, rest)
    assert picture(model) == picture(miniature)


def read(model: Model, rest: Path) -> Any:
    """The transformer as it is read from the model's file."""
    return read_transformer(model, rest, QwenImageTransformer2DModel, torch.float32, "cpu")


@pytest.fixture(scope="module")
def own(miniature: Model) -> torch.Tensor:
    """What the miniature's transformer answers, from the folder."""
    folder = Path(miniature.repository)
    return answer(QwenImageTransformer2DModel.from_pretrained(folder, subfolder=TRANSFORMER, dtype=torch.float32))


def answer(transformer: Any) -> torch.Tensor:
    """What a transformer answers to noise, a text of noise, and the middle of a schedule."""
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        answered: torch.Tensor = transformer(
            hidden_states=torch.randn(1, 64, 64, generator=random),
            encoder_hidden_states=torch.randn(1, 9, 192, generator=random),
            timestep=torch.tensor([0.5]),
            img_shapes=[[(1, 8, 8)]],
            return_dict=False,
        )[0]
    return answered


WAYS: dict[str, tuple[Callable[[Path, Tensors], Path], float, float]] = {
    "fp8 with scale_weight": (lambda path, all: saved(path, scaled(all, "scale_weight")), 0.01, 0.08),
    "fp8 with weight_scale": (lambda path, all: saved(path, scaled(all, "weight_scale")), 0.01, 0.08),
    "fp8 as it is": (lambda path, all: saved(path, {n: t.to(torch.float8_e4m3fn) for n, t in all.items()}), 0.01, 0.1),
    "bf16": (lambda path, all: saved(path, {n: t.bfloat16() for n, t in all.items()}), 0.0, 0.0),
    "Q8_0": (lambda path, all: as_gguf(path, all, gguf.GGMLQuantizationType.Q8_0), 0.001, 0.02),
    "Q4_0": (lambda path, all: as_gguf(path, all, gguf.GGMLQuantizationType.Q4_0, "model.diffusion_model."), 0.02, 0.3),
}


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """Write a safetensors file."""
    save_file(tensors, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


@pytest.mark.parametrize(("write", "least", "most"), WAYS.values(), ids=WAYS)
def test_a_shorter_format_is_as_near_as_it_can_be(
    tmp_path: Path, tensors: Tensors, rest: Path, own: torch.Tensor,
    write: Callable[[Path, Tensors], Path], least: float, most: float,
) -> None:  # fmt: skip
    answered = answer(read(lying_at(write(tmp_path / "short.gguf", tensors), rest), rest))
    assert least <= float((answered - own).norm() / own.norm()) <= most


def test_a_gguf_file_paints(tmp_path: Path, tensors: Tensors, rest: Path) -> None:
    model = lying_at(as_gguf(tmp_path / "q8.gguf", tensors, gguf.GGMLQuantizationType.Q8_0), rest)
    first = picture(model)
    assert first == picture(model)
    weight = read(model, rest).transformer_blocks[0].attn.to_q.weight
    assert weight.dtype == torch.uint8, "its weights stay as they are in memory"


# -- what does not fit -----------------------------------------------------------------------------------------------


def refused(model: Model) -> str:
    """What is said of a model that cannot be loaded."""
    with pytest.raises(StudioError) as caught:
        read(model, Path(model.repository))
    assert caught.value.code == "model_unavailable"
    return caught.value.message


def test_a_file_that_is_cut_off_or_of_another_kind_is_told(tmp_path: Path, tensors: Tensors, rest: Path) -> None:
    whole = as_gguf(tmp_path / "whole.gguf", tensors, gguf.GGMLQuantizationType.Q8_0).read_bytes()
    save_file(dict(tensors), tmp_path / "whole.safetensors")
    for name, data in {
        "cut.gguf": whole[: len(whole) // 2],
        "head.gguf": whole[:100],
        "text.gguf": b"no file of weights",
        "empty.gguf": b"",
        "cut.safetensors": (tmp_path / "whole.safetensors").read_bytes()[:-9],
        "text.safetensors": b"no file of weights",
        "empty.safetensors": b"",
        "swapped.safetensors": whole,
    }.items():
        (tmp_path / name).write_bytes(data)
        said = refused(lying_at(tmp_path / name, rest))
        assert said.endswith("fetch it again."), name
        assert str(tmp_path) not in said


def test_a_file_of_another_model_is_told(tmp_path: Path, tensors: Tensors, rest: Path) -> None:
    lora = {"transformer_blocks.0.attn.to_q.lora_A.weight": torch.zeros(4, 160)}
    narrow = {name: tensor[:, :32] if name == "img_in.weight" else tensor for name, tensor in tensors.items()}
    short = {name: tensor for name, tensor in tensors.items() if not name.startswith("transformer_blocks.5.")}
    for name, laid, said in (
        ("lora.safetensors", lora, "lora.safetensors is not this model's transformer, it lacks "),
        ("short.safetensors", short, "it lacks transformer_blocks.5."),
        ("narrow.safetensors", narrow, "img_in.weight is (160, 32) in it, not (160, 64); name a file made of this"),
    ):
        save_file({each: tensor.contiguous() for each, tensor in laid.items()}, tmp_path / name)
        assert said in refused(lying_at(tmp_path / name, rest))
    written = as_gguf(tmp_path / "short.gguf", short, gguf.GGMLQuantizationType.Q8_0)
    assert "it lacks transformer_blocks.5." in refused(lying_at(written, rest))
    with pytest.raises(StudioError, match=r"there is no file gone\.gguf; correct STUDIO_MODELS"):
        Weights("cpu").parts(lying_at(tmp_path / "gone.gguf", rest), Precision.BF16)


def test_a_head_that_cannot_be_read_is_told_of_the_file_that_has_it(tmp_path: Path, rest: Path) -> None:
    file = tmp_path / "deep.safetensors"
    for head in (b"[" * 100_000, b"x" * 100):
        file.write_bytes(len(head).to_bytes(8, "little") + head)
        with pytest.raises(StudioError, match=r"deep\.safetensors, or its config, is damaged; fetch it again"):
            Weights("cpu").parts(lying_at(file, rest), Precision.BF16)
        assert cut_off([file], tmp_path) == ("deep.safetensors",)


def test_a_file_that_is_not_there_is_told_before_anything_is_pulled() -> None:
    (model,) = configured_models(Settings(models=("Qwen-Image=/nowhere/gone.gguf",)), card_gib=80).values()
    with pytest.raises(StudioError, match=r"there is no file gone\.gguf; correct STUDIO_MODELS\.$"):
        find_folder(model, model.part_names)


def test_scales_by_block_are_refused(tmp_path: Path, tensors: Tensors, rest: Path) -> None:
    laid = scaled(tensors, "weight_scale")
    laid["img_in.weight_scale"] = torch.ones(160, 2)
    assert "fetch it again" in refused(lying_at(saved(tmp_path / "blocks", laid), rest))


def test_without_the_package_for_gguf_its_name_is_told(
    tmp_path: Path, tensors: Tensors, rest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = lying_at(as_gguf(tmp_path / "q8.gguf", tensors, gguf.GGMLQuantizationType.Q8_0), rest)
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert "pip install 'qwen-image-studio[gguf]'" in refused(model)


def test_another_file_is_another_revision(tmp_path: Path, tensors: Tensors, rest: Path) -> None:
    files = [saved(tmp_path / str(number), {"a": torch.full((2,), number)}) for number in (1, 2)]
    revisions = [revision_of(lying_at(file, rest)) for file in files]
    assert len({*revisions, None}) == 3
    files[0].unlink()
    assert whole_place(lying_at(files[0], rest)) is None


def test_of_the_repository_only_the_transformers_config_is_pulled() -> None:
    (model,) = configured_models(Settings(models=("Qwen-Image=/q8.gguf",)), card_gib=80).values()
    patterns = patterns_of(model, model.part_names)
    assert "transformer/config.json" in patterns
    assert "transformer/*" not in patterns
    assert "vae/*" in patterns


def test_a_fused_layer_of_the_newest_family_is_known(tmp_path: Path) -> None:
    torch.manual_seed(1)
    made = QwenImage21Transformer2DModel(
        num_layers=1, attention_head_dim=16, num_attention_heads=2, in_channels=16, out_channels=16,
        context_in_dim=24, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    made.save_pretrained(tmp_path / TRANSFORMER)
    own = made.state_dict()
    laid = {f"model.diffusion_model.{name}": tensor for name, tensor in own.items()}
    for name in [name for name in laid if name.endswith("img_mlp.gate_layer.weight")]:
        other = name.replace("gate_layer", "proj")
        laid[name.replace("gate_layer", "gate_up")] = torch.cat([laid.pop(name), laid.pop(other)])
    file = saved(tmp_path / "comfy", laid)
    model = replace(MODELS["Qwen-Image-2.1"], file=str(file), repository=str(tmp_path))
    found = read_transformer(model, tmp_path, QwenImage21Transformer2DModel, torch.float32, "cpu").state_dict()
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], own[name]) for name in own)


def test_a_folder_is_measured_with_the_file(miniature: Model, tmp_path: Path, tensors: Tensors, rest: Path) -> None:
    classes = {"transformer": "QwenImageTransformer2DModel", "vae": "AutoencoderKLQwenImage"}
    model = lying_at(saved(tmp_path / "whole", dict(tensors)), rest)
    assert inspect(rest, model, classes) == inspect(Path(miniature.repository), miniature, classes)
    small = as_gguf(tmp_path / "q4.gguf", tensors, gguf.GGMLQuantizationType.Q4_0)
    assert inspect(rest, lying_at(small, rest), classes) < inspect(rest, model, classes)
