"""The torch engine: what it paints, how it loads and shares weights, and what it says where it cannot."""

import gc
import json
import logging
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from diffusers import AutoencoderKLQwenImage21, QwenImage21Transformer2DModel, QwenImageTransformer2DModel
from PIL import Image
from transformers import Qwen2Tokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from qwen_image_studio.contract.errors import DeviceLost, StudioError
from qwen_image_studio.contract.words import Operation, Precision, Tier
from qwen_image_studio.loading import weights as weights_module
from qwen_image_studio.loading.weights import DTYPES, memory_of
from qwen_image_studio.local.generator import QwenImageGenerator, one
from qwen_image_studio.models.architectures import GIB, MINIATURE
from qwen_image_studio.models.hub import Pulled
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.engine import Engine, open_engine
from qwen_image_studio.planning.plan import PaintPlan, Variant
from qwen_image_studio.settings import Settings
from tests.support.pictures import picture
from tests.support.plans import a_plan, painted
from training.parts import build_scheduler

pytestmark = pytest.mark.usefixtures("one_thread")
Report = list[tuple[str, int, int]]


def part(engine: QwenEngine, name: str, model: str) -> Any:
    """A loaded part of a model."""
    row = engine._models[model]
    return engine._weights.parts(row, row.precision()[0])[name]


def refusal(engine: QwenEngine, model: str) -> StudioError:
    """The error with which the engine refuses to load the model."""
    with pytest.raises(StudioError) as caught:
        engine.load(model)
    return caught.value


# painting


def test_the_settings_open_this_engine(miniature: Model) -> None:
    opened: Engine[PaintPlan] = open_engine(
        Settings(engine="qwen_image_studio.painting.qwen:open_engine"), {"miniature": miniature}, "cpu"
    )
    assert isinstance(opened, QwenEngine)
    assert (opened.device, opened.loaded) == ("cpu", None)
    opened.load("miniature")
    assert opened.loaded == Variant("miniature", Tier.QUALITY, Precision.BF16)


@pytest.mark.parametrize("images", [(), (picture(),)], ids=["generate", "edit"])
def test_prompt_seed_and_steps_make_the_picture(engine: QwenEngine, images: tuple[Image.Image]) -> None:
    variants: list[dict[str, Any]] = [{}, {"prompt": "一只红苹果"}, {"seeds": (2,)}, {"steps": 3}]
    assert len({painted(engine, images, **variant)[0] for variant in variants}) == len(variants)


def test_an_edit_depends_on_each_of_its_pictures(engine: QwenEngine) -> None:
    pictures = picture("red"), picture("blue")
    inputs = [pictures, pictures[::-1], pictures[:1], (*pictures, pictures[0])]
    assert len({painted(engine, images)[0] for images in inputs}) == len(inputs)


def test_the_report_tells_phases_and_counts_steps_over_all_images(engine: QwenEngine) -> None:
    told: Report = []
    seeds = [one.seed for one in engine.paint(a_plan(seeds=(8, 3)), (), lambda *said: told.append(said))]
    assert seeds == [8, 3]
    assert told == [
        ("loading", 0, 4),
        ("encoding", 0, 4),
        ("denoising", 1, 4),
        ("denoising", 2, 4),
        ("decoding", 2, 4),
        ("denoising", 3, 4),
        ("denoising", 4, 4),
        ("decoding", 4, 4),
    ]


def test_a_model_that_is_gone_from_the_server_is_named(engine: QwenEngine) -> None:
    with pytest.raises(StudioError, match="'Qwen-Image' is not on this server; it has: miniature") as caught:
        painted(engine, model="Qwen-Image")
    assert caught.value.code == "unknown_model"


# faults while painting


@pytest.fixture
def failing(engine: QwenEngine) -> Callable[[BaseException], str]:
    """Paint with a transformer that raises; returns the error's code and message, and checks that all is well after."""

    def paint(raised: BaseException) -> str:
        before = painted(engine)

        def fail(*_: object) -> None:
            raise raised

        hook = part(engine, "transformer", "miniature").register_forward_pre_hook(fail)
        try:
            with pytest.raises(StudioError) as caught:
                painted(engine, paint_width=128, paint_height=96)
        finally:
            hook.remove()
        assert painted(engine) == before
        return f"{caught.value.code}: {caught.value.message}"

    return paint


@pytest.mark.parametrize(
    "raised",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
    ids=["cuda", "python", "cpu"],
)
def test_out_of_memory_names_a_smaller_size(failing: Callable[[BaseException], str], raised: BaseException) -> None:
    assert failing(raised) == (
        "out_of_memory: 128x96 does not fit into the memory of cpu; "
        "ask for 64x64 or smaller, or send fewer input images."
    )


