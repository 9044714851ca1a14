"""Embeddings of texts that are kept from one job to the next: equal to the bit, never another's, and never too many."""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from qwen_image_studio.contract.errors import Cancelled, StudioError
from qwen_image_studio.contract.words import Operation, Precision, Way
from qwen_image_studio.loading.weights import DTYPES
from qwen_image_studio.models import embeddings as embeddings_module
from qwen_image_studio.models.architectures import MINIATURE
from qwen_image_studio.models.embeddings import Embeddings
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.painting import sparing
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.planning.engine import open_engine
from qwen_image_studio.planning.plan import Pass
from qwen_image_studio.settings import Settings
from tests.server.test_engine import write_unified
from tests.support.pictures import picture
from tests.support.plans import a_plan, painted

pytestmark = pytest.mark.usefixtures("one_thread")


def opened(miniature: Model, embeddings: int = 64, **others: Model) -> QwenEngine:
    """An engine that keeps so many texts encoded, with the miniature and other rows by their names."""
    rows = {name: replace(row, name=name, input_pixels=64 * 64) for name, row in others.items()}
    return QwenEngine(
        {"miniature": replace(miniature, input_pixels=64 * 64)} | rows, "cpu", DTYPES, embeddings=embeddings
    )


@pytest.fixture(scope="module")
def plain(miniature: Model) -> QwenEngine:
    """An engine that keeps nothing from one plan to the next."""
    return opened(miniature, 0)


@pytest.fixture
def engine(miniature: Model) -> QwenEngine:
    """An engine that has not encoded anything yet."""
    return opened(miniature)


@contextmanager
def encodings(
    engine: QwenEngine, model: str = "miniature", precision: Precision = Precision.BF16
) -> Iterator[list[str]]:
    """The texts that the model's encoder reads while the context is open, with the chat's template."""
    parts = engine._weights.parts(engine._models[model], precision)
    read: list[str] = []

    def note(_: object, args: object, named: dict[str, Any]) -> None:
        read.append(parts["tokenizer"].decode(named["input_ids"][0]))

    hook = parts["text_encoder"].register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield read
    finally:
        hook.remove()


def read_for(engine: QwenEngine, images: Sequence[Image.Image] = (), **changed: Any) -> int:
    """How many texts are encoded for a plan."""
    with encodings(engine, changed.get("model", "miniature")) as read:
        painted(engine, images, **changed)
    return len(read)


# equal to the bit

PASSES = (
    Pass(window=(0, 0, 96, 64), width=96, height=64, known=(0, 0, 64, 64)),
    Pass(window=(32, 0, 128, 64), width=96, height=64, known=(0, 0, 96, 64)),
)
OUTPAINT: dict[str, Any] = {"operation": Operation.OUTPAINT, "width": 128, "passes": PASSES, "place": (0, 0, 64, 64)}
PLANS: dict[str, tuple[int, dict[str, Any], tuple[Image.Image, ...]]] = {
    "generate": (2, {}, ()),
    "several images": (2, {"seeds": (1, 2, 3)}, ()),
    "without guidance": (1, {"guidance_scale": 1.0}, ()),
    "long": (2, {"prompt": "a red apple and a yellow star " * 60, "negative_prompt": "一只猫" * 100}, ()),
    "started from a picture": (2, {"strength": 0.5, "steps": 4, "way": Way.GENERATE}, (picture(),)),
    "edit": (2, {}, (picture(),)),
    "edit of three pictures": (2, {"seeds": (1, 2)}, (picture(), picture("blue"), picture("green", (96, 64)))),
    "passes by a description": (2, {**OUTPAINT, "way": Way.GENERATE}, (picture(),)),
    "passes by an instruction": (4, {**OUTPAINT, "way": Way.EDIT}, (picture(),)),
}


@pytest.mark.parametrize(("count", "changed", "images"), PLANS.values(), ids=PLANS)
def test_a_picture_is_the_same_with_and_without_memory_cold_and_warm(
    plain: QwenEngine, engine: QwenEngine, count: int, changed: dict[str, Any], images: tuple[Image.Image, ...]
) -> None:
    without = painted(plain, images, **changed)
    with encodings(engine) as read:
        assert painted(engine, images, **changed) == without
        assert len(read) == count
        read.clear()
        assert painted(engine, images, **changed) == without
        assert read == []


