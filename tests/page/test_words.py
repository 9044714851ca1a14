"""All texts of the page stand in its tables, whole in both languages, and each is used."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import pytest

from tests.page.support.node import module
from tests.support import ROOT

PAGE = ROOT / "server/qwen_image_studio/web/page"
SCRIPTS = PAGE / "static/js"
READER = Path(__file__).parent / "node/words/read.mjs"
OPEN = "\x01"
"""What is known only while the page runs."""
NAMES = re.compile(r"Qwen-Image Studio|LoRAs?|Dify|GPU|ZIP|qis_…")
"""Names that are the same in every language, and how an API key begins."""
HAN = re.compile("[\u3400-\u9fff]")
WORD = re.compile(r"[^\W\d_]{2,}")
OWN_NAMES = {"shell.language", "signin.speak"}
"""Each language is offered by its own name."""
OF_THE_API = {"colours.js"}
"""Has the server's names of colours, with what they are called in Chinese prompts."""
KEYS = {"Enter", "Escape", "Home", "End", "Delete", "Control", "Ctrl", "Alt", "Shift", "Tab", "Space", "Files"}
"""Names that the browser gives to keys, and to what is dragged."""
SHOWN = "aria-label|aria-description|aria-roledescription|aria-valuetext|title|alt|placeholder|label|hint|told|error"
"""Attributes that people read or hear."""

Found = Mapping[str, Any]
Said = Mapping[str, list[dict[str, Any]]]
Tables = Mapping[str, dict[str, Any]]


@pytest.fixture(scope="module")
def said() -> Said:
    """What the scripts say: tables, calls of t(), strings, markup."""
    module("acorn/package.json")
    answer = subprocess.run(["node", READER, SCRIPTS], capture_output=True, text=True, check=False)  # noqa: S607
    assert answer.returncode == 0, answer.stderr
    found: dict[str, list[dict[str, Any]]] = json.loads(answer.stdout)
    assert len(found["calls"]) > 300
    assert len(found["markup"]) > 200
    return found


@pytest.fixture(scope="module")
def tables(said: Said) -> Tables:
    """Every text by its name."""
    return {each["key"]: each for each in said["tables"]}


def at(found: Found) -> str:
    """Return where something stands."""
    return f"{found['file']}:{found['line']}"


def may_be(key: str, text: str) -> re.Match[str] | None:
    """Return how a text with open parts may be this name, with a group for each part; None where it may not."""
    return re.fullmatch(re.escape(text).replace(OPEN, "(.+)"), key)


def may_be_of(key: str, text: str, known: Set[str]) -> bool:
    """Return whether it may be, with each open part one of the known ones."""
    if OPEN not in text:
        return key == text
    before, after = text.split(OPEN, 1)
    rest = key.removeprefix(before)
    return key.startswith(before) and any(
        part in known and may_be_of(rest.removeprefix(part), after, known) for part in parts_of(rest)
    )


def parts_of(text: str) -> Iterator[str]:
    """Return every beginning of a text."""
    return (text[:end] for end in range(1, len(text) + 1))


def has_words(text: str) -> bool:
    """Return whether a text says more than values, units and names."""
    return re.search(r"[^\W\d_]{3,}", NAMES.sub("", re.sub(r"\{[^}]*\}", "", text))) is not None


def values(text: str) -> tuple[set[str], set[str]]:
    """Return the values that a text shows, and those by which it chooses a word."""
    parts = re.findall(r"\{([^}]*)\}", text)
    return {part for part in parts if "|" not in part}, {part.partition("|")[0] for part in parts if "|" in part}


def test_every_text_is_there_once_and_in_both_languages(said: Said, tables: Tables) -> None:
    assert [key for key, count in Counter(each["key"] for each in said["tables"]).items() if count > 1] == []
    wrong = []
    for key, each in tables.items():
        if len(each["texts"]) != 2 or not all(text.strip() == text != "" for text in each["texts"]):
            wrong.append(f"{at(each)} {key}: write [English, Chinese]")
            continue
        english, chinese = each["texts"]
        if key not in OWN_NAMES and HAN.search(re.sub(r"\([^)]*\)", "", english)):
            wrong.append(f"{at(each)} {key}: the English text is Chinese")
        if has_words(english) and english == chinese:
            wrong.append(f"{at(each)} {key}: the Chinese text is the English one")
        elif key not in OWN_NAMES and has_words(chinese) and not HAN.search(chinese):
            wrong.append(f"{at(each)} {key}: the Chinese text has no Chinese")
    assert wrong == []


