"""Saying a text in a language: the plugin's own ones, and messages of the server sentence by sentence."""

import re
from collections.abc import Mapping
from functools import cache

from tools.wishes import Language
from tools.words.own import OWN
from tools.words.servers import SERVERS

CHINESE: Mapping[str, str] = {**OWN, **SERVERS}

_OF_MANY_WORDS = {"what", "state", "names", "scope", "scopes", "command", "strange", "words"}
"""Names in braces that stand for more than one word."""
_LISTED = r"(?:[^.]|\.(?=\S))+?"
"""Pattern of names that may have full stops in them, such as 2.1."""
_QUOTED = {
    "text": "[^“”]+?",
    "why": "[^;]+?",
    "parts": ".+?",
    "json": r"\[.+?\]",
    **dict.fromkeys(("there", "others", "licence", "odd"), _LISTED),
}
"""What else stands for the names in braces that hold any sign but those."""


def said(language: Language, english: str, **values: object) -> str:
    """Return a text in a language, with its names in braces filled in. One that is not in CHINESE stays English."""
    text = CHINESE.get(english, english) if language == "zh" else english
    return text.format(**values) if values else text


def translated(message: str, language: Language) -> str:
    """Return a message with all sentences of it that are known in another language, and the others as they are."""
    if language == "en":
        return message
    found, rest = "", message
    while rest:
        taken = next((match for pattern in _patterns() if (match := pattern.match(rest))), None)
        if taken is None:
            here = re.match(r".*?[.:;](?:\s+|$)|.+", rest, re.DOTALL)
            found += here.group() if here else rest
            rest = rest[here.end() :] if here else ""
            continue
        english = _patterns()[taken.re]
        found += CHINESE[english].format(**taken.groupdict())
        rest = rest[taken.end() :]
    return found.strip()


@cache
def _patterns() -> Mapping[re.Pattern[str], str]:
    """Return the patterns of all sentences, the longest first, each with the sentence."""
    sentences = sorted((text for text in CHINESE if text.endswith((".", ": ", "; "))), key=len, reverse=True)
    return {re.compile(_pattern(sentence), re.DOTALL): sentence for sentence in sentences}


def _pattern(sentence: str) -> str:
    parts = re.split(r"\{(\w+)\}", sentence)
    seen: set[str] = set()
    pattern = ""
    for position, part in enumerate(parts):
        if position % 2 == 0:
            pattern += re.escape(part)
        else:
            one = _QUOTED.get(part, "[^.:]+?" if part in _OF_MANY_WORDS else r"\S+?")
            pattern += f"(?P={part})" if part in seen else f"(?P<{part}>{one})"
            seen.add(part)
    return rf"{pattern}(?:\s+|$)" if sentence[-1] in ".!" else pattern
