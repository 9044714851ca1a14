"""LoRAs on the engine: what they paint, that they leave nothing behind, and what is said of files that do not fit."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.loras import LoraUse
from qwen_image_studio.contract.words import Precision, Tier
from qwen_image_studio.loading.adapters import Adapter, Adapters, active_loras
from qwen_image_studio.loading.fp8 import to_fp8
from qwen_image_studio.loading.placing import stream
from qwen_image_studio.models.lora_files import mark_of, place_of
from qwen_image_studio.models.table import Model
from qwen_image_studio.models.tiers import Recipe, TierLora
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.plan import Variant
from tests.support.hub import Hub
from tests.support.lora_files import Matrices, matrices, written
from tests.support.loras import a_lora
from tests.support.pictures import digest, picture
from tests.support.plans import a_plan, painted

pytestmark = pytest.mark.usefixtures("one_thread")
INK, PHOTO = LoraUse(name="ink"), LoraUse(name="photo", scale=0.5)
TURBO = LoraUse(name="turbo")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three LoRAs."""
    folder = tmp_path_factory.mktemp("loras")
    written(folder / "ink.safetensors", matrices(1))
    written(folder / "photo.safetensors", matrices(2, rank=2, layers=["attn.to_q", "img_mod.1"]))
    written(folder / "turbo.safetensors", matrices(3, layers=["attn.to_out.0"]))
    return folder


@pytest.fixture(scope="module")
def model(miniature: Model, files: Path) -> Model:
    """The miniature, with two LoRAs on offer and one of its tier turbo."""
    loras = {name: a_lora(name, file=str(files / f"{name}.safetensors")) for name in ("ink", "photo")}
    turbo = Recipe(2, 1.0, lora=TierLora(str(files), "turbo.safetensors", 0.5))
    return replace(miniature, loras=loras, tiers={**miniature.tiers, Tier.TURBO: turbo}, input_pixels=64 * 64)


@pytest.fixture(scope="module")
def own(model: Model) -> QwenEngine:
    """An engine with that model; tests leave it usable."""
    return QwenEngine({model.name: model}, "cpu")


@pytest.fixture(scope="module")
def plain(own: QwenEngine) -> list[str]:
    """What it paints without a LoRA, before it has seen one."""
    return painted(own)


def transformer_of(engine: QwenEngine) -> Any:
    return engine._weights.parts(engine._models["miniature"], Precision.FP32)["transformer"]


def seen(engine: QwenEngine, **changed: Any) -> np.ndarray[Any, Any]:
    """What it paints, as numbers."""
    [one] = engine.paint(a_plan(**changed), ())
    return np.asarray(one.image, int)


def merged(model: Model, *loras: tuple[Matrices, float]) -> np.ndarray[Any, Any]:
    """What an engine paints whose weights have these LoRAs added to them by hand."""
    engine = QwenEngine({model.name: model}, "cpu")
    engine.load(model.name)
    with torch.no_grad():
        for pairs, scale in loras:
            for layer, (a, b) in pairs.items():
                transformer_of(engine).get_submodule(layer).weight += scale * (b @ a)
    return seen(engine)


# what is painted


def test_a_lora_paints_what_weights_with_it_added_paint(own: QwenEngine, model: Model, plain: list[str]) -> None:
    assert np.array_equal(seen(own, loras=[INK]), merged(model, (matrices(1), 1.0)))
    assert painted(own, loras=[INK]) != plain
    assert own.loaded == Variant("miniature", Tier.QUALITY, Precision.BF16, "ink")


