"""The grammar of instructions that need no model: English and Chinese sentences that ask for nothing but adjustments.

An instruction is cut into clauses ("rotate it 90 degrees, then make it brighter"), and each clause has to be one of the
sentences that we know, from its first word to its last. Anything else is for the model: "make it smaller" may mean the
object, and "blur the background" means a part of the picture.
"""

import re
from dataclasses import dataclass

from pydantic import ValidationError

from qwen_image_studio.contract.adjustments import MAX_ADJUSTMENTS, Adjustment, Resize
from qwen_image_studio.contract.errors import NotAdjustments, OutOfRange
from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.prompts.sentences import SENTENCES, Make, Step, Values

MAX_CHARS = 400
"""Longest instruction in characters; a longer one is for the model."""

_COURTESY = (
    r"^(?:could you please|can you please|please|can you|could you|请帮我|请|帮我|麻烦) ?"
    r"|[ ,，]*(?:please|谢谢)?[.!?。！？]*$"
)
_BETWEEN = (
    r" ?[,;，、；.。] ?(?:and |then |also |然后|再|并且|并|接着|最后)*(?!\d)"
    r"| (?:and then|then|and) (?!white)(?:also )?|然后|并且|接着|(?<=.)再|并(?!排)"
)


@dataclass(frozen=True)
class Instruction:
    """Adjustments and format that an instruction asks for, with nothing left over."""

    adjustments: tuple[Adjustment, ...]
    output_format: OutputFormat | None = None


def parse_adjustments(instruction: str) -> Instruction:
    """Return the adjustments that an instruction asks for.

    Raises NotAdjustments where it asks for anything else, and OutOfRange where it asks for nothing else, but for what
    cannot be done.
    """
    if len(instruction) > MAX_CHARS:
        raise NotAdjustments(f"it is longer than {MAX_CHARS} characters")
    text, quoted = _take_quoted(instruction.strip())
    text = re.sub(r"\s+", " ", text.casefold())
    text = re.sub(_COURTESY, "", text)
    # All clauses are read before one that is out of range is refused: another may need the model.
    clauses = [_recognised(clause.strip(), quoted) for clause in re.split(_BETWEEN, text)]
    steps = [_made(*clause) for clause in clauses]
    formats = [step for step in steps if isinstance(step, OutputFormat)]
    adjustments = tuple(step for step in steps if not isinstance(step, OutputFormat))
    if len(adjustments) > MAX_ADJUSTMENTS:
        raise OutOfRange(f"it asks for more than {MAX_ADJUSTMENTS} adjustments")
    sides = [one for one in adjustments if isinstance(one, Resize) and one.scale is None]
    if len(sides) > 1:  # a width, then a height, each keeping the shape, is not what was meant
        raise OutOfRange("it names a size twice; write it as 800x600")
    return Instruction(adjustments, formats[-1] if formats else None)


_OPEN, _CLOSE = "\ue000", "\ue001"  # private use of Unicode: around the number of a quotation


def _take_quoted(text: str) -> tuple[str, list[str]]:
    """Return the text with a numbered mark in place of each quotation, and the quotations."""
    quoted: list[str] = []

    def take(match: re.Match[str]) -> str:
        quoted.append(match.group()[1:-1])
        return f"{_OPEN}{len(quoted) - 1}{_CLOSE}"

    text = re.sub(f"[{_OPEN}{_CLOSE}]", "", text)
    return re.sub("\"[^\"]+\"|'[^']+'|“[^”]+”|‘[^’]+’|「[^」]+」", take, text), quoted


def _recognised(clause: str, quoted: list[str]) -> tuple[str, Make, Values]:
    """Return the clause with what makes its step, and the values for that."""
    for pattern, make in SENTENCES:
        if match := pattern.fullmatch(clause):
            values = {name: value for name, value in match.groupdict().items() if value is not None}
            if "text" in values:
                values["text"] = quoted[int(values["text"])]
            return clause, make, values
    raise NotAdjustments("it says something else")


def _made(clause: str, make: Make, values: Values) -> Step:
    try:
        return make(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        said = str(first["msg"]).removeprefix("Value error, ").lower().replace("input should", "must")
        field = " ".join(str(part) for part in first["loc"][-1:])
        # A quotation stands in the clause as a mark.
        shown = re.sub(f"{_OPEN}.*?{_CLOSE}", "the text", clause)
        raise OutOfRange(f"'{shown}': {field} {said}".replace(":  ", ": ")) from error
