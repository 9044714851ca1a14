"""What a job read and painted, counted as OpenAI's clients expect it: some fail without the figures."""

import math
from collections.abc import Sequence

from qwen_image_studio.contract.openai import InputTokens, Usage
from qwen_image_studio.jobs import Job, StoredImage

PATCH = 16
"""Side in pixels of what the models work on as one token: the VAE's factor of 8, in patches of 2x2."""
CHARS_PER_TOKEN = 4
"""Number of letters to a token, roughly; Chinese and Japanese have one character to a token."""


def usage_of(job: Job, inputs: Sequence[StoredImage], painted: Sequence[StoredImage], sent: str = "") -> Usage:
    """Return the figures of a job, for those of its images that are `painted`; `sent` is the prompt as it was sent,
    which counts where the job's own is not kept.
    """
    said = [str(job.plan.get("prompt") or sent), str(job.plan.get("negative_prompt") or "")]
    texts = sum(map(_text_tokens, said))
    images = sum(map(_image_tokens, inputs))
    output = sum(map(_image_tokens, painted))
    return Usage(
        input_tokens=texts + images,
        input_tokens_details=InputTokens(text_tokens=texts, image_tokens=images),
        output_tokens=output,
        total_tokens=texts + images + output,
    )


def _image_tokens(image: StoredImage) -> int:
    return math.ceil(image.width / PATCH) * math.ceil(image.height / PATCH)


def _text_tokens(text: str) -> int:
    wide = sum(letter >= "\u2e80" for letter in text)
    return wide + math.ceil((len(text) - wide) / CHARS_PER_TOKEN)