def test_a_fault_of_the_pipeline_is_a_short_sentence_and_a_long_log(
    failing: Callable[[BaseException], str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        said = failing(IndexError("index 11 is out of bounds in /srv/secret/place"))
    assert said == (
        "engine_failed: miniature stopped with an error of its own (IndexError); the server's log says more."
    )
    assert "index 11 is out of bounds" in caplog.text


def test_out_of_memory_lets_go_of_what_the_call_held(engine: QwenEngine) -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def fail(_: object, args: object, named: dict[str, Any]) -> None:
        held.append(weakref.ref(named["hidden_states"]))
        raise torch.OutOfMemoryError

    hook = part(engine, "transformer", "miniature").register_forward_pre_hook(fail, with_kwargs=True)
    try:
        with pytest.raises(StudioError) as caught:
            painted(engine)
    finally:
        hook.remove()
    assert caught.value.code == "out_of_memory"
    assert held[0]() is None  # though the error itself is still alive here


def test_a_device_that_is_lost_while_a_model_is_made_ready_is_lost(
    miniature: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(weights_module, "prepare", fail)
    with pytest.raises(DeviceLost):
        QwenEngine({miniature.name: miniature}, "cpu").load(miniature.name)


# sharing and dropping weights


def test_models_with_the_same_word_share_encoder_and_vae(miniature: Model) -> None:
    rows = {
        "generates": replace(
            miniature, name="generates", families={k: v for k, v in miniature.families.items() if k == "generate"}
        ),
        "edits": replace(miniature, name="edits"),
        "apart": replace(miniature, name="apart", shares=""),
    }
    engine = QwenEngine(rows, "cpu")
    for name in rows:
        engine.load(name)
    for name in ("text_encoder", "vae", "tokenizer"):
        assert part(engine, name, "generates") is part(engine, name, "edits")
        assert part(engine, name, "generates") is not part(engine, name, "apart")
    assert part(engine, "transformer", "generates") is not part(engine, "transformer", "edits")
    assert painted(engine, model="generates") == painted(engine, model="edits")


def test_the_old_model_goes_where_both_do_not_fit(miniature: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = QwenEngine({name: replace(miniature, name=name) for name in ("old", "new")}, "cpu")
    before = painted(engine, model="old")
    old = weakref.ref(part(engine, "transformer", "old"))
    encoder = part(engine, "text_encoder", "old")
    monkeypatch.setattr(weights_module, "memory_of", lambda device: (0 if old() else GIB, GIB))
    assert painted(engine, model="new") == before
    gc.collect()
    assert (old(), engine.loaded) == (None, Variant("new", Tier.QUALITY, Precision.BF16))
    assert part(engine, "text_encoder", "new") is encoder
    monkeypatch.undo()
    assert painted(engine, model="old") == before


def test_a_model_that_fits_leaves_the_other_in_place(miniature: Model) -> None:
    engine = QwenEngine({name: replace(miniature, name=name) for name in ("old", "new")}, "cpu")
    engine.load("old")
    transformer = part(engine, "transformer", "old")
    engine.load("new")
    assert part(engine, "transformer", "old") is transformer


def test_too_little_free_memory_is_told_in_numbers(miniature: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**20, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    error = refusal(QwenEngine({"miniature": miniature}, "cuda:0"), "miniature")
    assert error.code == "out_of_memory"
    assert error.message.startswith("miniature needs 0.0 GiB on cuda:0, which has 0.0 GiB free. Stop what else")


def test_a_device_that_could_never_hold_the_model_is_told_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fetch(*_: object, **__: object) -> str:
        raise AssertionError("fetched all the same")

    monkeypatch.setattr("qwen_image_studio.models.folders.pull", fetch)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (24 * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    error = refusal(QwenEngine({"Qwen-Image": MODELS["Qwen-Image"]}, "cuda:0"), "Qwen-Image")
    assert error.code == "out_of_memory"
    assert "Qwen-Image needs 53.7 GiB on cuda:0, which has 24.0 GiB in all." in error.message


def test_memory_that_runs_out_while_loading_is_told_so(miniature: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine = QwenEngine({"miniature": miniature}, "cpu")
    monkeypatch.setattr(QwenImageTransformer2DModel, "from_pretrained", read)
    assert refusal(engine, "miniature").code == "out_of_memory"
    assert engine.loaded is None
    monkeypatch.undo()
    engine.load("miniature")


def test_memory_of_the_cpu_is_measured() -> None:
    free, total = memory_of("cpu")
    assert 0 < free <= total


# models that cannot be loaded


@pytest.fixture
def broken(miniature: Model, tmp_path: Path) -> Callable[[Callable[[Path], object]], str]:
    """The message for a copy of the miniature to whose folder something was done."""

    def load(harm: Callable[[Path], object]) -> str:
        folder = tmp_path / "weights"
        shutil.copytree(miniature.repository, folder)
        harm(folder)
        row = replace(miniature, repository=str(folder))
        error = refusal(QwenEngine({"miniature": row}, "cpu"), "miniature")
        assert error.code == "model_unavailable"
        assert str(tmp_path) not in error.message
        return error.message

    return load


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (shutil.rmtree, "there is no such folder. Its weights belong to the package: git checkout"),
        (lambda at: shutil.rmtree(at / "transformer"), "it has no transformer/"),
        (
            lambda at: (at / "transformer" / "diffusion_pytorch_model.safetensors").unlink(),
            "transformer/ is incomplete, it lacks diffusion_pytorch_model.safetensors",
        ),
        (
            lambda at: (at / "text_encoder" / "config.json").unlink(),
            "text_encoder/ is incomplete, it lacks config.json",
        ),
        (
            lambda at: (at / "vae" / "diffusion_pytorch_model.safetensors.index.json").write_text(
                json.dumps({"weight_map": {"a": "1-of-2.safetensors", "b": "2-of-2.safetensors"}})
            ),
            "vae/ is incomplete, it lacks 1-of-2.safetensors",
        ),
        (lambda at: (at / "vae" / "config.json").write_text("{"), "a file in vae/ is damaged"),
        (
            lambda at: (at / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"<html>not found</html>"),
            "a file in vae/ is damaged",
        ),
        (
            lambda at: (at / "transformer" / "config.json").write_text('{"_class_name": "FluxTransformer2DModel"}'),
            "its transformer is FluxTransformer2DModel, not QwenImageTransformer2DModel",
        ),
        (lambda at: (at / "tokenizer" / "tokenizer.json").write_text("{"), "tokenizer/ cannot be read"),
        (lambda at: (at / "processor" / "preprocessor_config.json").unlink(), "processor/ cannot be read"),
    ],
)
def test_a_folder_that_is_not_a_whole_model_is_named_with_what_it_lacks(
    broken: Callable[[Callable[[Path], object]], str], harm: Callable[[Path], object], said: str
) -> None:
    message = broken(harm)
    assert said in message
    assert message.startswith("miniature (")
    assert "/weights): " in message


def test_weights_that_were_cut_short_cannot_be_read(broken: Callable[[Callable[[Path], object]], str]) -> None:
    def cut(folder: Path) -> None:
        path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    assert "transformer/ cannot be read; fetch it again" in broken(cut)


def test_weights_of_another_size_cannot_be_read(broken: Callable[[Callable[[Path], object]], str]) -> None:
    def widen(folder: Path) -> None:
        path = folder / "transformer" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"num_attention_heads": 6}))

    assert "transformer/ cannot be read; fetch it again" in broken(widen)


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that could hold anything."""
    monkeypatch.setattr(weights_module, "memory_of", lambda device: (2**50, 2**50))


@pytest.mark.usefixtures("roomy")
def test_a_repository_that_is_not_here_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # what the variable sets at import
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    error = refusal(QwenEngine({"Qwen-Image": MODELS["Qwen-Image"]}, "cpu"), "Qwen-Image")
    assert error.code == "model_unavailable"
    assert error.message == (
        "Qwen-Image (Qwen/Qwen-Image): it is not, or not all, on this machine, and HF_HUB_OFFLINE is set; unset it, or "
        "name a folder."
    )


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize("name", ["no such model", "a/b/c", "..", "./nothing", "~/nothing/here", "/nothing/here"])
def test_a_name_that_is_neither_folder_nor_repository(name: str) -> None:
    row = replace(MODELS["Qwen-Image"], repository=name)
    error = refusal(QwenEngine({"Qwen-Image": row}, "cpu"), "Qwen-Image")
    assert error.code == "model_unavailable"


@pytest.mark.usefixtures("roomy")
def test_only_the_parts_that_are_missing_are_fetched(miniature: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: dict[str, list[str]] = {}

    def fetch(repository: str, patterns: list[str]) -> Pulled:
        fetched[repository] = patterns
        return Pulled(Path(miniature.repository), "", 0, 0)

    monkeypatch.setattr("qwen_image_studio.models.folders.pull", fetch)
    names = ("Qwen-Image", "Qwen-Image-Edit-2509")
    engine = QwenEngine({name: MODELS[name] for name in names}, "cpu")
    for name in names:
        engine.load(name)
    assert "text_encoder/*" in fetched["Qwen/Qwen-Image"]
    assert fetched["Qwen/Qwen-Image-Edit-2509"] == [
        "model_index.json",
        "scheduler/*",
        "transformer/*",
        "processor/*",
        "tokenizer/*",
    ]
    assert part(engine, "text_encoder", names[0]) is part(engine, "text_encoder", names[1])


# Qwen-Image-2.1: another family on the same path


@pytest.fixture(scope="module")
def unified(miniature: Model, tmp_path_factory: pytest.TempPathFactory) -> QwenEngine:
    """An engine with a tiny Qwen-Image-2.1 of random weights."""
    folder = tmp_path_factory.mktemp("unified")
    write_unified(folder, Path(miniature.repository) / "tokenizer")
    row = replace(MODELS["Qwen-Image-2.1"], repository=str(folder), network=MINIATURE, input_pixels=64 * 64)
    return QwenEngine({row.name: row}, "cpu")


def write_unified(folder: Path, tokenizer_folder: Path) -> None:
    """Save the parts of Qwen-Image-2.1 at the smallest sizes that run."""
    tokenizer = Qwen2Tokenizer.from_pretrained(tokenizer_folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = {
            "text_encoder": Qwen3VLForConditionalGeneration(unified_encoder(tokenizer)),
            "vae": AutoencoderKLQwenImage21(
                base_dim=8,
                decoder_base_dim=8,
                z_dim=16,
                dim_mult=[1, 1, 1, 1, 1],
                num_res_blocks=1,
                latents_mean=[0.0] * 16,
                latents_std=[1.0] * 16,
            ),
            "transformer": QwenImage21Transformer2DModel(
                in_channels=16,
                out_channels=16,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                context_in_dim=32,
                axes_dims_rope=(4, 6, 6),
            ),
        }
    for name, model in parts.items():
        model.save_pretrained(folder / name)
    build_scheduler().save_pretrained(folder / "scheduler")
    tokenizer.save_pretrained(folder / "processor")
    size = {"shortest_edge": 64 * 64, "longest_edge": 128 * 128}
    Qwen2VLImageProcessorPil(size=size, patch_size=16).save_pretrained(folder / "processor")
    (folder / "processor" / "chat_template.jinja").write_text(
        "{% for said in messages %}<|im_start|>{{ said.role }}\n"
        "{% for piece in said.content %}{{ piece.text }}{% endfor %}<|im_end|>\n{% endfor %}"
    )


def unified_encoder(tokenizer: Qwen2Tokenizer) -> Qwen3VLConfig:
    """A Qwen3-VL of two layers, 32 wide."""
    tokens = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    tokens |= {f"vision_{end}_token_id": f"vision_{end}" for end in ("start", "end")}
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "rope_parameters": {"mrope_section": [4, 2, 2], "rope_type": "default", "mrope_interleaved": True},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 16,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **{name: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in tokens.items()},
    )


@pytest.mark.parametrize("images", [(), (picture(), picture("blue"))], ids=["generate", "edit"])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_the_unified_model_paints_on_the_same_path(
    unified: QwenEngine, images: tuple[Image.Image], guidance: float
) -> None:
    plan: dict[str, Any] = {"model": "Qwen-Image-2.1", "guidance_scale": guidance}
    encoder = part(unified, "text_encoder", "Qwen-Image-2.1")
    calls: list[None] = []
    hook = encoder.register_forward_pre_hook(lambda *_: calls.append(None))
    together = painted(unified, images, seeds=(1, 2), **plan)
    hook.remove()
    assert len(calls) == (2 if guidance > 1 else 1)
    assert together == [painted(unified, images, seeds=(seed,), **plan)[0] for seed in (1, 2)]
    assert len({*together, *painted(unified, images, prompt="a boat", **plan)}) == 3


def test_the_unified_model_looks_at_its_pictures_and_gives_rgb_where_that_is_wanted(unified: QwenEngine) -> None:
    plan = a_plan(model="Qwen-Image-2.1", operation=Operation.EDIT, background="opaque")
    red, blue = (next(iter(unified.paint(plan, [picture(colour)]))).image for colour in ("red", "blue"))
    assert (red.mode, red.size) == ("RGB", (64, 64))
    assert red.tobytes() != blue.tobytes()


@pytest.mark.parametrize("images", [(), (picture(),)], ids=["generate", "edit"])
def test_lightning_of_the_unified_model_keeps_its_latents_in_float32_and_no_other_call_does(
    unified: QwenEngine, images: tuple[Image.Image, ...]
) -> None:
    name = "Qwen-Image-2.1"
    own = unified._models[name]
    tiers = {tier: replace(recipe, lora=None, precision=None) for tier, recipe in own.tiers.items()}
    engine = QwenEngine({name: replace(own, tiers=tiers)}, "cpu", DTYPES)
    plan: dict[str, Any] = {"model": name, "guidance_scale": 1.0, "steps": 4}
    before = painted(engine, images, **plan)
    transformer = part(engine, "transformer", name)
    given: list[tuple[torch.dtype, float]] = []
    taken: set[torch.dtype] = set()
    watches = [
        transformer.register_forward_pre_hook(
            lambda _, __, named: given.append((named["hidden_states"].dtype, float(named["timestep"][0]))),
            with_kwargs=True,
        ),
        transformer.img_in.register_forward_pre_hook(lambda _, args: taken.add(args[0].dtype)),
    ]
    turbo = painted(engine, images, **plan, tier=Tier.TURBO)
    assert ([dtype for dtype, _ in given], taken) == ([torch.float32] * 4, {torch.bfloat16})
    first, *others = [time for _, time in given]
    odds = [time / (1 - time) for time in others]  # shifted exponentially, they keep the proportions of 3, 1 and 1/3
    assert first == pytest.approx(1)
    assert [odds[0] / odds[1], odds[1] / odds[2]] == pytest.approx([3, 3], rel=1e-4)
    given.clear()
    assert painted(engine, images, **plan) == before != turbo
    assert [dtype for dtype, _ in given] == [torch.bfloat16] * 4
    for watch in watches:
        watch.remove()


# in a notebook


@pytest.fixture(scope="module")
def studio(miniature: Model) -> QwenImageGenerator:
    """The public class, on the miniature."""
    return QwenImageGenerator("miniature", device="cpu", model_path=miniature.repository)


def test_the_generator_paints_and_edits(studio: QwenImageGenerator) -> None:
    told: Report = []
    made = studio.generate(
        prompt="a red apple",
        height=64,
        width=80,
        num_inference_steps=2,
        guidance_scale=2.0,
        seed=7,
        num_images=2,
        callback=lambda *said: told.append(said),
    )
    assert isinstance(made, list)
    red, other = made
    assert (red.size, red.info["seed"], other.info["seed"]) == ((80, 64), 7, 8)
    assert (red.info["prompt"], red.info["model"], red.info["tier"]) == ("a red apple", "miniature", "quality")
    assert any("miniature" in warning for warning in red.info["warnings"])
    assert told[-1] == ("decoding", 4, 4)
    edits = [
        one(studio.edit(image, prompt="make it blue", num_inference_steps=2, seed=1)) for image in (red, [red, other])
    ]
    assert edits[0].tobytes() != edits[1].tobytes()


def test_the_generator_takes_pictures_as_they_come(studio: QwenImageGenerator) -> None:
    lying = Image.new("LA", (64, 96))
    lying.getexif()[0x0112] = 6
    edited = one(studio.edit(lying, prompt="make it blue", num_inference_steps=2))
    assert edited.width > edited.height


@pytest.mark.parametrize("asked", [{"num_inference_steps": 1}, {"seed": -2}, {"height": 64}, {"prompt": ""}])
def test_the_generator_says_what_is_wrong(studio: QwenImageGenerator, asked: dict[str, Any]) -> None:
    with pytest.raises(StudioError) as caught:
        studio.generate(**{"prompt": "a red apple", **asked})
    assert caught.value.code == "invalid_value"


def test_the_generator_knows_models_by_name_and_repository() -> None:
    assert QwenImageGenerator("qwen/qwen-image", device="cpu").model.name == "Qwen-Image"
    with pytest.raises(StudioError, match="not on this server"):
        QwenImageGenerator("stable-diffusion", device="cpu")


def test_the_generator_takes_a_precision(miniature: Model) -> None:
    studio = QwenImageGenerator("miniature", device="cpu", precision="bf16", model_path=miniature.repository)
    studio.generate(prompt="a red apple", num_inference_steps=2)
    engine = studio._studio.engine
    assert isinstance(engine, QwenEngine)
    assert part(engine, "transformer", "miniature").dtype is torch.bfloat16
