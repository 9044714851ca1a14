"""``python -m benchmarks.gpu.calculated``: the table of docs/performance.md, which is calculated and not measured."""

from collections.abc import Iterator, Sequence

from qwen_image_studio.contract.words import Precision, Tier
from qwen_image_studio.host.forecast import calculated
from qwen_image_studio.loading.memory import MemoryPlan, machine_of, plan_memory
from qwen_image_studio.models.cards import CARDS, Card
from qwen_image_studio.models.footprints import Place, Stored
from qwen_image_studio.models.roofline import within
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import Device

SERVED = ("Qwen-Image", "Qwen-Image-Edit-2509")
SIZE = (1024, 1024)
GIB: Sequence[tuple[str, float]] = (
    ("H200", 139.8), ("H100", 79.1), ("A100 80 GB", 79.2), ("L40S", 44.5), ("RTX 5090", 31.4), ("RTX 4090", 23.5),
    ("A10G", 22.1),
)  # fmt: skip
"""Cards, and the memory that the driver gives of each."""


def table() -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    yield f"| card | what is loaded | peak, GiB | {' | '.join(f'{name}: {tiers()}' for name in SERVED)} |"
    yield f"|---|---|---|{'---|' * len(SERVED)}"
    for name, gib in GIB:
        card = next(each for each in CARDS if each.name == name)
        models = {model: MODELS[model] for model in SERVED}
        # A machine with plenty of memory, as one would put beside such a card.
        device = Device("cuda:0", name, gib, gib, card.capability)
        plan = plan_memory(models, machine_of(device, Settings(data_dir="data", models=SERVED)))
        if plan is not None:
            seconds = " | ".join(" / ".join(seconds_of(model, plan, card)) for model in SERVED)
            yield f"| {name}, {gib:g} GiB | {loaded(plan)} | {plan.peak_gib:.1f} | {seconds} |"


def tiers() -> str:
    """Return the names of the tiers as they stand in a row."""
    return " / ".join(tier.value for tier in Tier)


def seconds_of(name: str, plan: MemoryPlan, card: Card) -> Iterator[str]:
    """Yield the seconds of one picture at each tier."""
    model = MODELS[name]
    for tier in Tier:
        recipe = model.recipe(tier)
        seconds = calculated(model, recipe, within(SIZE, recipe.max_pixels), plan, card)
        yield f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def loaded(plan: MemoryPlan) -> str:
    """Return what lies on the card, in a few words."""
    both = "both" if plan.together else "one at a time"
    narrow = "" if plan.narrow is None else f"; where a tier asks for fp8: {_stored(plan.narrow)}"
    encoder = {Place.CARD: "bf16", Place.CARD_FP8: "fp8", Place.STREAMED: "brought in for its turn"}[plan.encoder]
    return f"{both}: transformer {_stored(plan.base)}{narrow}; encoder {encoder}"


def _stored(stored: Stored) -> str:
    form = "as its file" if stored.precision is None else Precision(stored.precision).value
    streamed = ", block by block" if stored.place is Place.STREAMED else ""
    return f"{form}{', tables' if stored.tables else ''}{streamed}"


if __name__ == "__main__":
    print("\n".join(table()))
