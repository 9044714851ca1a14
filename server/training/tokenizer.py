"""The miniature's own tokenizer: byte-level BPE, trained here in a second on the corpus beside this file."""

import json

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from training.corpus import lines, templates

VOCABULARY = 2048  # 256 bytes, merges, special tokens
SPECIAL_TOKENS = tuple(
    f"<|{name}|>"
    for name in (
        "endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end "
        "vision_start vision_end vision_pad image_pad video_pad"
    ).split()
)


def train_tokenizer() -> Qwen2Tokenizer:
    """Return a Qwen2 tokenizer of 2048 tokens in which the chat templates have the lengths that the pipelines count on.

    Raises RuntimeError when the corpus does not yield such a tokenizer.
    """
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.decoder = decoders.ByteLevel()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(lines(), trainer)
    learned = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(merge) for merge in learned["merges"]],
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        model_max_length=4096,
    )
    _check(tokenizer)
    return tokenizer


def _check(tokenizer: Qwen2Tokenizer) -> None:
    if len(tokenizer) != VOCABULARY:
        raise RuntimeError(f"the corpus gave {len(tokenizer)} tokens, not {VOCABULARY}")
    for name, (template, dropped) in templates().items():
        prefix = template.partition("{}")[0]
        if (count := len(tokenizer(prefix).input_ids)) != dropped:
            raise RuntimeError(f"the {name} template starts with {count} tokens, and the pipeline drops {dropped}")
