"""The tool image_campaign as Dify's daemon calls it, on both SDKs, against a studio that plays a script."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.plugin.test_batch_tool import ARCHIVE, counted
from tests.plugin.test_tools import CAMPAIGN_VARIABLES, JOB_VARIABLES, PLACE
from tests.support.daemon import Daemon, Outcome, StandInModel
from tests.support.dify import PROVIDER, dify_file
from tests.support.scripted import PNG, SIGNATURE, Answer, ScriptedServer, ScriptedStudio

MODEL = "langgenius/openai/openai/some-model"
CAMPAIGN = "job_0123456789abcdef01234567"
DIRECTION = {"style": "soft light", "palette": ["green", "white"], "negative_prompt": "people", "seed": 7}
PIECES = [
    {"channel": "post", "language": "en", "headline": "Spring | Tea", "subline": "", "prompt": "a cup"},
    {"channel": "post", "language": "zh", "headline": "春茶上新", "subline": "一杯春天", "prompt": "a cup"},
    {"channel": "story", "language": "en", "headline": "Spring | Tea", "subline": "", "prompt": "a glass"},
]
TEXTS = """\
| Piece | Channel | Language | Headline | Subline |
| --- | --- | --- | --- | --- |
| 1 | post | en | Spring \\| Tea |  |
| 2 | post | zh | 春茶上新 | 一杯春天 |
| 3 | story | en | Spring \\| Tea |  |"""
SAID = {
    **{name: DIRECTION[name] for name in ("style", "palette", "negative_prompt")},
    "scenes": {"post": "a cup", "story": "a glass"},
    "texts": {"en": {"headline": "Spring"}, "zh": {"headline": "春茶上新", "subline": "一杯春天"}},
}
"""What the workspace's language model answers."""


@pytest.fixture
def studio(scripted: ScriptedStudio) -> ScriptedStudio:
    """A studio where a campaign of three pieces ends with the last one failed."""
    scripted.operation = "campaign"
    scripted.rows = [
        {**row, "operation": "generate"}
        for row in (scripted.row_view(0), scripted.row_view(1), scripted.row_view(2, "failed", "The glass\nbroke."))
    ]
    request = {"request": {"operation": "campaign", "brief": "tea", "direction": DIRECTION, "pieces": PIECES}}
    scripted.states = [
        {"state": "running", "rows": counted(3, 1), **request},
        {"state": "succeeded", "rows": counted(3, 2, 1), "archive_url": ARCHIVE, **request},
    ]
    return scripted


@pytest.fixture
def speaking(plugin: Daemon) -> Iterator[Callable[[object], StandInModel]]:
    """Gives the workspace a model: called with what it says."""

    def speak(answer: object) -> StandInModel:
        model = StandInModel(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False))
        plugin.hooks["llm"] = model
        return model

    yield speak
    plugin.hooks.pop("llm", None)