def test_several_are_added_each_with_its_scale_and_to_that_of_the_tier(own: QwenEngine, model: Model) -> None:
    photo = matrices(2, rank=2, layers=["attn.to_q", "img_mod.1"])
    turbo = matrices(3, layers=["attn.to_out.0"])
    several = seen(own, loras=[INK, PHOTO]), seen(own, tier=Tier.TURBO, loras=[PHOTO])
    assert own.loaded == Variant("miniature", Tier.TURBO, Precision.BF16, "photo")
    by_hand = merged(model, (matrices(1), 1.0), (photo, 0.5)), merged(model, (turbo, 0.5), (photo, 0.5))
    for made, expected in zip(several, by_hand, strict=True):
        assert np.abs(made - expected).max() <= 1  # of 255: sums are made in another order
    others = [*several, seen(own), seen(own, loras=[INK]), seen(own, loras=[PHOTO]), seen(own, tier=Tier.TURBO)]
    assert min(np.abs(one - other).max() for one, other in combinations(others, 2)) > 1


def test_at_scale_0_it_changes_nothing(own: QwenEngine, plain: list[str]) -> None:
    assert painted(own, loras=[LoraUse(name="ink", scale=0)]) == plain


def test_jobs_with_and_without_loras_do_not_stain_each_other(own: QwenEngine, plain: list[str]) -> None:
    edits = painted(own, [picture()])
    seen = [painted(own, loras=loras) for loras in ([INK], [PHOTO], [INK, PHOTO])]
    for loras, expected in zip(([INK], [PHOTO], [INK, PHOTO]), seen, strict=True):
        assert painted(own, tier=Tier.TURBO) != plain
        assert painted(own) == plain
        assert painted(own, [picture()]) == edits
        assert painted(own, loras=loras) == expected


class Stop(Exception):
    """Somebody has cancelled."""


@pytest.mark.parametrize("phase", ["encoding", "denoising", "decoding"])
def test_a_call_that_is_cancelled_leaves_nothing_on_the_transformer(
    own: QwenEngine, plain: list[str], phase: str
) -> None:
    def stop(at: str, step: int, steps: int) -> None:
        if at == phase:
            raise Stop

    with pytest.raises(Stop):
        list(own.paint(a_plan(loras=[INK]), (), stop))
    assert active_loras(transformer_of(own)) == ()
    assert painted(own) == plain


def test_a_job_within_a_step_of_another_takes_nothing_away_from_it(own: QwenEngine, plain: list[str]) -> None:
    alone = painted(own, loras=[INK], seeds=[1], steps=3)
    within: list[list[str]] = []

    def paint_others(phase: str, step: int, steps: int) -> None:
        if phase == "denoising" and step == 1 and not within:
            within.append(painted(own))
            within.append(painted(own, loras=[PHOTO]))

    [one] = own.paint(a_plan(loras=[INK], steps=3), (), paint_others)
    assert [digest(one.image)] == alone
    assert within[0] == plain
    assert within[1] == painted(own, loras=[PHOTO])


@pytest.fixture
def fresh(model: Model) -> QwenEngine:
    """An engine whose weights a test may change."""
    engine = QwenEngine({model.name: model}, "cpu")
    engine.load(model.name)
    return engine


