"""What other servers call our parameters, and what of theirs we have not: their clients send all of it, always."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from qwen_image_studio.contract.errors import StudioError, likely_name, refusal
from qwen_image_studio.contract.words import MAX_SEED

_SAME: Mapping[str, tuple[str, ...]] = {
    "steps": ("steps", "num_inference_steps", "sampling_steps"),
    "guidance_scale": ("true_cfg_scale", "guidance_scale", "cfg_scale"),
}
"""Names of the same parameter; where several come at once, the first counts. What vLLM-Omni and SGLang call
guidance_scale is that of distilled models, if they send true_cfg_scale beside it."""
_WITHIN = ("kwargs", "extra_body")
"""Parameters that hold further ones: Xinference's, and that of OpenAI's client where somebody has sent it as it is."""
_NOT_HERE = frozenset({
    "complexity", "enable_teacache", "flow_shift", "generator_device", "guidance", "guidance_scale_2",
    "infer_align_image_size", "input_fidelity", "num_frames", "sample_method", "schedule_method", "scheduler",
})  # fmt: skip
"""Parameters of other servers for which there is nothing here."""
_MOST_NAMED = 12
"""Number of unknown parameters that are named; of more, it is told how many there are."""
_MOST_CHARS = 60


@dataclass
class Understood:
    """A request's parameters under our names."""

    params: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    """Sentences about what was ignored or taken as something else."""
    sent_as: dict[str, str] = field(default_factory=dict)
    """What a parameter was called by who sent it, where that is another name than ours."""

    def named_as_sent(self, error: StudioError) -> StudioError:
        """Return an error about a parameter with the name under which it was sent."""
        if error.param not in self.sent_as:
            return error
        name = self.sent_as[error.param]
        return StudioError(error.code, f"{name}{error.message.removeprefix(error.param)}", param=name)


def understood(body: Mapping[str, Any], known: Collection[str]) -> Understood:
    """Return the parameters of a request, of which we have the `known` ones. Raises StudioError.

    What is empty is left out. What is not known is ignored, with a warning that names it.
    """
    sent = _filled(body)
    for name in _WITHIN:
        sent = {**_filled(_within(sent.pop(name, None), name)), **sent}
    found = Understood(sent)
    for name, names in _SAME.items():
        _take_one_of(found, name, names)
    _read_size(found)
    _read_seed(found)
    _leave_out_others(found, known)
    return found


def _filled(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not empty: clients send empty texts, lists and null for what was left open."""
    return {
        name: value
        for name, value in body.items()
        if value is not None and value != [] and not (isinstance(value, str) and not value.strip())
    }


def _within(more: Any, name: str) -> Mapping[str, Any]:
    """Return the further parameters in an object, or in its JSON. Raises StudioError, which calls it `name`."""
    if isinstance(more, str):
        try:
            more = json.loads(more)
        except (ValueError, RecursionError):
            raise refusal(name, 'is not JSON; send an object such as {"steps": 20}') from None
    if not isinstance(more, dict | None):
        raise refusal(name, 'holds no object; send one such as {"steps": 20}')
    return more or {}


def _take_one_of(found: Understood, name: str, names: tuple[str, ...]) -> None:
    """Have a parameter that may be called by several names stand under ours."""
    sent = [each for each in names if each in found.params]
    values = {each: found.params.pop(each) for each in sent}
    if not sent:
        return
    found.params[name] = values[sent[0]]
    if sent[0] != name:
        found.sent_as[name] = sent[0]
    found.warnings += [
        f"{each} has no effect beside {sent[0]}, which says the same."
        for each in sent[1:]
        if values[each] != values[sent[0]]
    ]


def _read_size(found: Understood) -> None:
    """Have width and height stand alone: others' clients send a usual size beside them."""
    params = found.params
    target = params.pop("target_size", None)
    if isinstance(target, dict) and target.keys() >= {"width", "height"}:
        params.update({side: params.get(side, target[side]) for side in ("width", "height")})
    elif target is not None:
        raise refusal("target_size", 'is no size; send an object such as {"width": 1024, "height": 768}')
    if "width" in params and "height" in params and (size := params.pop("size", None)) is not None:
        width, height = params["width"], params["height"]
        if str(size).lower().replace("*", "x") not in {"auto", f"{width}x{height}"}:
            found.warnings.append(f"size {str(size)[:20]} has no effect beside width and height.")


def _read_seed(found: Understood) -> None:
    """Have a seed that is a word stand as a number: some clients draw letters."""
    seed = found.params.get("seed")
    if isinstance(seed, str) and not re.fullmatch(r"\s*-?[0-9]+\s*", seed):
        number = int.from_bytes(hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()[:8]) % (MAX_SEED + 1)
        found.params["seed"] = number
        found.warnings.append(f"seed {seed[:_MOST_CHARS]} is no number; it stands for {number}.")


def _leave_out_others(found: Understood, known: Collection[str]) -> None:
    others = [name for name in found.params if name not in known]
    for name in others:
        del found.params[name]
    if of_others := [name for name in others if name in _NOT_HERE]:
        found.warnings.append(f"Ignored, since nothing here goes by it: {', '.join(of_others)}.")
    unknown = [name for name in others if name not in _NOT_HERE]
    found.warnings += [_unknown(name, known) for name in unknown[:_MOST_NAMED]]
    if len(unknown) > _MOST_NAMED:
        found.warnings.append(f"So were {len(unknown) - _MOST_NAMED} more parameters.")


def _unknown(name: str, known: Collection[str]) -> str:
    shown = name[:_MOST_CHARS]
    likely = likely_name(shown, known)
    meant = f"did you mean '{likely}'?" if likely else "/openapi.json lists those there are."
    return f"'{shown}' is not a parameter here and was ignored; {meant}"