def test_a_text_shows_the_same_values_in_both_languages(tables: Tables) -> None:
    """Only a word that is chosen by a number may be missing in Chinese, which has no plural."""
    wrong = []
    for key, each in tables.items():
        (shown, chosen), (shown_zh, chosen_zh) = (values(text) for text in each["texts"])
        if not shown <= shown_zh <= shown | chosen or chosen_zh:
            wrong.append(f"{at(each)} {key}: {each['texts']}")
    assert wrong == []


def test_every_text_that_is_asked_for_is_there(said: Said, tables: Tables) -> None:
    screens = "|".join({key.partition(".")[0] for key in tables})
    asked = [(text, call) for call in said["calls"] for text in call["texts"] if text != OPEN]
    asked += [(each["text"], each) for each in said["strings"] if re.fullmatch(rf"({screens})\.\S+", each["text"])]
    missing = {
        f"{at(call)} {text.replace(OPEN, '…')}"
        for text, call in asked
        if not any(may_be(key, text) for key in ([text] if text in tables else tables))
    }
    assert missing == set()


def test_every_text_is_used(said: Said, tables: Tables) -> None:
    """By its name, or by one that is put together from what the page or the server knows."""
    texts = {text for call in said["calls"] for text in call["texts"]} | {each["text"] for each in said["strings"]}
    open_ones = [text for text in texts if OPEN in text and re.match(r"[a-z]+\.", text)]
    known = known_words(said)
    unused = [
        f"{at(each)} {key}"
        for key, each in tables.items()
        if key not in texts and not any(may_be_of(key, text, known) for text in open_ones)
    ]
    assert unused == []


def known_words(said: Said) -> set[str]:
    """Return what a name may be put together from: strings, properties and values in markup of the scripts, and the
    strings in the server's sources.
    """
    server = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "server/qwen_image_studio").rglob("*.py"))
    own = {each["text"] for kind in ("strings", "properties") for each in said[kind]}
    own |= {value for each in said["markup"] for value in re.findall(r'="([^"]*)"', each["text"])}
    return own | set(re.findall(r"""["']([\w.:-]+)["']""", server))


def test_a_text_gets_the_values_that_it_shows(said: Said, tables: Tables) -> None:
    wrong = []
    for call in said["calls"]:
        given = set(call["values"] or ())
        for text in call["texts"]:
            keys = [key for key in ([text] if text in tables else tables) if may_be(key, text)]
            # Which of several texts it is, only the page knows; each value is needed by one of them.
            needed = set[str]().union(*(set().union(*values(one)) for key in keys for one in tables[key]["texts"]))
            lacking = needed - given if len(keys) == 1 else set()
            if OPEN not in given and lacking:
                wrong.append(f"{at(call)} {text}: {sorted(lacking)}")
    assert wrong == []


def bare_texts(markup: str) -> Iterator[str]:
    """What markup itself says to people: texts between tags, and attributes that are read or heard."""
    yield from re.sub(r"<[^>]*>", "\n", markup).splitlines()
    for tag in re.findall(r"<[^>]*>", markup):
        yield from re.findall(rf'(?<![\w-])(?:{SHOWN})="([^"]*)"', tag)


def test_markup_says_nothing_by_itself(said: Said) -> None:
    found = [
        f"{at(each)} {text.strip()}"
        for each in said["markup"]
        for text in bare_texts(each["text"])
        if WORD.search(NAMES.sub("", text.replace(OPEN, " ")))
    ]
    assert found == []


def test_no_script_says_anything_by_itself(said: Said) -> None:
    """No Chinese outside of the tables, and nothing that reads as English."""
    sentence = re.compile(r"[A-Z][a-z’']+(?: [a-z]+)+.*|[A-Z][a-z]{2,}|.*[a-z]{2,} [a-z]{2,}.*[.!?]", re.DOTALL)
    found = [
        f"{at(each)} {each['text']}"
        for each in said["strings"]
        if each["file"] not in OF_THE_API
        and (HAN.search(each["text"]) or sentence.fullmatch(NAMES.sub("", each["text"])))
        and each["text"] not in KEYS
    ]
    assert found == []


@pytest.mark.parametrize(
    ("markup", "texts"),
    [
        ("<p>Hello there</p>", ["Hello there"]),
        (f'<{OPEN} label="Close" class="wide pane" />', ["Close"]),
        (f'<a title={OPEN} href="#/paint">{OPEN}</a> · {OPEN}', []),
        ('<img alt="" /><button aria-label="Go on">→</button>', ["Go on"]),
    ],
)
def test_what_markup_says_is_found(markup: str, texts: list[str]) -> None:
    assert [text for text in bare_texts(markup) if WORD.search(text.replace(OPEN, " "))] == texts
