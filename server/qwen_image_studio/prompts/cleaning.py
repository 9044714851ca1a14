"""A user's text, made safe for a chat template."""

import re

# Qwen's special tokens are all written <|name|>; inside a prompt they would rewrite the pipelines' chat template
# or be taken for a picture.
_SPECIAL_TOKEN = re.compile(r"<\|[^<>|]*\|>")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def has_chinese(text: str) -> bool:
    """Return whether the text has a Chinese character (CJK Unified Ideographs)."""
    return any("一" <= letter <= "鿿" for letter in text)


def clean(text: str) -> str:
    """Return the text without control characters and special tokens; repeated, since removing one can form another."""
    text = _CONTROL.sub("", text)
    while (shorter := _SPECIAL_TOKEN.sub("", text)) != text:
        text = shorter
    return text.strip()
