"""Tables and references to images as language models and workflow tools write them."""

import ast
import csv
import io
import json
import re
from itertools import takewhile

from qwen_image_studio.contract.errors import refusal

MAX_TEXTS = 100_000
"""Largest number of texts in a list in Python's notation; a table has at most half as many cells."""
_FENCE = re.compile(r"[ \t]*```[a-zA-Z0-9]*\s*")
_LIST = re.compile(r"(?:^|[:：])[ \t]*(?=\[\s*\{|\{\s*[\"'])", re.MULTILINE)
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
    cannot be read, and for more of them than a table may have cells.
    """
    left = MAX_TEXTS

    def as_json(found: re.Match[str]) -> str:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"it holds more than {MAX_TEXTS} texts")
        return _as_json(found)

    return _PYTHON.sub(as_json, text)


def _as_json(found: re.Match[str]) -> str:
    token = found[0]
    if token in _CONSTANTS:
        return _CONSTANTS[token]
    if token.startswith(","):
        return ""
    inner = token[1:-1]
    if len(token) > 1 and token[0] == token[-1] and "\\" not in inner:
        return json.dumps(inner) if '"' in inner else f'"{inner}"'
    try:
        return json.dumps(ast.literal_eval(token))
    except SyntaxError as error:
        raise ValueError(error.msg) from error


def list_within(text: str) -> str | None:
    """Return the only list of objects that stands, as JSON or in Python's notation, among the words of a text.

    It begins a line, or follows a colon. None where there is none. Raises StudioError ``invalid_value`` where there are
    several.
    """
    first = _LIST.search(text)
    if first is None:
        return None
    begin = first.end()
    end = begin + _length_of_list(text[begin:])
    if _LIST.search(text, end):
        raise refusal("rows", "there is more than one list; send one")
    return text[begin:end]


def _length_of_list(text: str) -> int:
    """Return how long the list is with which the text begins; where it is no JSON, it goes to the last bracket."""
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return max(text.rfind("]"), text.rfind("}")) + 1 or len(text)


# -- CSV -----------------------------------------------------------------------------------------------------------

_DELIMITERS = ",\t;，"
_SEP = re.compile(r"[\r\n]*\"?sep=([^\r\n\"])\"?[ \t]*(?:\r\n|\r|\n|$)", re.IGNORECASE)


def delimiter_of(text: str) -> tuple[str, str]:
    """Return the character that separates the values of a CSV table, and the table without the line that names it.

    It is the one that Excel's first line ``sep=;`` names; else, of those in the line with the columns, the first that
    divides all lines evenly, and where none does the first.
    """
    if named := _SEP.match(text):
        return named[1], text[named.end() :]
    first = re.sub(r'"[^"]*"?', "", text.lstrip("\r\n").partition("\n")[0])
    likely = [one for one in _DELIMITERS if one in first] or [","]
    if len(likely) == 1:
        return likely[0], text
    return next((one for one in likely if _divides_evenly(text, one)), likely[0]), text


def _divides_evenly(text: str, delimiter: str) -> bool:
    """Return whether all lines with values have as many as the first line."""
    width = 0
    try:
        for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            width = width or len(line)
            if line and len(line) != width and any(value.strip() for value in line):
                return False
    except csv.Error:
        return False
    return True


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
