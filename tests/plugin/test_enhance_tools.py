"""The tool prompt_enhance and enhancing while painting, on both SDKs, with a stand-in for the workspace's model."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.plugin.test_enhancement import EN
from tests.plugin.test_tools import GENERATION_VARIABLES, PROMPT_VARIABLES
from tests.support.daemon import Daemon, Outcome, StandInModel
from tests.support.dify import PROVIDER
from tests.support.scripted import PNG, ScriptedStudio

CHOSEN = {
    "provider": "langgenius/openai/openai",
    "model": "some-model",
    "model_type": "llm",
    "mode": "chat",
    "completion_params": {"temperature": 0.2},
}
"""A model as Dify's selector sends it."""
WISH = "a poster that says “春茶 50% OFF”"
PROMPT = "A tall poster of green tea leaves. The title “春茶 50% OFF” stands on top in a bold serif typeface"
GOOD = {"prompt": PROMPT, "negative_prompt": "people", "aspect_ratio": "2:3", "reason": "Tea was not said."}


@pytest.fixture
def speaking(plugin: Daemon) -> Iterator[Callable[..., StandInModel]]:
    """Gives the workspace a model: called with what it says, as `StandInModel`."""

    def speak(answer: object = "", **how: Any) -> StandInModel:
        model = StandInModel(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False), **how)
        plugin.hooks["llm"] = model
        return model

    yield speak
    plugin.hooks.pop("llm", None)