def test_the_newest_family_remembers_likewise(miniature: Model, tmp_path: Path) -> None:
    write_unified(tmp_path, Path(miniature.repository) / "tokenizer")
    row = replace(MODELS["Qwen-Image-2.1"], repository=str(tmp_path), network=MINIATURE, input_pixels=64 * 64)
    engine = QwenEngine({row.name: row}, "cpu", embeddings=64)
    without = QwenEngine({row.name: row}, "cpu")
    for images in ((), (picture(),), (picture("blue"), picture())):
        plan: dict[str, Any] = {"model": row.name, "guidance_scale": 4.0}
        expected = painted(without, images, **plan)
        with encodings_of(engine, row) as read:
            assert painted(engine, images, **plan) == expected
            assert len(read) == 2
            assert painted(engine, images, **plan) == expected
            assert len(read) == 2


@contextmanager
def encodings_of(engine: QwenEngine, row: Model) -> Iterator[list[None]]:
    """An entry for each text that the encoder of a model without a tokenizer of its own reads."""
    read: list[None] = []
    encoder = engine._weights.parts(row, row.precision()[0])["text_encoder"]
    hook = encoder.register_forward_pre_hook(lambda *_: read.append(None))
    try:
        yield read
    finally:
        hook.remove()


def test_what_a_caller_does_to_an_encoding_stays_with_the_caller() -> None:
    memory, encoder = Embeddings(4), torch.nn.Identity()
    first = memory.of(encoder, object, {"prompt": "a"}, lambda: (torch.ones(3),))
    first[0].zero_()
    second = memory.of(encoder, object, {"prompt": "a"}, lambda: (torch.zeros(3),))
    second[0].zero_()
    assert memory.of(encoder, object, {"prompt": "a"}, lambda: (torch.zeros(3),))[0].tolist() == [1, 1, 1]


# never another's


def test_each_text_is_its_own(engine: QwenEngine, plain: QwenEngine) -> None:
    for prompt in ("a red apple", "a red Apple", "a red apple, a star", "a blue apple", "no red apple"):
        assert read_for(engine, prompt=prompt, guidance_scale=1.0) == 1, prompt
        assert painted(engine, prompt=prompt) == painted(plain, prompt=prompt)
    assert read_for(engine, prompt="a star", negative_prompt="a red apple") == 1, "whichever it is of the two"


def test_an_edit_is_encoded_for_each_row_of_pictures(engine: QwenEngine, plain: QwenEngine) -> None:
    red, blue = picture("red"), picture("blue")
    dot = red.copy()
    dot.putpixel((60, 60), (1, 2, 3))
    wide = picture("red", (96, 64))
    rows = [(red,), (blue,), (red, blue), (blue, red), (red, red), (dot,), (wide,)]
    for images in rows:
        assert read_for(engine, images) == 2
        assert painted(engine, images) == painted(plain, images)
    assert [read_for(engine, images) for images in rows] == [0] * len(rows)
    assert read_for(engine, [picture("red")]) == 0, "its pixels count, and not the object"


def test_a_generation_and_an_edit_have_templates_of_their_own(engine: QwenEngine) -> None:
    with encodings(engine) as read:
        painted(engine)
        painted(engine, [picture()])
        painted(engine, [picture()], way=Way.GENERATE, strength=0.5, steps=4)
    assert len(read) == 4


def test_the_limit_of_tokens_cuts_what_is_remembered_and_nothing_that_is_kept(engine: QwenEngine) -> None:
    seen: list[int] = []
    for limit in (4, 1024, 4):
        pipeline = pipeline_of(engine)
        seen.append(pipeline.encode_prompt("a red apple on a blue ground", max_sequence_length=limit)[0].shape[1])
    assert seen[0] == seen[2] == 4
    assert seen[1] > 4


def pipeline_of(engine: QwenEngine) -> Any:
    """A pipeline that generates, over the engine's weights and memory."""
    from qwen_image_studio.painting.qwen import open_pipeline

    row = engine._models["miniature"]
    parts = engine._weights.parts(row, Precision.BF16)
    return open_pipeline(row.family(Way.GENERATE), parts, engine._embeddings)


