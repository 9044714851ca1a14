"""Keys of pictures: hashes of all that decides what a job's pictures are, by which equal requests are known.

What a key is made of is the plan, in which all defaults are filled in, and beside it what no plan tells: the pixels of
the inputs, the weights, the settings that change a file or who may see it. So a new field of a plan is in it by itself;
what a new setting changes has to be named in `Circumstances`.
"""

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from qwen_image_studio.contract.words import Policy, Prompts
from qwen_image_studio.credentials import signer
from qwen_image_studio.guard.bands import Thresholds
from qwen_image_studio.planning.plan import AdjustPlan, PaintPlan
from qwen_image_studio.prompts.alike import alike
from qwen_image_studio.settings import Settings

RECIPE = 3
"""Count it up with every change after which the same plan gives another picture: of engines, of what is done to their
pictures, of files. Pictures of before then answer nothing any more."""
_SEEDS = "seeds"


@dataclass(frozen=True)
class Circumstances:
    """What decides pictures, or whether they are given out, beside a request and its inputs."""

    revision: str
    """The model's weights on this machine; empty where no model paints."""
    policy: Policy
    thresholds: str
    """Which scores of the classifier do what (`Thresholds.version`)."""
    review_change: float | None
    engine: str
    mark: str
    font: str
    """What tells the operator's font from others; empty without one."""
    producer: str
    keeps_prompts: bool
    """Whether files carry their prompts."""
    credentials: str = ""
    """What tells the certificate that signs files from others, and whether signatures are time-stamped; empty where
    files are not signed."""
    recipe: int = RECIPE

    @classmethod
    def of(cls, settings: Settings, policy: Policy, revision: str) -> Self:
        """Return those of a server, for the weights of a revision and a key with that policy."""
        return cls(
            revision=revision,
            policy=policy,
            thresholds=Thresholds.of(settings).version,
            review_change=settings.review_change,
            engine=settings.engine,
            mark=settings.mark,
            font=_told(settings.font),
            producer=settings.label_producer,
            keeps_prompts=settings.prompts is Prompts.KEPT,
            credentials=signer(settings),
        )


class Keys(NamedTuple):
    """The keys of a job's pictures; the seeds are told beside them, and only their number is within."""

    exact: str
    """Equal where the pictures are."""
    similar: str
    """Equal also where prompts differ in nothing that can be seen (`prompts.alike`)."""


def keys_of(operation: str, plan: PaintPlan | AdjustPlan, inputs: Sequence[str], about: Circumstances) -> Keys:
    """Return the keys of what a plan makes of inputs, each of which is told by a hash."""
    planned = plan.model_dump(mode="json")
    seeds = planned.pop(_SEEDS, ())
    whole = {
        "operation": operation,
        "plan": {name: _composed(value) for name, value in planned.items()},
        "variant": str(plan.variant or ""),
        "seeds": len(seeds),
        "inputs": list(inputs),
        **asdict(about),
    }
    return Keys(_hash(whole), _hash({**whole, "plan": {**whole["plan"], "prompt": None}, "alike": alike(plan.prompt)}))


def _composed(value: Any) -> Any:
    """Return a text in the form in which models read it, in which an accented letter is one sign; all else as it is."""
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _told(font: Path | None) -> str:
    """Return what changes with a font file, without reading it."""
    if font is None:
        return ""
    try:
        about = font.stat()
    except OSError:
        return str(font)
    return f"{font} {about.st_size} {about.st_mtime_ns}"
