"""Tiers and LoRAs in the painting tools: how they are read, what is sent, and what is told of them."""

from typing import Any

import pytest

from tests.plugin.test_batch_tool import CSV
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER
from tests.support.scripted import SUCCEEDED, ScriptedStudio
from tools.errors import Refused
from tools.parameters import (
    BatchParameters,
    CampaignParameters,
    EditParameters,
    GenerationParameters,
    OutpaintParameters,
)
from tools.parameters.painting import Painting
from tools.words import translated

# What is said does not depend on the SDK.
on_one_sdk = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")

LEAST: list[tuple[type[Painting], dict[str, Any]]] = [
    (GenerationParameters, {"prompt": "x"}),
    (EditParameters, {"prompt": "x", "image_id": "i"}),
    (EditParameters, {"prompt": "x", "image_id": "i", "region": "0,0,1,1"}),
    (OutpaintParameters, {"image_id": "i", "left": 64}),
    (BatchParameters, {"prompt": "a {{thing}}", "rows": CSV}),
    (CampaignParameters, {"brief": "x"}),
    (CampaignParameters, {"campaign": "job_1", "piece": 2}),
]


def body(tool: type[Painting], given: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a tool sends about its pictures."""
    sent = tool.parse({**given, **more}).body()
    return dict(sent.get("job", sent))


def refusal(loras: object) -> str:
    """Why LoRAs cannot be read."""
    with pytest.raises(Refused) as caught:
        GenerationParameters.parse({"prompt": "x", "loras": loras})
    return str(caught.value)


@pytest.mark.parametrize(("tool", "given"), LEAST)
def test_a_tier_is_sent_where_one_was_chosen(tool: type[Painting], given: dict[str, Any]) -> None:
    for left_out in (None, "", "auto", "Automatic", "自动", "none"):
        assert "tier" not in body(tool, given, tier=left_out)
    for word, tier in (("quality", "quality"), (" Balanced ", "balanced"), ("TURBO", "turbo"), ("draft", "draft")):
        assert body(tool, given, tier=word)["tier"] == tier


@pytest.mark.parametrize(
    ("word", "tier"),
    [
        ("sketch", "draft"),
        ("草图", "draft"),
        ("Fast", "turbo"),
        ("极速", "turbo"),
        ("high", "quality"),
        ("均衡", "balanced"),
    ],
)
def test_a_tier_in_other_words(word: str, tier: str) -> None:
    assert body(GenerationParameters, {"prompt": "x"}, tier=word)["tier"] == tier


def test_a_tier_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(Refused) as caught:
        GenerationParameters.parse({"prompt": "x", "tier": "ludicrous"})
    said = "tier: input should be 'auto', 'quality', 'balanced', 'turbo' or 'draft' (given: ludicrous)."
    assert str(caught.value) == said
    assert translated(said, "zh").startswith("速度档位（tier）可填")


@pytest.mark.parametrize(("tool", "given"), LEAST)
def test_loras_are_sent_by_name_and_weight(tool: type[Painting], given: dict[str, Any]) -> None:
    for left_out in (None, "", " ", "none", [], [""]):
        assert "loras" not in body(tool, given, loras=left_out)
    sent = [{"name": "ink-wash", "scale": 0.8}, {"name": "grain"}]
    assert body(tool, given, loras="ink-wash:0.8, grain")["loras"] == sent


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a", [("a", None)]),
        ("`a`", [("a", None)]),
        ("a:1", [("a", 1.0)]),
        ("a: -0.5", [("a", -0.5)]),
        ("a=80%", [("a", 0.8)]),
        ("水墨：０．８、grain；b", [("水墨", 0.8), ("grain", None), ("b", None)]),
        ("a\nb:2", [("a", None), ("b", 2.0)]),
        ("<lora:a:0.8> <lora:b:1.2>", [("a", 0.8), ("b", 1.2)]),
        ('[{"name": "a", "scale": 0.8}, {"name": "b"}]', [("a", 0.8), ("b", None)]),
        ('{"name": "a", "weight": "0.8"}', [("a", 0.8)]),
        ('{"a": 0.8, "b": null}', [("a", 0.8), ("b", None)]),
        ("['a:0.8', 'b']", [("a", 0.8), ("b", None)]),
        (["a:0.8", {"name": "b"}], [("a", 0.8), ("b", None)]),
        ({"a": 0.8}, [("a", 0.8)]),
        ("[a, b]", [("a", None), ("b", None)]),
        ("cinema-4.5:0.5", [("cinema-4.5", 0.5)]),
    ],
)
def test_loras_in_every_form(written: object, read: list[tuple[str, float | None]]) -> None:
    sent = body(GenerationParameters, {"prompt": "x"}, loras=written)["loras"]
    assert [(each["name"], each.get("scale")) for each in sent] == read


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("ink wash", "loras: write names such as ink-wash or ink-wash:0.8, separated by commas; not ink wash."),
        ("../a", "loras: write names such as ink-wash or ink-wash:0.8, separated by commas; not ../a."),
        (",", "loras: write names such as ink-wash or ink-wash:0.8, separated by commas; not ,."),
        ([{"file": "a", "scale": 1}], "loras: the weight of file must be a number from -2 to 2; not a."),
        ("a:strong", "loras: the weight of a must be a number from -2 to 2; not strong."),
        ("a:2.5", "loras: the weight of a must be a number from -2 to 2; not 2.5."),
        ("a:nan", "loras: the weight of a must be a number from -2 to 2; not nan."),
        ("a,b,c,d,e", "loras: takes at most 4; not 5."),
        ("a, a:0.5", "loras: takes each one once; not a twice."),
    ],
)
def test_loras_that_cannot_be_read_are_refused_before_anything_is_sent(written: object, said: str) -> None:
    assert refusal(written) == said
    assert translated(said, "zh").startswith("LoRA（loras）")


def test_what_cannot_be_sent_to_dify_is_not_quoted() -> None:
    assert refusal("a:\ud800x").endswith("; not x.")
    assert refusal(["a", {"name": "b", "scale": 10**400}]).startswith("loras: the weight of b must be a number")


def painted(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    outcome = plugin.invoke(PROVIDER, "image_generation", {"prompt": "a cat", **parameters}, credentials)
    outcome.raise_on_error()
    return outcome


@on_one_sdk
@pytest.mark.parametrize(
    ("state", "line", "tier"),
    [
        ({"tier": "quality"}, "with qwen-image: ", "quality"),
        ({"tier": "draft"}, "with qwen-image (draft): ", "draft"),
        ({"tier": "quality", "engine": "cv"}, "without a model: ", ""),
    ],
)
def test_a_tier_other_than_the_best_is_told_in_the_line(
    plugin: Daemon,
    scripted: ScriptedStudio,
    credentials: dict[str, object],
    state: dict[str, Any],
    line: str,
    tier: str,
) -> None:
    scripted.states = [{**SUCCEEDED, **state}]
    outcome = painted(plugin, credentials)
    assert line in outcome.texts[0]
    assert outcome.variables["tier"] == tier


@on_one_sdk
def test_loras_and_seconds_are_variables(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    loras = [{"name": "ink-wash", "scale": 0.8}, {"name": "grain", "scale": 1.0}]
    scripted.states = [{**SUCCEEDED, "loras": loras, "started_at": 10.0, "finished_at": 11.2345}]
    told = painted(plugin, credentials, loras="ink-wash:0.8, grain").variables
    assert (told["loras"], told["seconds"]) == (["ink-wash:0.8", "grain:1"], 1.23)
    again = painted(plugin, credentials, loras=told["loras"])
    first, second = scripted.called("POST /v1/jobs")
    assert first.json()["loras"] == [{"name": "ink-wash", "scale": 0.8}, {"name": "grain"}]
    assert second.json()["loras"] == loras
    assert again.variables["loras"] == told["loras"]


@on_one_sdk
def test_a_fetched_job_tells_the_same(plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]) -> None:
    scripted.states = [{**SUCCEEDED, "tier": "turbo", "loras": [{"name": "grain", "scale": -0.5}]}]
    fetched = plugin.invoke(PROVIDER, "image_job", {"job_id": "job0"}, credentials)
    fetched.raise_on_error()
    assert "with qwen-image (turbo)" in fetched.texts[0]
    told = {name: fetched.variables[name] for name in ("tier", "loras", "seconds")}
    assert told == {"tier": "turbo", "loras": ["grain:-0.5"], "seconds": 0}
