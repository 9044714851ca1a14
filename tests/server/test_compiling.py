"""Compiled blocks: one graph for every size, text and number of sources; the same bytes; never a failed job."""

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from torch._dynamo.utils import counters

from qwen_image_studio.contract.words import Compile
from qwen_image_studio.loading import compiling as compiling_module
from qwen_image_studio.loading.compiling import Compiled, keep_compiled
from qwen_image_studio.loading.placing import stream
from qwen_image_studio.loading.preparing import UNCOMPILED, Preparation, Prepared, preparation_for, prepare, prepared
from qwen_image_studio.models.table import Model
from qwen_image_studio.painting.qwen import QwenEngine
from qwen_image_studio.settings import Settings
from tests.support.pictures import picture
from tests.support.plans import painted
from tests.support.transformers import SIZES, denoised, equal, forward, given, scheduled, tiny

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_compiled")
EAGER = Preparation(compiles=True, backend="eager")
"""Everything that compiling does but for making machine code."""
ASKED: list[dict[str, Any]] = [
    {"size": size, "words": words, "references": references}
    for size, words, references in product(SIZES, (3, 7, 32), range(4))
]


@pytest.fixture
def nothing_compiled() -> Iterator[None]:
    """A compiler that remembers nothing of other tests, before and after."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def graphs() -> int:
    """Graphs that have been compiled."""
    return int(counters["stats"]["unique_graphs"])


def ready(dtype: torch.dtype = torch.float32, preparation: Preparation = EAGER, **kind: Any) -> tuple[Any, Prepared]:
    """A transformer that has been made ready."""
    own = tiny(dtype, **kind)
    prepare(own, dtype, preparation)
    made = prepared(own)
    assert made is not None
    return own, made


def is_on(made: Prepared) -> bool:
    """Whether the transformer runs compiled."""
    return made.compiled is not None and made.compiled.is_on


@pytest.mark.parametrize(
    ("dtype", "zero_cond_t"), [(torch.float32, False), (torch.bfloat16, True)], ids=["float32-2509", "bfloat16-2511"]
)
def test_one_graph_serves_every_size_text_and_number_of_sources(dtype: torch.dtype, zero_cond_t: bool) -> None:
    stock = tiny(dtype, zero_cond_t=zero_cond_t)
    own, made = ready(dtype, zero_cond_t=zero_cond_t)
    assert graphs() == 1  # by the warm-up
    assert equal([forward(own, dtype, **each) for each in ASKED], [forward(stock, dtype, **each) for each in ASKED])
    with made.calling(scheduler := scheduled()):
        assert equal(denoised(own, scheduler, dtype), denoised(stock, scheduled(), dtype))
    assert (graphs(), dict(counters["graph_break"]), is_on(made)) == (1, {}, True)


def test_another_thread_than_the_one_that_warmed_up_needs_no_further_graph() -> None:
    own, _ = ready()
    with ThreadPoolExecutor(1) as other:  # 16 tokens are half a head, 64 the width
        answers = list(other.map(lambda asked: forward(own, **asked), ASKED[:16] + ASKED[36:48]))
    assert len(answers) == 28
    assert graphs() == 1


def test_the_first_call_of_another_thread_compiles_for_every_shape() -> None:
    own = tiny()
    Compiled(own, backend="eager")
    with ThreadPoolExecutor(1) as other:
        list(other.map(lambda asked: forward(own, **asked), ASKED[:16] + ASKED[36:48]))
    assert graphs() == 1


def test_off_and_on_again_compiles_nothing_anew() -> None:
    own, made = ready()
    assert made.compiled is not None
    ran: list[str] = []
    own.transformer_blocks[0].img_norm1.register_forward_pre_hook(lambda *_: ran.append("eager"))
    made.warm_up()
    known, ran[:] = graphs(), []
    before = forward(own)
    for on in (False, True, True, False, False, True):
        made.compiled.switch(on=on)
        assert torch.equal(forward(own), before)
        assert is_on(made) is on
    assert graphs() == known


def test_without_what_makes_shapes_free_the_limit_of_graphs_is_an_error() -> None:
    own = tiny()
    for block in own.transformer_blocks:
        block.compile(backend="eager", fullgraph=True, dynamic=False)
    with torch._dynamo.config.patch(recompile_limit=2):
        for words in (3, 4):
            forward(own, words=words)
        with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
            forward(own, words=5)


def test_more_graphs_than_there_may_be_make_blocks_run_uncompiled(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock, (own, made) = tiny(), ready()
    monkeypatch.setattr(compiling_module, "GRAPHS", 1)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with torch.enable_grad():  # which is a graph of its own
                answer = own(**given())[0]
            assert torch.equal(answer.detach(), forward(stock))
    assert not is_on(made)
    assert caplog.text.count("run uncompiled from now on") == 1


def refusing(graph: Any, examples: Any) -> Any:
    """A compiler without a C compiler."""
    raise RuntimeError("Failed to find C compiler.")


def failing(graph: Any, examples: Any) -> Callable[..., Any]:
    """A compiler whose code the device refuses."""

    def run(*_: Any) -> Any:
        raise RuntimeError("out of resource: shared memory")

    return run


@pytest.mark.parametrize(
    ("backend", "said"), [(refusing, "Failed to find C compiler."), (failing, "out of resource: shared memory")]
)
def test_a_compiler_that_fails_at_the_start_costs_speed_and_no_job(
    backend: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        own, made = ready(preparation=Preparation(compiles=True, backend=backend))
    assert not is_on(made)
    assert "the transformer's blocks run uncompiled from now on" in caplog.text
    assert said in caplog.text
    assert torch.equal(forward(own), forward(tiny()))


def test_a_compiler_that_fails_within_a_job_costs_speed_and_no_job() -> None:
    own = tiny()
    compiled = Compiled(own, backend=refusing)  # not warmed up
    assert torch.equal(forward(own), forward(tiny()))
    assert not compiled.is_on


def test_a_lack_of_memory_at_the_start_is_told_as_such() -> None:
    def run(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        ready(preparation=Preparation(compiles=True, backend=lambda graph, examples: run))


def test_blocks_whose_weights_stream_through_the_device_are_not_compiled() -> None:
    own = tiny()
    stream(own, "cpu", blocks=True, keep=True)
    prepare(own, torch.float32, EAGER)
    assert torch.equal(forward(own), forward(tiny()))
    assert graphs() == 0


def test_weights_that_stream_later_leave_what_is_compiled() -> None:
    own, made = ready()
    stream(own, "cpu", blocks=True, keep=True)
    assert torch.equal(forward(own, words=9), forward(tiny(), words=9))
    assert (graphs(), is_on(made)) == (1, True)


def test_a_lora_is_compiled_when_it_is_warmed_up() -> None:
    stock, (own, made) = tiny(), ready()
    for transformer in (stock, own):
        torch.manual_seed(1)
        kind = LoraConfig(r=2, target_modules=["img_mod.1", "to_q", "img_mlp.net.2"], init_lora_weights=False)
        transformer.add_adapter(kind)
    made.warm_up()
    with_lora = graphs()
    assert with_lora > 1
    assert equal([forward(own, **each) for each in ASKED[:20]], [forward(stock, **each) for each in ASKED[:20]])
    for transformer in (stock, own):
        transformer.disable_lora()
    made.warm_up()
    without = graphs()
    assert torch.equal(forward(own), forward(stock))
    own.enable_lora()
    forward(own)
    assert (graphs(), is_on(made)) == (without, True)


def test_compiling_changes_no_picture(miniature: Model, engine: QwenEngine) -> None:
    row = replace(miniature, input_pixels=64 * 64)
    compiled = QwenEngine({row.name: row}, "cpu", preparation=EAGER)
    for images in ((), (picture(),), (picture(), picture("blue"))):
        assert painted(compiled, images) == painted(engine, images)
    assert graphs() == 1


@pytest.mark.parametrize(
    ("asked", "device", "compiles"),
    [
        (Compile.AUTO, "cpu", False),
        (Compile.AUTO, "cuda:1", True),
        (Compile.AUTO, "mps", False),
        (Compile.ON, "cpu", True),
        (Compile.OFF, "cuda:0", False),
    ],
)
def test_the_setting_decides(
    asked: Compile, device: str, compiles: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert preparation_for(Settings(compile=asked, data_dir=tmp_path), device) == Preparation(compiles=compiles)
    kept = os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
    assert kept == (str(tmp_path / "compiled") if compiles else None)


def test_a_folder_that_the_operator_names_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/var/cache/studio")
    keep_compiled(tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/var/cache/studio"


def test_a_transformer_is_made_ready_once_and_one_of_another_kind_not() -> None:
    own, made = ready(preparation=UNCOMPILED)
    prepare(own, torch.float32, UNCOMPILED)
    assert prepared(own) is made
    other = torch.nn.Linear(1, 1)
    prepare(other, torch.float32, EAGER)
    assert prepared(other) is None
