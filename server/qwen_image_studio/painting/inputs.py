"""Texts and pictures of a plan, made safe for the pipelines and fitted to their limits."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from PIL import Image

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.layers import MIN_LAYERS
from qwen_image_studio.contract.references import Derive
from qwen_image_studio.contract.transparency import Background
from qwen_image_studio.contract.words import MIN_STEPS, Language, Way
from qwen_image_studio.imaging.edges import edges
from qwen_image_studio.models.known_words import vocabulary_of, without_unknown
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.plan import PaintPlan
from qwen_image_studio.prompts.cleaning import clean
from qwen_image_studio.prompts.directing import language_of
from qwen_image_studio.prompts.references import renamed, role_sentences

CLOSING_TOKENS = 5  # tokens of the chat template after the user's text; they count towards the pipelines' limit
MAX_TOLD = 200  # characters of the left-out words that a warning shows
MAX_SOURCE_ASPECT = 32  # long side divided by short side; beyond it a source shrinks to nothing on the grid


def check(plan: PaintPlan, images: Sequence[Image.Image]) -> None:
    """Raise StudioError ``invalid_value`` for what no model can do."""
    if plan.steps < MIN_STEPS:
        raise StudioError(
            "invalid_value",
            f"steps: at least {MIN_STEPS}; with one the schedule is 0/0 and the picture black.",
            param="steps",
        )
    if plan.way is Way.LAYERS and (len(images) != 1 or plan.layers < MIN_LAYERS):
        raise StudioError(
            "invalid_value",
            f"layers: one image is taken apart into {MIN_LAYERS} layers or more; send one, and ask for that many.",
            param="layers",
        )
    if plan.way is Way.EDIT and not images:
        raise StudioError("invalid_value", "image: an edit needs at least one image.", param="image")
    for image in images:
        if max(image.size) > MAX_SOURCE_ASPECT * min(image.size):
            raise StudioError(
                "invalid_value",
                f"image: {image.width}x{image.height} is longer than {MAX_SOURCE_ASPECT}:1; crop it.",
                param="image",
            )


def shown(plan: PaintPlan, model: Model, images: Sequence[Image.Image]) -> list[Image.Image]:
    """Return the plan's inputs as the model is shown them: maps in place of those of which one is to be made."""
    wished = [each.derive for each in plan.roles] + [None] * (len(images) - len(plan.roles))
    return [
        edges(image, model.input_pixels) if derive is Derive.EDGES else image
        for image, derive in zip(images, wished, strict=True)
    ]


def fit_texts(
    plan: PaintPlan, model: Model, tokenizer: Any, references: int = 0
) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Return prompt and negative prompt, without special tokens and within the model's limit, and the warnings.

    The prompt calls the `references` pictures as the model does, and what their roles say goes before it. Where a
    transparent picture is wanted it is in the words by which the family is asked for one.
    """
    limit = model.max_prompt_tokens[plan.way] - CLOSING_TOKENS
    texts: dict[str, str | None] = {}
    warnings: list[str] = []
    prompt, roles = clean(plan.prompt), ""
    if plan.way is Way.EDIT:
        prompt, roles = _referring(prompt, plan, model, references)
    if plan.way is not Way.EDIT and (words := vocabulary_of(model)) is not None:
        prompt, left_out = without_unknown(prompt, words)
        if left_out:
            warnings.append(f"The miniature left out what it knows no word of: '{'; '.join(left_out)[:MAX_TOLD]}'.")
    is_clear, family = plan.background is Background.TRANSPARENT, model.family(plan.way)
    around = family.transparent_prompt if is_clear and family.alpha else str
    limits = {"prompt": limit - _tokens_of(around(""), tokenizer), "negative_prompt": limit}
    for name, text in (("prompt", prompt), ("negative_prompt", negative_text(plan.negative_prompt))):
        before = roles if name == "prompt" else ""
        kept = shorten(text, max(1, limits[name] - _tokens_of(before, tokenizer)), tokenizer)
        texts[name] = before + kept
        if kept != text and (name == "prompt" or plan.guidance_scale > 1):  # else it is not read
            warnings.append(
                f"{name}: longer than the {limits[name]} tokens that {model.name} reads; "
                f"left out from '{text[len(kept) :].strip()[:40]}' on."
            )
    texts["prompt"] = around(texts["prompt"] or "")
    # At 1 guidance is meant to be off.
    if plan.guidance_scale <= 1:
        texts["negative_prompt"] = None
    return texts, tuple(warnings)


def _referring(prompt: str, plan: PaintPlan, model: Model, references: int) -> tuple[str, str]:
    """Return an instruction with the model's own names of the pictures, and what their roles put before it."""
    family, language = model.family(plan.way), language_of(prompt)
    name = partial(family.reference_name, language=language)
    roles = role_sentences(plan.roles, language, name)
    space = "" if language is Language.ZH or not roles else " "
    return renamed(prompt, references, name, only_marks=not family.marks_references), roles + space


def _tokens_of(text: str, tokenizer: Any) -> int:
    return len(tokenizer(text, add_special_tokens=False).input_ids) if text else 0


def negative_text(negative_prompt: str) -> str:
    """Return a negative prompt as it is encoded: never empty, since guidance would silently be off."""
    return clean(negative_prompt) or " "


def shorten(text: str, limit: int, tokenizer: Any) -> str:
    """Return the longest beginning of the text that has at most `limit` tokens."""
    while len(starts := tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping) > limit:
        text = text[: starts[limit][0]].rstrip()
    return text