def test_models_that_share_an_encoder_share_its_encodings(miniature: Model, plain: QwenEngine) -> None:
    engine = opened(miniature, shared=miniature, apart=replace(miniature, shares=""))
    before = painted(plain)
    assert [read_for(engine, model=name) for name in ("miniature", "shared", "apart")] == [2, 0, 2]
    assert [painted(engine, model=name) for name in ("miniature", "shared", "apart")] == [before] * 3


def test_each_number_format_is_encoded_by_its_own_weights(engine: QwenEngine, plain: QwenEngine) -> None:
    for precision in (Precision.BF16, Precision.FP32):
        expected = painted(plain, precision=precision)
        with encodings(engine, precision=precision) as read:
            assert painted(engine, precision=precision) == expected
            assert painted(engine, precision=precision) == expected
        assert len(read) == 2


def test_pipelines_and_shapes_of_pictures_are_kept_apart() -> None:
    memory, encoder = Embeddings(8), torch.nn.Identity()
    shapes = [Image.new("RGB", (2, 3)), Image.new("RGB", (3, 2)), Image.new("YCbCr", (3, 2))]
    made = [torch.full((1,), each) for each in range(2 * len(shapes))]
    cases = list(zip(product((int, str), shapes), made, strict=True))
    for _ in range(2):
        for (pipeline, shape), expected in cases:
            given = {"prompt": "a", "image": [shape]}
            assert memory.of(encoder, pipeline, given, partial(tuple, [expected])) == (expected,)


def test_no_prompt_outlives_its_job_in_a_key() -> None:
    memory, encoder = Embeddings(4), torch.nn.Identity()
    prompt = "".join(["a very ", "secret ", "apple"])  # an object of its own
    before = sys.getrefcount(prompt)
    memory.of(encoder, object, {"prompt": [prompt]}, partial(tuple, [torch.ones(1)]))
    assert sys.getrefcount(prompt) == before


def test_another_number_of_threads_may_round_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, encoder = Embeddings(4), torch.nn.Identity()
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert asked(memory, encoder, "a") == "a"


def test_weights_that_are_loaded_anew_encode_anew(miniature: Model, plain: QwenEngine) -> None:
    engine = opened(miniature, other=replace(miniature, shares=""))
    painted(engine)
    engine._weights.keep_only(engine._models["other"], Precision.BF16)
    assert read_for(engine) == 2
    assert painted(engine) == painted(plain)


def tensors_of(size: int) -> int:
    """How many tensors of that many numbers are in memory."""
    gc.collect()
    return sum(1 for each in gc.get_objects() if type(each) is torch.Tensor and each.numel() == size)


def test_what_an_encoder_has_made_goes_with_it() -> None:
    memory, old, new = Embeddings(4, [" "]), torch.nn.Identity(), torch.nn.Identity()
    for text in (" ", "a"):
        memory.of(old, object, {"prompt": text}, lambda: (torch.ones(12_347),))
    assert tensors_of(12_347) == 2
    del old
    memory.of(new, object, {"prompt": "b"}, lambda: (torch.ones(3),))
    assert tensors_of(12_347) == 0


# what stays, and how much


def asked(memory: Embeddings, encoder: torch.nn.Module, *texts: str, size: int = 1) -> str:
    """Those of the texts that had to be encoded, to so many numbers each."""
    made: list[str] = []

    def encode(text: str) -> tuple[torch.Tensor, ...]:
        made.append(text)
        return (torch.ones(size),)

    for text in texts:
        memory.of(encoder, object, {"prompt": [text]}, partial(encode, text))
    return "".join(made)


def test_the_text_that_was_used_longest_ago_goes_first() -> None:
    memory, encoder = Embeddings(2), torch.nn.Identity()
    assert asked(memory, encoder, *"abab") == "ab"
    assert asked(memory, encoder, *"acab") == "cb"


def test_their_bytes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings_module, "ENTRY_BYTES", 10 * 4)
    memory, encoder = Embeddings(4), torch.nn.Identity()
    assert asked(memory, encoder, *"abab", size=20) == "ab"
    assert asked(memory, encoder, *"cbca", size=20) == "ca"
    assert asked(memory, encoder, *"dd", size=41) == "dd", "what is larger than all of it is never kept"
    assert asked(memory, encoder, *"ca", size=20) == "", "and puts nothing out"


