"""Prompts as the pipelines feed them: the chat template around, its beginning dropped from what comes out."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from server.miniature.corpus import templates
from server.miniature.tokenizer import train_tokenizer

KEPT = 40  # tokens of a prompt and the template's end, at most; a fixed length compiles once
PER_PICTURE = 24  # more tokens for each picture that an edit shows: its name, its frame, sixteen of what is seen
SEEN = 16
NOTHING = " "  # the engine's own negative prompt


def tokenizer_of(run: Path) -> Qwen2Tokenizer:
    """The run's tokenizer; trained at its beginning and kept, because every later part depends on its numbers."""
    folder = run / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        train_tokenizer().save_pretrained(folder)
    return Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)


class Prompter:
    """Turns prompts into what the transformer sees of them."""

    def __init__(self, tokenizer: Qwen2Tokenizer, kind: str = "generate") -> None:
        self._tokenizer = tokenizer
        self._template, self._dropped = templates()[kind]

    def tokens(self, prompts: Sequence[str], pictures: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers of the tokens and which of them are none, each n x length; before each prompt so many pictures.

        Raises ValueError for a prompt that is longer than training allows for.
        """
        length = self._dropped + KEPT + PER_PICTURE * pictures
        shown = "".join(
            f"Picture {number + 1}: <|vision_start|>{'<|image_pad|>' * SEEN}<|vision_end|>"
            for number in range(pictures)
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
        patches: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoding after the dropped beginning (n x length x 192), and which of it is there (n x length).

        `patches` are those of all pictures, in the order in which the prompts show them.
        """
        seen: dict[str, torch.Tensor] = {}
        if patches is not None:
            pictures = len(patches) // (4 * SEEN)
            side = int((4 * SEEN) ** 0.5)
            seen["pixel_values"] = patches
            seen["image_grid_thw"] = torch.tensor([[1, side, side]] * pictures)
            # As the engine does, lest pictures get the positions of plain text.
            seen["mm_token_type_ids"] = (tokens == encoder.config.image_token_id).int()
        hidden = encoder.model(input_ids=tokens, attention_mask=there.long(), **seen).last_hidden_state
        return hidden[:, self._dropped :], there[:, self._dropped :]
