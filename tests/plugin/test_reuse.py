"""Saved styles and earlier pictures in the painting tools, against a studio that plays a script."""

from typing import Any

import pytest

from tests.plugin.test_batch_tool import ARCHIVE, CSV, counted
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER
from tests.support.scripted import SUCCEEDED, ScriptedStudio
from tools.errors import Refused
from tools.parameters import BatchParameters, EditParameters, GenerationParameters, OutpaintParameters
from tools.parameters.painting import Painting

# What is said does not depend on the SDK.
on_one_sdk = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")

LEAST: list[tuple[type[Painting], dict[str, Any]]] = [
    (GenerationParameters, {"prompt": "x"}),
    (EditParameters, {"prompt": "x", "image_id": "i"}),
    (OutpaintParameters, {"image_id": "i", "left": 64}),
    (BatchParameters, {"prompt": "a {{thing}}", "rows": CSV}),
]


def body(tool: type[Painting], given: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a tool sends about its pictures."""
    sent = tool.parse({**given, **more}).body()
    return dict(sent.get("job", sent))


@pytest.mark.parametrize(("tool", "given"), LEAST)
@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        *((word, None) for word in (None, "", "auto", "Automatic")),
        *((word, True) for word in ("on", "On", True, "true", "yes")),
        *((word, False) for word in ("off", False, "False", "no")),
        ("similar", "similar"),
    ],
)
def test_cache_is_sent_where_something_was_chosen(
    tool: type[Painting], given: dict[str, Any], choice: object, sent: object
) -> None:
    """YAML, and so a saved app, makes truth values of on and off."""
    assert body(tool, given, cache=choice).get("cache") == sent


@pytest.mark.parametrize(("tool", "given"), LEAST)
def test_a_style_is_sent_by_its_name(tool: type[Painting], given: dict[str, Any]) -> None:
    assert "style" not in body(tool, given, style=" ")
    assert [body(tool, given, style=name)["style"] for name in ("spring-2027", " 春季２ ", "default")] == [
        *("spring-2027", "春季2", "default")
    ]
    with pytest.raises(Refused, match=r"^style: takes .* such as spring-2027 \(given: a/b\)\.$"):
        body(tool, given, style="a/b")


def generated(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    outcome = plugin.invoke(PROVIDER, "image_generation", {"prompt": "a cat", **parameters}, credentials)
    outcome.raise_on_error()
    return outcome


@on_one_sdk
@pytest.mark.parametrize(
    ("state", "prompt", "said"),
    [
        ({}, "a cat", None),
        ({"cached": True, "cache": "exact"}, "a cat", " Taken from an earlier run."),
        ({"cached": True, "cache": "exact"}, "一只猫", " 取自之前的一次运行。"),
        (
            {"cached": True, "cache": "similar", "similar_prompt": "A  cat,\nplease" + "!" * 60},
            "a cat",
            f" Taken from an earlier run with the prompt “A cat, please{'!' * 46}…”.",
        ),
        (
            {"cached": True, "cache": "similar", "similar_prompt": "猫，一只"},
            "一只猫",
            " 取自之前的一次运行，其提示词为“猫，一只”。",
        ),
    ],
    ids=["painted", "exact", "exact, zh", "similar", "similar, zh"],
)
def test_the_line_says_where_a_picture_comes_from_an_earlier_run(
    plugin: Daemon,
    scripted: ScriptedStudio,
    credentials: dict[str, object],
    state: dict[str, Any],
    prompt: str,
    said: str | None,
) -> None:
    scripted.states = [{**SUCCEEDED, **state}]
    outcome = generated(plugin, credentials, prompt=prompt)
    [line] = outcome.texts
    assert line.endswith(f"{said}\n") if said else ("earlier" not in line)
    assert outcome.variables["cache"] == state.get("cache", "")
    [view] = outcome.jsons
    assert {name: view.get(name) for name in ("cached", "cache", "similar_prompt")} == {
        **{"cached": False, "cache": None, "similar_prompt": None},
        **state,
    }


@on_one_sdk
def test_the_line_of_a_batch_counts_the_rows_from_earlier_runs(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.operation = "batch"
    again = {"cached": True, "cache": "similar", "similar_prompt": "an apple"}
    scripted.rows = [{**scripted.row_view(0), **again}, scripted.row_view(1), scripted.row_view(2)]
    scripted.states = [{**SUCCEEDED, "rows": counted(3, 3), "archive_url": ARCHIVE}]
    outcome = plugin.invoke(PROVIDER, "image_batch", {"prompt": "a {{thing}}", "rows": CSV}, credentials)
    outcome.raise_on_error()
    assert outcome.texts[0].startswith("3 of 3 rows succeeded, 1 of them from earlier runs. Row and image_id")
    first, second, _ = outcome.jsons[0]["rows"]
    assert (first["cache"], first["similar_prompt"], "cache" in second) == ("similar", "an apple", False)