def test_layers_in_fp8_carry_loras(fresh: QwenEngine, files: Path) -> None:
    transformer, name = transformer_of(fresh), "transformer_blocks.0.attn.to_q"
    assert to_fp8(transformer, rounds=False)
    plain = painted(fresh)
    tokens = torch.randn(5, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = transformer.get_submodule(name)(tokens)
        with fresh._adapters.on(transformer, [adapter(files / "ink.safetensors", 0.5)]):
            added = transformer.get_submodule(name)(tokens) - before
    a, b = matrices(1)[name]
    assert torch.allclose(added, 0.5 * tokens @ a.T @ b.T, atol=1e-5)
    assert painted(fresh, loras=[INK]) != plain
    assert painted(fresh) == plain


def test_weights_that_stream_through_the_device_carry_loras(fresh: QwenEngine, own: QwenEngine) -> None:
    stream(transformer_of(fresh), "cpu", blocks=True, keep=False)
    for loras in ([], [INK], [PHOTO], []):
        assert painted(fresh, loras=loras) == painted(own, loras=loras)


# files as people have them


def in_names(path: Path, name: Callable[[str], str], up: str, down: str, alpha: float | None, prefix: str = "") -> Path:
    tensors: dict[str, torch.Tensor] = {}
    for layer, (a, b) in matrices(1).items():
        tensors |= {f"{prefix}{name(layer)}.{down}.weight": a, f"{prefix}{name(layer)}.{up}.weight": b}
        if alpha is not None:
            tensors[f"{prefix}{name(layer)}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path)
    return path


def same(layer: str) -> str:
    return layer


@pytest.mark.parametrize(
    ("named", "scale"),
    [
        (lambda path: in_names(path, same, "lora_up", "lora_down", 4.0), 1.0),
        (lambda path: in_names(path, same, "lora_up", "lora_down", 2.0), 0.5),
        (lambda path: in_names(path, same, "lora_up", "lora_down", None), 1.0),
        (lambda path: in_names(path, same, "lora_up", "lora_down", 2.0, "diffusion_model."), 0.5),
        (lambda path: in_names(path, lambda it: it.replace(".", "_"), "lora_up", "lora_down", 2.0, "lora_unet_"), 0.5),
        (lambda path: in_names(path, same, "lora_B", "lora_A", None, "base_model.model."), 1.0),
        (lambda path: in_names(path, same, "lora_B.default", "lora_A.default", None, "transformer."), 1.0),
        (lambda path: written(path, matrices(1), lora_adapter_metadata=json.dumps({"transformer.lora_alpha": 2})), 0.5),
    ],
    ids=["lightning", "alpha", "no alpha", "comfyui", "kohya", "peft", "diffsynth", "metadata"],
)
def test_files_of_many_programs_are_read(
    own: QwenEngine, model: Model, tmp_path: Path, named: Callable[[Path], Path], scale: float
) -> None:
    file = named(tmp_path / "its.safetensors")
    engine = QwenEngine({"miniature": replace(model, loras={"its": a_lora("its", file=str(file))})}, "cpu")
    its = painted(engine, loras=[LoraUse(name="its")])
    assert its == painted(own, loras=[LoraUse(name="ink", scale=scale)])


def test_a_file_that_was_exchanged_is_loaded_anew(model: Model, files: Path, tmp_path: Path, own: QwenEngine) -> None:
    file = tmp_path / "its.safetensors"
    file.write_bytes((files / "ink.safetensors").read_bytes())
    engine = QwenEngine({"miniature": replace(model, loras={"ink": a_lora(file=str(file))})}, "cpu")
    ink = LoraUse(name="ink", scale=0.5)
    assert painted(engine, loras=[ink]) == painted(own, loras=[ink])
    file.unlink()
    file.write_bytes((files / "photo.safetensors").read_bytes())
    assert painted(engine, loras=[ink]) == painted(own, loras=[PHOTO])


def test_a_file_that_is_written_over_changes_no_lora_that_is_loaded(loaded: Any, files: Path, tmp_path: Path) -> None:
    file = tmp_path / "its.safetensors"
    file.write_bytes((files / "ink.safetensors").read_bytes())
    name = "transformer_blocks.0.attn.to_q"
    with Adapters().on(loaded, [adapter(file)]):
        before = [each.clone() for each in loaded.get_submodule(name).parameters()]
        with file.open("r+b") as same:
            same.write(bytes(file.stat().st_size))
        assert all(map(torch.equal, before, loaded.get_submodule(name).parameters()))


# files that do not fit


def stranger(path: Path) -> None:
    save_file({"transformer.blocks.0.to_q.lora_A.weight": torch.ones(2, 4)} | _b("blocks.0.to_q", 4), path)


def _b(layer: str, outputs: int) -> dict[str, torch.Tensor]:
    return {f"transformer.{layer}.lora_B.weight": torch.ones(outputs, 2)}


def larger(path: Path) -> None:
    pairs = matrices(1)
    pairs["transformer_blocks.3.attn.to_q"] = (torch.ones(4, 320), torch.ones(160, 4))
    written(path, pairs)


def encoder(path: Path) -> None:
    save_file({"text_encoder.layers.0.q_proj.lora_A.weight": torch.ones(2, 4)}, path)


def dora(path: Path) -> None:
    tensors = {"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": torch.ones(2, 160)}
    tensors |= _b("transformer_blocks.0.attn.to_q", 160)
    save_file(tensors | {"transformer.transformer_blocks.0.attn.to_q.dora_scale": torch.ones(160)}, path)


def half(path: Path) -> None:
    save_file({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": torch.ones(2, 160)}, path)


def of_no_training(path: Path) -> None:
    written(path, matrices(1), lora_adapter_metadata='{"transformer.lora_alpha": "much"}')


def of_endless_training(path: Path) -> None:
    written(path, matrices(1), lora_adapter_metadata="[" * 100_000)


def of_vast_alpha(path: Path) -> None:
    written(path, matrices(1), lora_adapter_metadata=f'{{"transformer.lora_alpha": 1{"0" * 400}}}')


def of_no_rank(path: Path) -> None:
    written(path, {"transformer_blocks.0.attn.to_q": (torch.ones(0, 160), torch.ones(160, 0))})


def of_no_rank_with_alpha(path: Path) -> None:
    down, up = torch.ones(0, 160), torch.ones(160, 0)
    layer = "transformer_blocks.0.attn.to_q"
    named = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.ones(())}
    save_file({f"{layer}.{name}": tensor for name, tensor in named.items()}, path)


def of_no_numbers(path: Path) -> None:
    pairs = matrices(1)
    pairs["transformer_blocks.3.attn.to_q"][0][1, 2] = torch.nan
    written(path, pairs)


def truncated(path: Path) -> None:
    written(path, matrices(1))
    path.write_bytes(path.read_bytes()[:-1000])


def pickled(path: Path) -> None:
    torch.save({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": torch.ones(2, 160)}, path)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (stranger, "it was made for another model: none of its 1 layers is in this one"),
        (larger, "1 of its 30 layers are not in this model or of another size, such as transformer_blocks.3.attn.to_q"),
        (encoder, "it also changes the text encoder, which is shared with jobs that have no LoRA; offer a file that"),
        (dora, "its file has transformer.transformer_blocks.0.attn.to_q.dora_scale, which is no part of a LoRA"),
        (half, "its file has transformer_blocks.0.attn.to_q, which is no part of a LoRA of linear layers"),
        (of_no_training, "what its file says of its training cannot be read"),
        (of_endless_training, "what its file says of its training cannot be read"),
        (of_vast_alpha, "what its file says of its training cannot be read"),
        (of_no_rank, "its file has transformer_blocks.0.attn.to_q, which is no part of a LoRA of linear layers"),
        (of_no_rank_with_alpha, "its file has transformer_blocks.0.attn.to_q.alpha, which is no part of a LoRA"),
        (of_no_numbers, "its file has numbers that are infinite or none at all, which paint black; save it again"),
        (truncated, "its file is damaged or no safetensors file; fetch it again"),
        (pickled, "its file is damaged or no safetensors file; fetch it again"),
        (lambda path: save_file({}, path), "its file has nothing, which is no part of a LoRA of linear layers"),
        (lambda path: None, "its file is not there"),
    ],
)
def test_a_file_that_does_not_fit_is_told_and_leaves_the_next_job_as_it_was(
    own: QwenEngine, model: Model, plain: list[str], tmp_path: Path, harm: Callable[[Path], object], said: str
) -> None:
    file = tmp_path / "its.safetensors"
    harm(file)
    engine = QwenEngine({"miniature": replace(model, loras={**model.loras, "its": a_lora(file=str(file))})}, "cpu")
    for _ in range(2):
        with pytest.raises(StudioError) as caught:
            painted(engine, loras=[INK, LoraUse(name="its")])
        assert caught.value.code == "model_unavailable"
        assert caught.value.message.startswith(f"LoRA its: {said}")
        assert str(tmp_path) not in caught.value.message
    assert painted(engine) == plain
    assert painted(engine, loras=[INK]) == painted(own, loras=[INK])


def test_a_lora_that_is_gone_from_the_allow_list_is_named(own: QwenEngine) -> None:
    with pytest.raises(StudioError, match="'oil' is not offered for miniature any more") as caught:
        painted(own, loras=[LoraUse(name="oil")])
    assert caught.value.code == "unknown_lora"


# what stays loaded


@pytest.fixture
def loaded(fresh: QwenEngine) -> Any:
    """A transformer of its own."""
    return transformer_of(fresh)


def adapter(path: Path, scale: float = 1.0) -> Adapter:
    return Adapter(path.stem, path, mark_of(path), scale)


def kept(transformer: Any) -> int:
    return len(getattr(transformer, "peft_config", {}))


def test_those_used_longest_ago_go_first(loaded: Any, files: Path, tmp_path: Path) -> None:
    adapters = Adapters(most=2)
    ink, photo, turbo = (adapter(files / f"{name}.safetensors") for name in ("ink", "photo", "turbo"))
    for wanted in ([ink], [photo], [ink], [turbo]):
        with adapters.on(loaded, wanted):
            assert active_loras(loaded) == ((wanted[0].mark, 1.0),)
    assert kept(loaded) == 2
    (gone := tmp_path / "photo.safetensors").write_bytes(b"")
    for one in (ink, turbo):  # these are read no more
        with adapters.on(loaded, [replace(one, path=gone)]):
            pass
    with pytest.raises(StudioError), adapters.on(loaded, [replace(photo, path=gone)]):
        pass
    with adapters.on(loaded, [ink, photo, turbo]):  # of one call all stay
        assert kept(loaded) == 3


def test_they_take_a_bounded_memory(loaded: Any, files: Path) -> None:
    ink, photo = (adapter(files / f"{name}.safetensors") for name in ("ink", "photo"))
    adapters = Adapters(most_bytes=10_000)
    for wanted in (ink, photo):
        with adapters.on(loaded, [wanted]):
            assert kept(loaded) == 1


def test_an_attempt_that_spares_memory_keeps_its_own_alone(fresh: QwenEngine, own: QwenEngine) -> None:
    seen(fresh, loras=[INK])
    [spared] = fresh.paint(a_plan(loras=[PHOTO]), (), frugal=True)
    assert kept(transformer_of(fresh)) == 1
    assert [digest(spared.image)] == painted(own, loras=[PHOTO])


def test_loras_of_a_repository_come_with_the_model_and_are_found_without_the_hub(
    model: Model, own: QwenEngine, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    its = a_lora("its", repository="someone/its", file="a/its.safetensors")
    gone = a_lora("gone", repository="someone/gone", file="gone.safetensors")
    engine = QwenEngine({model.name: replace(model, loras={"gone": gone, "its": its})}, "cpu")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        hub.add(
            "someone/its", {its.file: (files / "ink.safetensors").read_bytes(), "README.md": b"it is not asked for"}
        )
        engine.fetch(model.name)
    assert place_of(gone) is None
    assert painted(engine, loras=[LoraUse(name="its")]) == painted(own, loras=[INK])
    with pytest.raises(StudioError, match=r"LoRA gone: gone.safetensors is not on this machine and cannot be fetched"):
        painted(engine, loras=[LoraUse(name="gone")])


def test_one_file_that_is_named_twice_counts_with_both_scales(loaded: Any, files: Path) -> None:
    ink = files / "ink.safetensors"
    with Adapters().on(loaded, [adapter(ink, 0.5), adapter(ink, 0.25)]):
        assert active_loras(loaded) == ((mark_of(ink), 0.75),)
