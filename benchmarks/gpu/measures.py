"""The rows of the measurement, most wanted first."""

import math
import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKLQwenImage
from peft import LoraConfig

from benchmarks.gpu.painting import TOKEN, Architecture, Painter, Picture, beside, random_transformer
from benchmarks.gpu.recording import Clock, Recorder
from qwen_image_studio.contract.words import Tier
from qwen_image_studio.loading.fp8 import multiplies_fp8, to_fp8
from qwen_image_studio.loading.preparing import Preparation, prepare, prepared
from qwen_image_studio.models.architectures import DoubleStream
from qwen_image_studio.models.cards import find_card
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.models.tiers import QWEN_IMAGE, Recipe, StepCache
from qwen_image_studio.painting.canvas import PassInput
from qwen_image_studio.painting.hooks import Call
from qwen_image_studio.painting.step_cache import Skipping
from tests.support.plans import a_plan

GIB = 2**30
TARGETS: Mapping[str, float] = {
    "quality": 11.7, "quality in fp8": 8.7, "balanced": 4.5, "turbo": 1.2, "draft": 0.5,
}  # fmt: skip
"""Seconds of a picture of 1024 x 1024 (draft: 768 x 768) that were calculated for an H100."""
_TURNS = 2
_RANK = 64  # that of Lightning's LoRAs
_ADAPTED = (
    "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
    "img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2", "img_mod.1", "txt_mod.1",
)  # fmt: skip
_SKIPPED_SHARE = 0.5
"""Share of the steps that a step cache is taken to skip, where weights are random and none can be counted."""
_NEVER, _ALWAYS = StepCache(0.0, first=1, last=0), StepCache(math.inf, first=1, last=0)
"""Rules by which no step is skipped, and every one that is timed."""


@dataclass
class Bench:
    """The machine, and where the rows go."""

    recorder: Recorder
    device: str
    dtype: torch.dtype
    architecture: Architecture
    sides: tuple[int, int, int]
    """Sides in pixels of the usual picture, of a large and of a small one."""
    backend: str
    steps: int = 5
    """Steps that are timed, besides the first."""
    clock: Clock = field(init=False)
    matmul: float = 0.0
    """FLOP/s of a large product of matrices."""

    def __post_init__(self) -> None:
        self.clock = Clock(self.device)

    @property
    def cuda(self) -> bool:
        """Return whether there is a card."""
        return self.device.startswith("cuda")

    @property
    def network(self) -> DoubleStream:
        """Return the architecture as the roofline counts it."""
        shape = self.architecture
        return DoubleStream(
            layers=shape["num_layers"],
            heads=shape["num_attention_heads"],
            head_dim=shape["attention_head_dim"],
            text_width=shape["joint_attention_dim"],
        )

    def flops(self, picture: Picture, recipe: Recipe) -> float:
        """Return the FLOPs of a step."""
        texts = picture.texts if recipe.guidance_scale > 1 else picture.texts[:1]
        return sum(self.network.flops(picture.own + picture.seen + text) for text in texts)

    def keep(self, name: str, picture: Picture, recipe: Recipe, times: list[float], **more: Any) -> float:
        """Write a row of measured steps, and return the median in seconds."""
        median = statistics.median(times)
        rate = self.flops(picture, recipe) / median
        card = find_card(torch.cuda.get_device_name()) if self.cuda else None
        self.recorder.row(
            name,
            picture=str(picture),
            step_ms=round(1000 * median, 2),
            spread=round((max(times) - min(times)) / median, 3),
            tflops=round(rate / 1e12, 2),
            of_peak=round(rate / (card.bf16 * 1e12), 3) if card else None,
            of_matmul=round(rate / self.matmul, 3) if self.matmul else None,
            peak_gib=round(torch.cuda.max_memory_allocated() / GIB, 2) if self.cuda else None,
            **more,
        )
        return median

    def measure(self, name: str, painter: Painter, picture: Picture, recipe: Recipe, **more: Any) -> float:
        """Measure steps after two that are not counted, write the row, and return the median in seconds."""
        painter.steps(picture, recipe, 2)
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        return self.keep(name, picture, recipe, painter.steps(picture, recipe, self.steps), **more)

    def in_turns(self, painters: Mapping[str, Painter], picture: Picture, recipe: Recipe) -> dict[str, float]:
        """Measure several painters one after the other, round after round; return their medians in seconds."""
        times: dict[str, list[float]] = {name: [] for name in painters}
        for painter in painters.values():
            painter.steps(picture, recipe, 2)
        for _ in range(_TURNS):
            for name, painter in painters.items():
                times[name] += painter.steps(picture, recipe, self.steps)
        return {name: self.keep(name, picture, recipe, found, turns=_TURNS) for name, found in times.items()}


