"""Prompts as the pipelines feed them: the chat template around, its beginning dropped from what comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from training.corpus import templates
from training.stages.run import DEVICE
from training.tokenizer import train_tokenizer

KEPT = 48  # tokens of a prompt and the template's end, at most; a fixed length compiles once
NAMED = 8  # more tokens for each picture that an edit shows: its name and its frame
NOTHING = " "  # the engine's own negative prompt


def tokenizer_of(run: Path) -> Qwen2Tokenizer:
    """Return the run's tokenizer, trained at its beginning and kept, since all later parts depend on its numbers."""
    folder = run / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        train_tokenizer().save_pretrained(folder)
    return Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)


class Prompter:
    """Turns prompts into what the transformer sees of them."""

    def __init__(self, tokenizer: Qwen2Tokenizer, kind: str = "generate") -> None:
        self._tokenizer = tokenizer
        self._template, self._dropped = templates()[kind]

    def tokens(self, prompts: Sequence[str], seen: Sequence[int] = ()) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers of the tokens and which of them are none, each n x length.

        Before each prompt stand pictures, of as many tokens as `seen` says. Raises ValueError for a prompt that is
        longer than training allows for.
        """
        length = self._dropped + KEPT + sum(seen) + NAMED * len(seen)
        shown = "".join(
            f"Picture {number}: <|vision_start|>{'<|image_pad|>' * count}<|vision_end|>"
            for number, count in enumerate(seen, 1)
        )
        texts = [self._template.format(shown + prompt) for prompt in prompts]
        batch = self._tokenizer(texts, padding="max_length", max_length=length, padding_side="right")
        if any(len(ids) > length for ids in batch.input_ids):
            raise ValueError(f"a prompt of more than {KEPT} tokens: {max(prompts, key=len)}")
        return torch.tensor(batch.input_ids), torch.tensor(batch.attention_mask).bool()

    def encode(
        self,
        encoder: Qwen2_5_VLForConditionalGeneration,
        tokens: torch.Tensor,
        there: torch.Tensor,
        views: "Views | None" = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the encoding after the dropped beginning (n x length x 192), and which of it is there (n x length).

        `views` are those of all pictures, in the order in which the prompts show them.
        """
        tokens, there = tokens.to(DEVICE), there.to(DEVICE)
        seen: dict[str, torch.Tensor] = {}
        if views is not None:
            seen["pixel_values"], seen["image_grid_thw"] = views.patches.to(DEVICE), views.grids.to(DEVICE)
            # As the engine does, lest pictures get the positions of plain text.
            seen["mm_token_type_ids"] = (tokens == encoder.config.image_token_id).int()
        hidden = encoder.model(input_ids=tokens, attention_mask=there.long(), **seen).last_hidden_state
        return hidden[:, self._dropped :], there[:, self._dropped :]


@dataclass(frozen=True)
class Views:
    """Pictures as the text encoder's eye takes them."""

    patches: torch.Tensor
    """Patches of all pictures, one after the other. (patches x 1176)"""
    grids: torch.Tensor
    """Number of moments, rows and columns of patches of each picture. (n x 3)"""

    @property
    def seen(self) -> list[int]:
        """Return the number of tokens of each picture: one for two by two patches."""
        return [int(grid.prod()) // 4 for grid in self.grids]