def test_pinned_texts_stay_whatever_else_is_encoded() -> None:
    memory, encoder = Embeddings(1, ["-"]), torch.nn.Identity()
    assert asked(memory, encoder, *"-a-b-cc") == "-abc"
    memory.clear()
    assert asked(memory, encoder, *"-c") == "-c"


@pytest.mark.parametrize("default", [" ", "blurred, 模糊"])
def test_the_default_negative_prompt_always_hits(miniature: Model, default: str) -> None:
    engine = opened(replace(miniature, negative_prompt=default), 1)
    for negative in (default, " "):
        painted(engine, negative_prompt=negative)
    for prompt in ("a star", "a boat", "a cat"):
        assert [read_for(engine, prompt=prompt, negative_prompt=each) for each in (default, "", default)] == [1, 0, 0]


def test_an_edit_s_negative_prompt_is_one_entry_for_its_pictures(miniature: Model) -> None:
    engine = opened(miniature, 2)
    assert [read_for(engine, [picture()]) for _ in range(2)] == [2, 0]
    assert read_for(engine, [picture("blue")]) == 2
    assert read_for(engine, [picture()]) == 2, "both gave way to the other picture's"


@pytest.mark.parametrize("given", [object(), torch.ones(1), [picture().convert("P")]], ids=["any", "tensor", "palette"])
def test_nothing_is_kept_of_what_no_key_can_stand_for(given: object) -> None:
    memory, encoder = Embeddings(4), torch.nn.Identity()
    for made in (torch.ones(1), torch.zeros(1)):
        assert memory.of(encoder, object, {"prompt": "a", "image": given}, partial(tuple, [made])) == (made,)


# failures, cancels, and attempts that spare memory


@pytest.mark.parametrize("fails_at", [1, 2])
def test_an_encoding_that_fails_is_not_kept(engine: QwenEngine, plain: QwenEngine, fails_at: int) -> None:
    calls: list[None] = []

    def fail(*_: object) -> None:
        calls.append(None)
        if len(calls) == fails_at:
            raise IndexError

    hook = engine._weights.parts(engine._models["miniature"], Precision.BF16)["text_encoder"].register_forward_hook(
        fail
    )
    try:
        with pytest.raises(StudioError, match="stopped with an error of its own"):
            painted(engine)
    finally:
        hook.remove()
    assert read_for(engine) == 3 - fails_at
    assert painted(engine) == painted(plain)


@pytest.mark.parametrize(("phase", "kept"), [("encoding", 2), ("denoising", 0)])
def test_a_cancelled_painting_leaves_whole_encodings_alone(
    engine: QwenEngine, plain: QwenEngine, phase: str, kept: int
) -> None:
    def cancel(said: str, step: int, steps: int) -> None:
        if said == phase:
            raise Cancelled

    with pytest.raises(Cancelled):
        list(engine.paint(a_plan(), [], cancel))
    assert read_for(engine) == kept
    assert painted(engine) == painted(plain)


def test_an_attempt_that_spares_memory_forgets_what_lies_in_the_same(engine: QwenEngine) -> None:
    painted(engine)
    with encodings(engine) as read:
        list(engine.paint(a_plan(seeds=(1, 2)), [], frugal=True))
    assert len(read) == 2


def test_a_text_encoder_that_was_put_away_stays_there_where_all_texts_are_known(
    engine: QwenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought: list[str] = []
    monkeypatch.setattr(sparing, "bring_back", lambda encoder, device: brought.append(device))
    painted(engine)
    assert brought == ["cpu", "cpu"]
    brought.clear()
    painted(engine)
    assert brought == []
    painted(engine, prompt="a star")
    assert brought == ["cpu"]


# the setting


@pytest.mark.parametrize(("embeddings", "count"), [(64, 0), (0, 2)])
def test_the_setting_says_how_many(miniature: Model, embeddings: int, count: int) -> None:
    engine = open_engine(Settings(embeddings=embeddings), {"miniature": miniature}, "cpu")
    assert isinstance(engine, QwenEngine)
    painted(engine)
    assert read_for(engine) == count


def only_models_and_device(models: object, device: str) -> str:
    """An opener as of old."""
    return device


def test_an_opener_without_settings_is_called_as_before() -> None:
    opener = f"{__name__}:{only_models_and_device.__name__}"
    opened: object = open_engine(Settings(engine=opener), {}, "cuda:7")
    assert opened == "cuda:7"