def enhance(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    given = {"prompt": WISH, "model": CHOSEN, **parameters}
    return plugin.invoke(PROVIDER, "prompt_enhance", given, credentials)


def generate(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    given = {"prompt": WISH, "enhance": "llm", "enhance_model": "langgenius/openai/openai/some-model", **parameters}
    return plugin.invoke(PROVIDER, "image_generation", given, credentials)


def test_a_good_answer_becomes_text_json_and_every_variable(
    plugin: Daemon,
    scripted: ScriptedStudio,
    credentials: dict[str, object],
    speaking: Callable[..., StandInModel],
) -> None:
    model = speaking(GOOD)
    outcome = enhance(plugin, credentials, audience="tea lovers")
    outcome.raise_on_error()
    assert outcome.texts == [f"{PROMPT}{EN}\n"]
    assert set(outcome.variables) == PROMPT_VARIABLES
    assert outcome.variables == {
        "prompt": f"{PROMPT}{EN}",
        "negative_prompt": "people",
        "aspect_ratio": "2:3",
        "reason": "Tea was not said.",
        "enhanced_by": "llm",
        "warnings": [],
    }
    unsaid = {"prompt", "warnings"}  # the text is the prompt, and there are no warnings
    assert outcome.jsons == [{name: said for name, said in outcome.variables.items() if name not in unsaid}]
    [asked] = model.asked
    system, user = asked.pop("prompt_messages")
    assert asked == {**CHOSEN, "tools": None, "stop": None, "stream": True}
    assert (system["role"], user["role"]) == ("system", "user")
    assert "Qwen-Image" in system["content"]
    assert f"wish: {WISH}" in user["content"]
    assert "audience: tea lovers" in user["content"]
    assert scripted.calls == [], "the server has no part in this"


def test_a_model_is_chosen_by_its_name_as_in_image_generation(
    plugin: Daemon, credentials: dict[str, object], speaking: Callable[..., StandInModel]
) -> None:
    """D3: there is no model selector that an agent's builder could leave empty."""
    model = speaking(GOOD)
    outcome = enhance(plugin, credentials, model=None, enhance_model="langgenius/openai/openai/some-model")
    assert outcome.variables["enhanced_by"] == "llm"
    assert (model.asked[0]["provider"], model.asked[0]["model"]) == (CHOSEN["provider"], CHOSEN["model"])


@pytest.mark.parametrize("pieces", [1, 40])
def test_an_answer_in_a_fence_comes_in_pieces(
    plugin: Daemon, credentials: dict[str, object], speaking: Callable[..., StandInModel], pieces: int
) -> None:
    speaking(f"Of course:\n```json\n{json.dumps(GOOD)}\n```", pieces=pieces)
    outcome = enhance(plugin, credentials)
    assert (outcome.variables["enhanced_by"], outcome.variables["prompt"]) == ("llm", f"{PROMPT}{EN}")


@pytest.mark.parametrize(
    ("answer", "how", "why"),
    [
        ("A tall poster of tea.", {}, "gave no JSON with a prompt in it"),
        ({**GOOD, "prompt": PROMPT.replace("50%", "60%")}, {}, "left out or changed the text “春茶 50% OFF”"),
        ("", {}, "gave an empty answer"),
        ("x" * 30_000, {"pieces": 9}, "did not come to an end"),
    ],
    ids=["prose", "lettering changed", "nothing", "endless"],
)
def test_what_cannot_be_used_gives_the_rules_form_and_says_why(
    plugin: Daemon,
    credentials: dict[str, object],
    speaking: Callable[..., StandInModel],
    answer: object,
    how: dict[str, Any],
    why: str,
) -> None:
    speaking(answer, **how)
    outcome = enhance(plugin, credentials)
    outcome.raise_on_error()
    assert set(outcome.variables) == PROMPT_VARIABLES
    assert outcome.variables["enhanced_by"] == "rules"
    assert outcome.texts == [f"{WISH}. All lettering is sharp and legible{EN}\n"]
    assert outcome.variables["aspect_ratio"] == "3:4"
    assert outcome.variables["warnings"] == [f"The language model {why}; the prompt was put together by rules instead."]


UNKNOWN = "could not be asked; the model's page in Dify, or its log, says why"
NOT_THERE = "was not found in this workspace, or is not set up"
REFUSED = "could not be asked: its provider refused the key"
TOO_OFTEN = "has been asked too often, or its quota is used up"
UNREACHED = "could not be asked: its provider cannot be reached"
NOT_CHOSEN = "is not chosen, or not written as PROVIDER/MODEL such as langgenius/openai/openai/gpt-4o"
TRACEBACK = 'Traceback (most recent call last):\n  File "/app/llm.py", line 429, in _invoke\n    api_key="k3y"'


def of_dify(description: str, error_type: str = "InvokeError") -> str:
    """What Dify tells of an error in the plugin of a model."""
    about = {"args": {"description": description, "traceback": TRACEBACK}, "error_type": error_type, "message": "m 404"}
    return f"PluginInvokeError: {json.dumps(about)}\n{TRACEBACK}"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("Model gpt-4o credentials is not initialized.", NOT_THERE),
        ("Provider x does not exist.", NOT_THERE),
        ("[openai] Incorrect model credentials provided, please check and try again. ", REFUSED),
        ("[openai] Rate Limit Error, Error code: 429 - {'error': 'k3y'}", TOO_OFTEN),
        ("[openai] Rate Limit Error,\nslow down", TOO_OFTEN),
        ("Model provider x quota exceeded.", TOO_OFTEN),
        ("[openai] Connection Error, Request timed out.", UNREACHED),
        ("[openai] Server Unavailable Error, Error code: 503", UNREACHED),
        ("[openai] Bad Request Error, the file does not exist", UNKNOWN),
        ("[openai] Error: Rate Limit Error of k3y", UNKNOWN),
        ("something else with sk-abcdef1234567890", UNKNOWN),
        ("{" * 5000, UNKNOWN),
        ("[" * 5000, UNKNOWN),
        (of_dify("slow\ndown.", "InvokeRateLimitError"), TOO_OFTEN),
        (of_dify("quota of the model does not exist", "InvokeAuthorizationError"), REFUSED),
        (of_dify("the model does not exist", "InvokeBadRequestError"), UNKNOWN),
        (of_dify(f"broke: {TRACEBACK}"), UNKNOWN),
        (of_dify(""), UNKNOWN),
    ],
)
def test_a_failed_call_is_told_in_our_words(
    plugin: Daemon, credentials: dict[str, object], speaking: Callable[..., StandInModel], error: str, why: str
) -> None:
    speaking(error=error)
    outcome = enhance(plugin, credentials)
    outcome.raise_on_error()
    assert outcome.variables["enhanced_by"] == "rules"
    assert outcome.variables["warnings"] == [f"The language model {why}; the prompt was put together by rules instead."]


def test_without_a_permission_or_a_model_rules_do_it(plugin: Daemon, credentials: dict[str, object]) -> None:
    for chosen, why in ((CHOSEN, "the plugin has no permission"), (None, NOT_CHOSEN), ("gpt", NOT_CHOSEN)):
        outcome = enhance(plugin, credentials, model=chosen)
        outcome.raise_on_error()
        assert outcome.variables["enhanced_by"] == "rules"
        assert why in outcome.variables["warnings"][0]