def campaign(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    given = {"brief": "spring tea", "enhance": "off", **parameters}
    return plugin.invoke(PROVIDER, "image_campaign", given, credentials)


def test_success_gives_sheet_pieces_texts_and_every_variable(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    studio.warnings = ["1 of 3 pieces failed; the first: piece 3: The glass broke."]
    outcome = campaign(plugin, credentials, channels="post, story", save_style="spring", cache="off", seed=7)
    outcome.raise_on_error()
    assert [blob.meta["filename"] for blob in outcome.blobs] == ["img0.png", "img0.png", "img1.png"], "the sheet first"
    assert {blob.content for blob in outcome.blobs} == {PNG}
    assert outcome.texts == [
        "2 of 3 pieces painted, 1 failed (piece 3: The glass broke). 1 post en img0, 2 post zh img1. "
        "Headlines: “Spring | Tea” “春茶上新”. To paint one again, give campaign job0 and piece. "
        f"All pieces as a ZIP file: {ARCHIVE}\n"
    ]
    assert set(outcome.variables) == CAMPAIGN_VARIABLES
    assert {name: value for name, value in outcome.variables.items() if name != "progress"} == {
        "texts": TEXTS,
        "style_words": "soft light",
        "palette": ["green", "white"],
        "seed": 7,
        "archive_url": ARCHIVE,
        "image_url": "https://studio.example/files/img0?sign=s",
        "image_urls": [f"https://studio.example/files/img{row}?sign=s" for row in (0, 1)],
        "image_ids": ["img0", "img1"],
        "studio_url": f"https://studio.example/#/edit/img0?k=1795883985.{SIGNATURE}",
        "succeeded": 2,
        "failed": 1,
        "failures": ["piece 3: The glass broke"],
        "job_id": "job0",
        "state": "succeeded",
        "count": 2,
        "held": 0,
        "warnings": studio.warnings,
    }
    [view] = outcome.jsons
    assert (view["operation"], view["direction"]) == ("campaign", DIRECTION)
    assert [(each["piece"], each["channel"], each["language"], each["state"]) for each in view["pieces"]] == [
        (1, "post", "en", "succeeded"),
        (2, "post", "zh", "succeeded"),
        (3, "story", "en", "failed"),
    ]
    assert view["pieces"][1]["images"][0]["id"] == "img1"
    assert (view["pieces"][1]["subline"], view["pieces"][2]["error"]) == ("一杯春天", "The glass broke")
    assert studio.called("POST /v1/jobs")[0].json() == {
        **{"operation": "campaign", "brief": "spring tea", "channels": ["post", "story"], "save_style": "spring"},
        **{"cache": False, "seed": 7, "output_format": "png", **PLACE},
    }


def test_a_chinese_call_is_answered_in_chinese(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    outcome = campaign(plugin, credentials, brief="春茶上新，年轻人")
    outcome.raise_on_error()
    assert outcome.texts[0].startswith(
        "3 件中已生成 2 件，1 项失败 (piece 3: The glass broke)。1 post en img0, 2 post zh img1。标题："
        "“Spring | Tea” “春茶上新”。要重做其中一件，请提供 campaign（job0）和 piece。 全部图片的 ZIP 文件："
    )
    assert outcome.variables["texts"].startswith("| 序号 | 渠道 | 语言 | 标题 | 副标题 |")
    outcome = campaign(plugin, credentials, brief="春茶上新，年轻人", enhance="llm", wait=False)
    assert "说明：未选择语言模型，或未写成 PROVIDER/MODEL 的形式" in outcome.texts[0]
    assert "；已改用规则编排营销方案。" in outcome.texts[0]
    outcome = campaign(plugin, credentials, brief="春茶上新", channels="post, 抖音")
    assert outcome.error is not None
    assert outcome.error.message.startswith("渠道（channels）可填 post, story,")
    assert outcome.error.message.endswith("不支持“抖音”。")


def test_a_language_model_directs_it(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object], speaking: Callable[..., StandInModel]
) -> None:
    model = speaking(SAID)
    seen: list[str] = []
    parameters = {"brief": "spring tea", "channels": "post,story", "languages": "en,zh", "enhance_model": MODEL}
    outcome = plugin.invoke(PROVIDER, "image_campaign", parameters, credentials, on_progress=seen.append)
    outcome.raise_on_error()
    assert seen[0] == "Writing the campaign"
    assert outcome.variables["warnings"] == []
    [asked] = model.asked
    assert (asked["provider"], asked["model"]) == ("langgenius/openai/openai", "some-model")
    assert "brief: spring tea" in asked["prompt_messages"][1]["content"]
    sent = studio.called("POST /v1/jobs")[0].json()
    assert sent["direction"] == {name: SAID[name] for name in ("style", "palette", "negative_prompt")}
    assert [(piece["channel"], piece["headline"]) for piece in sent["pieces"]] == [
        *(("post", "Spring"), ("post", "春茶上新"), ("story", "Spring"), ("story", "春茶上新"))
    ]
    assert (sent["brief"], sent["channels"], sent["languages"]) == ("spring tea", ["post", "story"], ["en", "zh"])


@pytest.mark.parametrize(
    ("chosen", "answer", "why"),
    [
        (None, SAID, "is not chosen, or not written as PROVIDER/MODEL such as langgenius/openai/openai/gpt-4o"),
        (MODEL, "I cannot help with that.", "gave no JSON with texts and scenes in it"),
        (MODEL, {**SAID, "texts": {"en": {"headline": "Spring"}}}, "wrote in en, and not in en, zh"),
    ],
    ids=["no model", "no JSON", "a language is missing"],
)
def test_without_a_usable_answer_the_brief_alone_is_sent_with_a_warning(
    plugin: Daemon,
    studio: ScriptedStudio,
    credentials: dict[str, object],
    speaking: Callable[..., StandInModel],
    chosen: str | None,
    answer: object,
    why: str,
) -> None:
    speaking(answer)
    outcome = campaign(plugin, credentials, languages="en,zh", enhance="llm", enhance_model=chosen)
    outcome.raise_on_error()
    warning = f"The language model {why}; the campaign was put together by rules instead."
    assert outcome.variables["warnings"] == [warning]
    assert f" Note: {warning[:40]}" in outcome.texts[0]
    assert not {"direction", "pieces"} & set(studio.called("POST /v1/jobs")[0].json())


def test_a_picture_of_the_product_is_sent_along(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    with ScriptedServer(lambda call: Answer(200, PNG)) as dify:
        campaign(plugin, credentials, image=[dify_file(f"{dify.url}/files/cup.png?sign=s")]).raise_on_error()
    params, files = studio.called("POST /v1/jobs")[0].form()
    assert (params["brief"], files) == ("spring tea", {"image[]": PNG})


def test_one_piece_again_is_shown_alone(plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]) -> None:
    studio.rows = studio.rows[:1]
    request = {"campaign": CAMPAIGN, "piece": 2, "direction": DIRECTION, "pieces": [{**PIECES[1], "headline": "新茶"}]}
    studio.states = [{"state": "succeeded", "rows": counted(1, 1), "archive_url": ARCHIVE, "request": request}]
    outcome = campaign(plugin, credentials, brief="", campaign=CAMPAIGN, piece=2, headline="新茶", enhance="llm")
    outcome.raise_on_error()
    assert len(outcome.blobs) == 1
    assert outcome.texts[0].startswith("1 件中已生成 1 件。1 post zh img0。标题：“新茶”。")
    sent = studio.called("POST /v1/jobs")[0].json()
    assert sent == {
        "operation": "campaign",
        "campaign": CAMPAIGN,
        "piece": 2,
        "headline": "新茶",
        "output_format": "png",
        **PLACE,
    }


@pytest.mark.parametrize("wait", [True, False])
def test_image_job_gives_what_the_tool_would_have(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object], wait: bool
) -> None:
    waited = campaign(plugin, credentials)
    studio.look_afresh()
    if not wait:
        early = plugin.invoke(PROVIDER, "image_job", {"job_id": "job0", "wait": False}, credentials)
        assert early.texts == ["Job job0 is running, 1 of 3 pieces done; fetch it with image_job.\n"]
        assert (early.variables["texts"], early.variables["succeeded"], early.blobs) == (TEXTS, 1, [])
    fetched = plugin.invoke(PROVIDER, "image_job", {"job_id": "job0", "wait": wait}, credentials)
    assert (fetched.blobs, fetched.texts, fetched.jsons) == (waited.blobs, waited.texts, waited.jsons)
    assert set(fetched.variables) == JOB_VARIABLES
    assert {name: fetched.variables[name] for name in CAMPAIGN_VARIABLES - {"progress"}} == {
        name: value for name, value in waited.variables.items() if name != "progress"
    }


def test_without_waiting_it_only_starts_the_job(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    outcome = campaign(plugin, credentials, enhance="llm", wait=False)
    outcome.raise_on_error()
    assert outcome.texts[0].startswith("Job job0 is queued at place 2; fetch it with image_job. Note: The language mod")
    assert set(outcome.variables) == CAMPAIGN_VARIABLES
    assert (outcome.variables["state"], outcome.variables["texts"], outcome.blobs) == ("queued", "", [])


def test_the_list_and_a_cancel_name_its_pieces(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    studio.listed = [
        {**studio.view("job1", {"state": "running", "rows": counted(3, 1)})},
        {**studio.view("job0", {"state": "succeeded", "rows": counted(3, 2, 1), "archive_url": ARCHIVE})},
    ]
    listed = plugin.invoke(PROVIDER, "image_job", {"action": "list"}, credentials)
    assert "job1: campaign, running, 1 of 3 pieces done, " in listed.texts[0]
    assert "job0: campaign, succeeded, 2 of 3 pieces succeeded, 1 failed, " in listed.texts[0]
    studio.cancelled = {"state": "cancelled", "rows": counted(3, 1), "archive_url": ARCHIVE}
    cancelled = plugin.invoke(PROVIDER, "image_job", {"action": "cancel", "job_id": "job0"}, credentials)
    assert cancelled.texts == [f"Job job0 is cancelled. What 1 of its pieces painted is kept: {ARCHIVE}\n"]


@pytest.mark.parametrize("app_id", ["app-1", None], ids=["classic agent", "new Agent app"])
def test_what_an_agent_reads_is_short(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object], app_id: str | None
) -> None:
    """Twenty-four pieces with real ids and links; the new Agent app shows the contact sheet alone."""
    studio.job_name, studio.image_name = CAMPAIGN[:-1], "img_0123456789abcdef0123456"
    link = f"http://studio.example:8300/files/{CAMPAIGN}.zip?expires=1764400000&signature={'0' * 43}"
    studio.rows = [studio.row_view(row) for row in range(23)] + [studio.row_view(23, "failed", "x" * 300)]
    for row in studio.rows:
        row["warnings"] = ["A note." * 40]
    studio.warnings = ["A note." * 40]
    pieces = [{**piece, "headline": "x" * 80} for piece in PIECES * 8]
    request = {"request": {"direction": DIRECTION, "pieces": pieces}}
    studio.states = [{"state": "succeeded", "rows": counted(24, 23, 1), "archive_url": link, **request}]
    given = {"brief": "spring tea", "enhance": "off"}
    conversation = "c1" if app_id else None
    outcome = plugin.invoke(PROVIDER, "image_campaign", given, credentials, app_id=app_id, conversation_id=conversation)
    outcome.raise_on_error()
    [text], [data] = outcome.texts, outcome.jsons
    assert link in text
    shown = 0 if app_id else text.index("\n") - text.index(" Show it to the person with: ")
    assert len(text) + len(json.dumps(data)) - shown <= 500
    assert len(outcome.blobs) == (24 if app_id else 1)
    assert data == {"job_id": f"{CAMPAIGN[:-1]}0"}
