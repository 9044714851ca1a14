"""Art directions in words: what one adds to a prompt, once, and in the prompt's own language."""

import re

from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.contract.errors import refusal
from qwen_image_studio.contract.words import MAX_PROMPT_CHARS, Language
from qwen_image_studio.prompts.cleaning import has_chinese
from qwen_image_studio.prompts.templates import colour_name

QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|「[^」\n]*」|『[^』\n]*』|«[^»\n]*»|‘[^’\n]*’")
"""A text in quotation marks, which is to be lettered."""
_ENDS = tuple(".!?。！？…")


def language_of(text: str) -> Language:
    """Return the language of a text; what stands in quotation marks is lettering, and may be in another one."""
    said = QUOTED.sub(" ", text)
    return Language.ZH if has_chinese(said if said.strip() else text) else Language.EN


def quoted(text: str) -> list[str]:
    """Return the texts in quotation marks, without the marks."""
    return [match[0][1:-1] for match in QUOTED.finditer(text)]


def directed(prompt: str, direction: Direction, language: Language | None = None) -> str:
    """Return the prompt with the direction's style words and colours after it, without those that it has already.

    Left out, the language is the prompt's own; colours are called as people call them there, and style words stay as
    they are. Raises StudioError ``invalid_value`` where the prompt becomes longer than one may be.
    """
    chosen = language or language_of(prompt or direction.style)
    told = prompt
    for sentence in (_style(prompt, direction.style), _palette(prompt, direction.palette, chosen)):
        told = followed_by(told, sentence, chosen)
    if len(told) > MAX_PROMPT_CHARS and told != prompt:
        problem = f"has {len(told)} characters with the words of its style; {MAX_PROMPT_CHARS} are taken"
        raise refusal("prompt", f"{problem}, shorten it, or the style")
    return told


def _style(prompt: str, style: str) -> str:
    return "" if _plain(style) in _plain(prompt) else style


def _palette(prompt: str, palette: list[str], language: Language) -> str:
    """Return the sentence that names the colours; empty where the prompt names each of them."""
    if all(_names(prompt, colour) for colour in palette):
        return ""
    names = list(dict.fromkeys(colour_name(colour, language) for colour in palette))
    if language is Language.ZH:
        return f"配色：{'、'.join(names)}"
    first, *others = names
    return f"Colour palette: {first}" + (f" with {' and '.join(others)}" if others else "")  # in one clause, no commas


def _names(prompt: str, colour: str) -> bool:
    """Return whether the prompt names a colour, in either language."""
    for name in {colour, *(colour_name(colour, language) for language in Language)}:
        if re.search(rf"(?<![a-z]){re.escape(name.casefold())}(?![a-z])", prompt.casefold()):
            return True
    return False


def followed_by(text: str, sentence: str, language: Language) -> str:
    """Return the text with a sentence after it, parted from it as that language does."""
    sentence = sentence.strip()
    if not sentence or not text.strip():
        return sentence or text
    text = text.rstrip()
    stop = "" if text.endswith(_ENDS) else "。" if language is Language.ZH else "."
    return f"{text.rstrip(',，;；、')}{stop}{'' if language is Language.ZH else ' '}{sentence}"


def _plain(text: str) -> str:
    """Return a text by which it is found in another, whatever its case, blanks and last stop."""
    return " ".join(text.casefold().split()).rstrip(".。 ")
