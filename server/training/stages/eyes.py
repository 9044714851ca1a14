"""The text encoder's second stage: it learns to see the pictures of an edit, by naming what they show and will show."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from qwen_image_studio.models.families.qwen_image_edit import sides_for
from qwen_image_studio.models.table import MODELS
from training import parts
from training.data.edits import Edit, Kind, Stock, draw_edit, tell_edit
from training.data.prompts import LANGUAGES
from training.data.scenes import Scene, compose
from training.data.sprites import Atlas
from training.data.tensors import CLASSES
from training.stages.encoder import EncoderStage, right_answers
from training.stages.run import load_state, random_of
from training.stages.text import Prompter, Views, tokenizer_of
from training.stages.trained import put

KINDS = list(Kind)
EDIT_CLASSES = {
    "kind": len(KINDS),
    **{f"{name} before": size for name, size in CLASSES.items()},
    **{f"{name} after": size for name, size in CLASSES.items()},
}
JOIN_EVERY = 5  # steps; an edit with two pictures has other shapes and so a batch of its own
TALKED = 24  # prompts without pictures in each step, lest the words be forgotten


class Eyes:
    """Pictures as patches for the text encoder, by the way that the edit pipeline takes."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._processor = parts.build_image_processor()

    def views(self, scenes: Sequence[Scene]) -> Views:
        """Return the views of all scenes, one after the other."""
        pictures = [self._resized(Image.fromarray(compose(scene, self._atlas))) for scene in scenes]
        seen = self._processor(images=pictures, return_tensors="pt")
        return Views(seen["pixel_values"], seen["image_grid_thw"])

    def _resized(self, picture: Image.Image) -> Image.Image:
        model = MODELS["miniature"]
        size = sides_for(model.vision_pixels, picture.width / picture.height, model.input_grid)
        return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def draw_edits(rng: np.random.Generator, number: int, stock: Stock, count: int) -> list[Edit]:
    """Return edits for that step, all with one picture or all with two."""
    kinds = [Kind.JOIN] if number % JOIN_EVERY == 0 else [kind for kind in KINDS if kind is not Kind.JOIN]
    return [draw_edit(rng, stock, kinds) for _ in range(count)]


def tell_edits(rng: np.random.Generator, edits: Sequence[Edit]) -> list[str]:
    """Return the instructions of the edits, half of them in each language."""
    return [tell_edit(rng, edit, LANGUAGES[index % 2]) for index, edit in enumerate(edits)]


class EyesStage(EncoderStage):
    """Encoder and vision tower with heads on edits, beside those on prompts."""

    name = "eyes"
    rate = 1.5e-3
    classes = CLASSES | EDIT_CLASSES

    def __init__(self, run: Path, atlas: Atlas, stock: Stock, seed: int, steps: int, *, batch: int = 32) -> None:
        """`stock` is where the edits come from."""
        super().__init__(run, seed, steps, batch=batch)
        self._edit = Prompter(tokenizer_of(run), "edit")
        self._eyes, self._stock = Eyes(atlas), stock

    def _fresh(self, run: Path, tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
        encoder = parts.build_text_encoder(tokenizer)
        put(encoder, load_state(run, "transformer")["stage"]["mean"], "text_encoder.")
        return encoder

    def step(self, number: int) -> Mapping[str, float]:
        """Return one batch of edits and one of prompts."""
        rng = random_of(self._seed, self.name, number)
        edits = draw_edits(rng, number, self._stock, self._batch)
        views = self._eyes.views([scene for edit in edits for scene in edit.sources])
        tokens = self._edit.tokens(tell_edits(rng, edits), views.seen[: len(edits[0].sources)])
        seen, rightly_seen = self.heads(self._edit.encode(self.encoder, *tokens, views), edit_labels(edits))
        read, rightly_read = self._read(rng, TALKED)
        self._learn(seen + read, number)
        return {**rightly_seen, **rightly_read}


def edit_labels(edits: Sequence[Edit]) -> dict[str, torch.Tensor]:
    """Return the right class for each head: the kind of edit, and what the first picture and the result show."""
    before = right_answers([edit.sources[0] for edit in edits])
    after = right_answers([edit.target for edit in edits])
    kinds = torch.tensor([KINDS.index(edit.kind) for edit in edits], device=before["object"].device)
    return (
        {"kind": kinds}
        | {f"{name} before": label for name, label in before.items()}
        | {f"{name} after": label for name, label in after.items()}
    )
