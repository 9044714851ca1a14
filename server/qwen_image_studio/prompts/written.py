"""Tables and references to images as language models and workflow tools write them."""

import ast
import json
import re
from itertools import takewhile

from qwen_image_studio.contract.errors import refusal

_FENCE = re.compile(r"[ \t]*```[a-zA-Z0-9]*\s*")
_UNDERLINE = re.compile(r":?-+:?")
# The closing quote may be missing, so that no text is searched twice; such a text is refused when it is read.
_PYTHON = re.compile(r"""'(?:[^'\\\n]|\\.)*'?|"(?:[^"\\\n]|\\.)*"?|\b(?:None|True|False)\b|,\s*(?=[\]}])""")
_CONSTANTS = {"None": "null", "True": "true", "False": "false"}
_IMAGE_ID = re.compile(r"(?<![A-Za-z0-9])img_[0-9a-f]{24}(?![A-Za-z0-9])")
_URL = re.compile(r"https?://[^\s<>()\[\]\"'`]+", re.IGNORECASE)


def without_fences(text: str) -> str:
    """Return the content of a text's only code block, or the text itself where there is none.

    Raises StudioError ``invalid_value`` where there are several.
    """
    lines = text.splitlines()
    fences = [number for number, line in enumerate(lines) if _FENCE.fullmatch(line)]
    if len(fences) < 2:
        return text
    if len(fences) > 2:
        raise refusal("rows", "there is more than one code block; send one table")
    return "\n".join(lines[fences[0] + 1 : fences[1]]).strip(" \n")  # a tab at the end is an empty cell


def markdown_table(text: str) -> list[list[str]] | None:
    """Return the cells of a text's only Markdown table, the names of the columns first; None where there is none.

    Its lines begin with ``|``. Raises StudioError ``invalid_value`` where there are several tables.
    """
    lines = [_cells(line) if line.lstrip().startswith("|") else [] for line in text.splitlines()]
    is_under = [line != [] and all(map(_UNDERLINE.fullmatch, line)) for line in lines]
    first = is_under.index(True) if any(is_under) else 0
    if not first or len(lines[first - 1]) != len(lines[first]):
        return None
    rows = list(takewhile(bool, lines[first + 1 :]))
    if any(lines[first + 1 + len(rows) :]):
        raise refusal("rows", "there is a second table, or an empty line within the one; send one table")
    return [lines[first - 1], *rows]


def _cells(line: str) -> list[str]:
    """Return the cells of a line, which are separated by ``|``; a ``|`` within a cell has a backslash before it."""
    inner = line.strip().removeprefix("|")
    inner = inner.removesuffix("|") if not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def json_of_python(text: str) -> str:
    """Return a list or an object in Python's notation as JSON: some tools write their variables so into a text.

    A comma behind the last value, which language models write, is left out. Raises ValueError for a text within it that
    cannot be read.
    """
    return _PYTHON.sub(_as_json, text)


def _as_json(found: re.Match[str]) -> str:
    token = found[0]
    if token in _CONSTANTS:
        return _CONSTANTS[token]
    if token.startswith(","):
        return ""
    if len(token) > 1 and token[0] == token[-1] and not {"\\", '"'} & set(token[1:-1]):
        return f'"{token[1:-1]}"'
    try:
        return json.dumps(ast.literal_eval(token))
    except SyntaxError as error:
        raise ValueError(error.msg) from error


def only_reference(text: str) -> str:
    """Return the only image id or URL in a text; the text as it is where it is one, or names none or several."""
    plain = text.strip()
    if not re.search(r"[\s()\[\]]", plain) or re.fullmatch(r"https?://\S+", plain, re.IGNORECASE):
        return text
    ids = set(_IMAGE_ID.findall(plain))
    if len(ids) > 1:
        return text
    # An answer names an image by its id and by a link that holds the id; both are one image.
    urls = {url.rstrip(".,;:!?") for url in _URL.findall(plain) if not any(one in url for one in ids)}
    return (ids | urls).pop() if len(ids | urls) == 1 else text