def machine(bench: Bench) -> None:
    """Tell what the card is, and what it does at its best."""
    name = torch.cuda.get_device_name() if bench.cuda else "processor"
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    bench.recorder.row("machine", device=name, numbers=str(bench.dtype), **versions)
    side = 8192 if bench.cuda else 256
    one, other = (torch.randn(side, side, device=bench.device).to(bench.dtype) for _ in range(2))
    bench.matmul = bench.clock.rate(lambda: one @ other, 2.0 * side**3)
    bench.recorder.row("matrix products", side=side, tflops=round(bench.matmul / 1e12, 3))
    source = torch.empty(GIB if bench.cuda else 2**20, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    rate = bench.clock.rate(lambda: target.copy_(source), 2.0 * source.numel())
    bench.recorder.row("copies", tb_s=round(rate / 1e12, 3))


def painter_of(bench: Bench, transformer: Any, rule: StepCache | None = None) -> Painter:
    """Return how the engine calls a transformer that has been made ready: by its tables, and with a step cache."""
    skipping, ready = Skipping(rule), prepared(transformer)

    @contextmanager
    def calling(scheduler: Any, steps: int) -> Iterator[None]:
        pipeline = SimpleNamespace(transformer=transformer, scheduler=scheduler)
        call = Call(a_plan(steps=steps), MODELS["Qwen-Image"], pipeline, {}, PassInput((TOKEN, TOKEN), ()), 0, 0)
        with ExitStack() as stack:
            if ready is not None:
                stack.enter_context(ready.calling(scheduler))
            stack.callback(skipping.end)
            skipping.begin(call)
            yield

    def stepped() -> None:
        skipping.step(0, torch.empty(0))

    return Painter(transformer, bench.clock, calling, stepped)


def built(bench: Bench) -> Any:
    """Return the transformer as diffusers makes it."""
    made = random_transformer(bench.architecture, bench.device, bench.dtype)
    numbers = sum(each.numel() for each in made.parameters())
    bench.recorder.row("built", billions=round(numbers / 1e9, 3), gib=round(numbers * bench.dtype.itemsize / GIB, 2))
    return made


def made_ready(bench: Bench, transformer: Any) -> None:
    """Make the transformer ready as the engine does, which compiles its blocks."""
    began = bench.recorder.left_s
    prepare(transformer, bench.dtype, Preparation(compiles=True, backend=bench.backend))
    ready = prepared(transformer)
    compiled = ready is not None and ready.compiled is not None and ready.compiled.is_on
    bench.recorder.row("made ready", seconds=round(began - bench.recorder.left_s, 1), compiled=compiled)


def quality(bench: Bench, ours: Any) -> None:
    """Measure the largest tier with plain diffusers in turns, then at other sizes and with sources."""
    usual, large, small = (Picture(side, side) for side in bench.sides)
    recipe = QWEN_IMAGE[Tier.QUALITY]
    plain = Painter(beside(ours, bench.architecture), bench.clock)
    with bench.recorder.going_on("made ready"):
        made_ready(bench, ours)
    painter = painter_of(bench, ours)
    with bench.recorder.going_on("quality"):
        found = bench.in_turns({"plain diffusers": plain, "quality": painter}, usual, recipe)
        seconds(bench, "quality", recipe, found["quality"])
    for picture in (large, small, *(Picture(usual.width, usual.height, (usual.width,) * count) for count in (1, 2, 3))):
        if bench.recorder.can(f"quality, {picture}", 25):
            with bench.recorder.going_on(f"quality, {picture}"):
                bench.measure(f"quality, {picture}", painter, picture, recipe)


def seconds(bench: Bench, name: str, recipe: Recipe, step_s: float, **more: Any) -> None:
    """Write a row with the seconds that all steps of a picture take, beside what was calculated for an H100."""
    taken = recipe.steps * step_s
    of_target = round(taken / TARGETS[name], 2) if bench.cuda else None
    bench.recorder.row(f"{name}: a picture", steps=recipe.steps, seconds=round(taken, 2), of_target=of_target, **more)


def distilled(bench: Bench, transformer: Any) -> None:
    """Measure the distilled tiers: a LoRA as large as Lightning's, on the weights as they are, one pass a step."""
    with bench.recorder.going_on("LoRA"):
        transformer.add_adapter(LoraConfig(r=_RANK, lora_alpha=_RANK, target_modules=list(_ADAPTED)), "lightning")
        transformer.requires_grad_(False)
        numbers = sum(each.numel() for name, each in transformer.named_parameters() if "lora_" in name)
        bench.recorder.row("LoRA", rank=_RANK, millions=round(numbers / 1e6, 1))
        painter = painter_of(bench, transformer)
        for tier, side in ((Tier.TURBO, bench.sides[0]), (Tier.DRAFT, bench.sides[2])):
            if bench.recorder.can(tier.value, 40):
                with bench.recorder.going_on(tier.value):
                    recipe = QWEN_IMAGE[tier]
                    step_s = bench.measure(tier.value, painter, Picture(side, side), recipe)
                    seconds(bench, tier.value, recipe, step_s)
        transformer.delete_adapters("lightning")


def balanced(bench: Bench, transformer: Any) -> None:
    """Measure fp8, and with it steps that the cache skips and steps that it does not."""
    recipe, picture = QWEN_IMAGE[Tier.BALANCED], Picture(bench.sides[0], bench.sides[0])
    with bench.recorder.going_on("fp8"):
        changed = to_fp8(transformer)
        if bench.cuda:
            torch.cuda.empty_cache()
        ready = prepared(transformer)
        if ready is not None:
            ready.warm_up()
        multiplied = multiplies_fp8(bench.device)
        whole = bench.measure(
            "fp8", painter_of(bench, transformer), picture, recipe, layers=changed, multiplied=multiplied
        )
        seconds(bench, "quality in fp8", recipe, whole)
    if bench.recorder.can("balanced", 25):
        with bench.recorder.going_on("balanced"):
            checked = bench.measure(
                "a step that is checked and runs", painter_of(bench, transformer, _NEVER), picture, recipe
            )
            skipped = bench.measure("a step that is skipped", painter_of(bench, transformer, _ALWAYS), picture, recipe)
            step_s = checked + _SKIPPED_SHARE * (skipped - checked)
            seconds(bench, "balanced", recipe, step_s, skipped_share=_SKIPPED_SHARE)


def decoding(bench: Bench) -> None:
    """Measure the VAE's decoder, whole and in tiles."""
    architecture = {} if bench.cuda else {"base_dim": 8, "num_res_blocks": 1}
    before = torch.get_default_dtype()
    torch.set_default_dtype(bench.dtype)
    try:
        with torch.device(bench.device):
            vae = AutoencoderKLQwenImage(**architecture).eval()
    finally:
        torch.set_default_dtype(before)
    for side, tiled in ((bench.sides[0], False), (bench.sides[1], False), (2 * bench.sides[0], True)):
        with bench.recorder.going_on("VAE"), torch.no_grad():
            vae.use_tiling = tiled
            latents = torch.randn(1, 16, 1, side // 8, side // 8, device=bench.device, dtype=bench.dtype)
            vae.decode(latents)
            held = torch.cuda.memory_allocated() if bench.cuda else 0
            if bench.cuda:
                torch.cuda.reset_peak_memory_stats()
            first = bench.clock.mark()
            vae.decode(latents)
            taken = bench.clock.between(first, bench.clock.mark())
            working = round((torch.cuda.max_memory_allocated() - held) / GIB, 2) if bench.cuda else None
            bench.recorder.row(
                "VAE", picture=f"{side}x{side}", tiled=tiled, ms=round(1000 * taken, 1), working_gib=working
            )


def everything(bench: Bench) -> None:
    """Measure it all."""
    machine(bench)
    with bench.recorder.going_on("the transformer"):
        transformer = built(bench)
        quality(bench, transformer)
        if bench.recorder.can("distilled tiers", 60):
            distilled(bench, transformer)
        if bench.recorder.can("fp8", 60):
            balanced(bench, transformer)
        del transformer
    if bench.recorder.can("VAE", 20):
        decoding(bench)
