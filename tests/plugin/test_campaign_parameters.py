"""What Dify and language models may send to image_campaign, and what becomes of it."""

from typing import Any

import pytest

from tests.plugin.test_parameters import accepted
from tools.errors import Refused
from tools.parameters import CampaignParameters

JOB = "job_0123456789abcdef01234567"


def sent(**given: Any) -> dict[str, Any]:
    """What is sent to the server, whose own schema takes it, without the file format."""
    body = CampaignParameters.parse(given).body()
    accepted(body)
    assert (body.pop("operation"), body.pop("output_format")) == ("campaign", "png")
    return body


def test_a_sentence_is_enough() -> None:
    assert sent(brief=" Spring tea ") == {"brief": "Spring tea"}
    assert sent(product="tea", occasion="Qingming") == {"product": "tea", "occasion": "Qingming"}


@pytest.mark.parametrize(
    ("given", "channels"),
    [
        ("post", ["post"]),
        ("Posts, stories and wide banners", ["post", "story", "wide_banner"]),
        ("wide_banner / BANNER", ["wide_banner", "banner"]),
        ("方图、海报和横幅", ["post", "poster", "banner"]),
        ("1:1, 9:16，２１:9", ["post", "story", "wide_banner"]),
        (["post", "Poster", "post"], ["post", "poster"]),
        ('["story", "ultra-wide banner"]', ["story", "wide_banner"]),
        ("all", ["post", "story", "banner", "wide_banner", "poster"]),
        ("", None),
        (None, None),
        ([], None),
        ("auto", None),
    ],
)
def test_channels_are_read_as_people_write_them(given: object, channels: list[str] | None) -> None:
    assert sent(brief="x", channels=given).get("channels") == channels


@pytest.mark.parametrize(
    ("given", "languages"),
    [
        ("en", ["en"]),
        ("zh,en", ["zh", "en"]),
        ("Chinese and English", ["zh", "en"]),
        ("zh-CN; en_US", ["zh", "en"]),
        ("英文和中文", ["en", "zh"]),
        ("中英文", ["en", "zh"]),
        (["zh_Hans"], ["zh"]),
        *((nothing, None) for nothing in ("", None, "auto")),
    ],
)
def test_languages_are_read_as_people_write_them(given: object, languages: list[str] | None) -> None:
    assert sent(brief="x", languages=given).get("languages") == languages


def test_a_piece_again_is_sent_alone_whatever_else_the_form_has() -> None:
    form = {
        "brief": "x",
        "channels": "fax",
        "languages": "en",
        "product": "tea",
        "image_id": "img_1",
        "style": "spring",
    }
    assert sent(campaign=f"Job {JOB}", piece="2", **form, save_style="autumn") == {"campaign": JOB, "piece": 2}
    assert sent(campaign=JOB, piece=3, headline=" Hi ", subline="there", prompt="a cup", seed="7", steps=4) == {
        **{"campaign": JOB, "piece": 3, "headline": "Hi", "subline": "there", "prompt": "a cup", "seed": 7, "steps": 4},
    }


@pytest.mark.parametrize(
    ("given", "choice", "asks"),
    [
        ({}, "llm", True),
        *(({"enhance": word}, "llm", True) for word in ("llm", "LLM", True, "on")),
        *(({"enhance": word}, "off", False) for word in ("off", False, "no", "rules")),
        ({"campaign": JOB, "piece": 1}, "llm", False),
    ],
)
def test_a_language_model_directs_unless_it_is_off(given: dict[str, Any], choice: str, asks: bool) -> None:
    asked = CampaignParameters.parse({"brief": "x", **given})
    assert (asked.enhance, asked.asks_a_model) == (choice, asks)
    assert not {"enhance", "enhance_model"} & set(asked.body())


def test_the_wish_for_a_language_model_has_all_that_was_said() -> None:
    wish = CampaignParameters.parse(
        {
            "brief": "春茶",
            "audience": "年轻人",
            "channels": "post",
            "languages": "zh",
            "image_id": "img_1",
            "style": "s",
        }
    ).wish()
    assert (wish.parts, wish.channels, wish.languages) == ({"brief": "春茶", "audience": "年轻人"}, ["post"], ["zh"])
    assert (wish.has_image, wish.has_style) == (True, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "brief is missing. Say in one sentence what the campaign is for."),
        ({"audience": "all"}, "brief is missing."),
        ({"brief": "x" * 2001}, "brief: string should have at most 2000 characters."),
        (
            {"brief": "x", "channels": "post, fax"},
            "channels: takes post, story, banner, wide_banner, poster, separated by c",
        ),
        ({"brief": "x", "languages": "fr"}, "languages: takes en, zh, separated by commas; not fr."),
        (
            {"brief": "x", "headline": "Hi"},
            "headline belongs to a piece of an earlier campaign, whose job_id goes into",
        ),
        ({"brief": "x", "piece": 2}, "piece belongs to a piece of an earlier campaign"),
        ({"campaign": JOB}, "piece is missing. Say which piece of the campaign to paint again, counted from 1."),
        ({"campaign": JOB, "piece": 0}, "piece: input should be greater than or equal to 1 (given: 0)."),
        (
            {"campaign": "the last one", "piece": 1},
            "campaign: takes one id such as the tool that started the job named",
        ),
        ({"brief": "x", "image_id": "the last image"}, "image_id: takes the last image only by its id here"),
        ({"brief": "x", "save_style": "a b"}, "save_style: takes letters, digits"),
        ({"brief": "{{#start.brief#}}"}, "brief: the variable {{#start.brief#}} has no value in Dify; choose it anew."),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_remedy(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as caught:
        CampaignParameters.parse(given)
    assert str(caught.value).startswith(said)