@pytest.mark.parametrize("said", ["", "x" * 99], ids=["silent", "in the middle"])
def test_a_model_that_hangs_is_not_waited_for_forever(
    plugin: Daemon, credentials: dict[str, object], speaking: Callable[..., StandInModel], said: str
) -> None:
    gate, released = threading.Event(), threading.Event()

    def stuck(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        chunks = StandInModel(said, pieces=3)(asked)
        if said:
            yield next(chunks)
        gate.wait(60)
        yield from chunks
        released.set()

    plugin.hooks["llm"] = stuck
    outcome = enhance(plugin, {**credentials, "time_budget": "30"})  # of which a fifth is for the language model
    gate.set()
    outcome.raise_on_error()
    assert outcome.variables["enhanced_by"] == "rules"
    assert "The language model did not answer in time; " in outcome.variables["warnings"][0]
    assert released.wait(60), "the answer that came too late disturbed nobody"


def test_a_model_that_goes_on_and_on_is_ended_too(
    plugin: Daemon, credentials: dict[str, object], speaking: Callable[..., StandInModel]
) -> None:
    ended = threading.Event()

    def dripping(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for chunk in StandInModel("x" * 40, pieces=40)(asked):
            if ended.wait(0.5):
                return
            yield chunk

    plugin.hooks["llm"] = dripping
    outcome = enhance(plugin, {**credentials, "time_budget": "30"})
    ended.set()
    assert "did not answer within 6 s" in outcome.variables["warnings"][0]


def test_painting_with_enhancement_in_one_step(
    plugin: Daemon,
    scripted: ScriptedStudio,
    credentials: dict[str, object],
    speaking: Callable[..., StandInModel],
) -> None:
    model = speaking({**GOOD, "prompt": f"{PROMPT}, beside “Tea”"})
    scripted.warnings = ["Painted small."]
    outcome = generate(plugin, credentials)
    outcome.raise_on_error()
    assert [blob.content for blob in outcome.blobs] == [PNG]
    assert set(outcome.variables) == GENERATION_VARIABLES
    painted = f"{PROMPT}, beside “Tea”{EN}"
    sent = scripted.called("POST /v1/jobs")[0].json()
    assert (sent["prompt"], sent["negative_prompt"], sent["aspect_ratio"]) == (painted, "people", "2:3")
    assert outcome.variables["prompt"] == outcome.jsons[0]["prompt"] == painted
    assert outcome.jsons[0]["enhanced_by"] == "llm"
    added = "The language model added the text “Tea”, which the wish does not have."
    assert outcome.variables["warnings"] == outcome.jsons[0]["warnings"] == [added, "Painted small."]
    assert f"Note: {added} Painted small." in outcome.texts[0]
    assert outcome.streamed["progress"][0] == "Writing the prompt"
    assert (model.asked[0]["provider"], model.asked[0]["model"]) == ("langgenius/openai/openai", "some-model")


@pytest.mark.parametrize(
    ("given", "prompt", "warnings"),
    [
        ({"enhance": "off"}, WISH, []),
        ({"enhance": None}, WISH, []),
        ({"enhance": "rules"}, f"{WISH}. All lettering is sharp and legible{EN}", []),
        *(
            (
                {"enhance_model": written},
                f"{WISH}. All lettering is sharp and legible{EN}",
                [f"The language model {NOT_CHOSEN}; the prompt was put together by rules instead."],
            )
            for written in (None, "gpt-4o")
        ),
        ({"enhance": "off", "enhance_model": "gpt-4o"}, WISH, []),
    ],
    ids=["off", "unset", "rules", "no model", "no such model", "off without a model"],
)
def test_painting_asks_no_model_where_none_is_wanted(
    plugin: Daemon,
    scripted: ScriptedStudio,
    credentials: dict[str, object],
    speaking: Callable[..., StandInModel],
    given: dict[str, Any],
    prompt: str,
    warnings: list[str],
) -> None:
    model = speaking(GOOD)
    outcome = generate(plugin, credentials, **given)
    outcome.raise_on_error()
    assert model.asked == []
    assert scripted.called("POST /v1/jobs")[0].json()["prompt"] == outcome.variables["prompt"] == prompt
    assert outcome.variables["warnings"] == warnings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": " "}, "prompt is missing"),
        ({"purpose": "edit", "prompt": "", "product": "cup"}, "prompt is missing. Say what to change"),
        ({"language": "fr"}, "language: "),
    ],
)
def test_bad_parameters_are_refused_before_the_model_is_asked(
    plugin: Daemon,
    credentials: dict[str, object],
    speaking: Callable[..., StandInModel],
    given: dict[str, Any],
    said: str,
) -> None:
    model = speaking(GOOD)
    outcome = enhance(plugin, credentials, **given)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.kinds, model.asked) == ("InvokeBadRequestError", [], [])
    assert outcome.error.message.startswith(said)
