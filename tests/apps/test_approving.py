"""The example app in which a person approves: each way through its forms, by Dify's own engine and our real server.

Dify keeps the forms themselves; here `host.Forms` answers them.
"""

import os
from typing import Any

import pytest
import requests

from tests.apps.conftest import PYTHON, Engine
from tests.apps.test_running import assert_delivers, opened, shown
from tests.support.scripted import ScriptedStudio

pytestmark = pytest.mark.skipif(
    not (PYTHON.exists() or os.environ.get("CI")),
    reason="Dify's workflow engine needs Python 3.12 or 3.13; make setup-tests installs it where there is one",
)
APP = "paint_and_approve.yml"
WISH = "a red apple on a blue background"
APPROVED = ("approve", {"change": ""})


def run(engine: Engine, name: str, **decided: Any) -> dict[str, Any]:
    """One run in a conversation of its own, with what people decide in its forms."""
    return engine.run(APP, conversation=name, query=WISH, decided=decided)


def test_what_is_approved_is_shown_with_its_link(engine: Engine) -> None:
    told = run(engine, "approved", review=APPROVED)
    assert told["order"] == ["start", "paint", "watch", "made", "review", "picture", "link", "show"]
    [file] = told["nodes"]["paint"]["files"]
    assert f"![picture]({file['url']})" in shown(told)
    assert shown(told).count("![") == 1
    assert "Approved 已通过" in shown(told)
    assert told["nodes"]["paint"]["image_id"] in shown(told)
    assert_delivers(shown(told), "Open the picture", file)


def test_the_form_shows_the_picture_by_a_link_that_opens_without_a_login(engine: Engine) -> None:
    told = run(engine, "form", review=APPROVED)
    url = told["nodes"]["paint"]["image_url"]
    assert told["forms"]["review"].startswith(f"![picture]({url})\n")
    picture = requests.get(url, timeout=60)
    assert picture.headers["Content-Type"] == "image/png"
    assert opened(told["nodes"]["paint"]["files"][0]).size == (told["nodes"]["paint"]["width"],) * 2


def test_a_change_is_painted_and_asked_about_again(engine: Engine) -> None:
    change = {"change": "make the background green"}
    told = run(engine, "changed", review=("change", change), review_edit=("approve", {}))
    assert [tool for tool, _ in told["calls"]] == ["image_generation", "image_edit"]
    asked = told["calls"][1][1]
    assert (asked["prompt"], asked["image_id"]) == (change["change"], told["nodes"]["paint"]["image_id"])
    url = told["nodes"]["edit"]["image_url"]
    assert told["forms"]["review_edit"].startswith(f"![picture]({url})\n")
    assert told["forms"]["review_edit"].endswith(change["change"])
    assert told["order"][-3:] == ["picture_edit", "link_edit", "show_edit"]
    assert_delivers(shown(told), "Open the picture", told["nodes"]["edit"]["files"][0])


@pytest.mark.parametrize("action", ["reject", "__timeout__"])
@pytest.mark.parametrize("second", [False, True], ids=["the first form", "the second form"])
def test_what_is_rejected_or_forgotten_is_not_shown(engine: Engine, action: str, second: bool) -> None:
    first = ("change", {"change": "make it golden"}) if second else (action, {"change": ""})
    told = run(engine, f"{action} {second}", review=first, review_edit=(action, {}))
    last = {"reject": "rejected", "__timeout__": "late"}[action] + ("_edit" if second else "")
    assert told["order"][-1] == last
    assert "![" not in shown(told)
    assert "http" not in shown(told)
    assert ("Rejected" if action == "reject" else "Nobody answered within three days") in shown(told)


def test_what_went_wrong_is_said_and_no_form_is_sent(engine: Engine) -> None:
    told = engine.run(APP, conversation="wrong", query="a cat " * 2000, decided={"review": APPROVED})
    assert told["order"][-1] == "say_why"
    assert told["forms"] == {}
    assert "at most 8000 characters" in shown(told)
    changed = run(engine, "empty", review=("change", {"change": ""}))
    assert changed["order"][-1] == "say_why_edit"
    assert list(changed["forms"]) == ["review"]
    assert "what to change in the image" in shown(changed)


def test_a_picture_that_the_server_holds_goes_to_its_own_reviewers(engine: Engine) -> None:
    with ScriptedStudio() as server:
        server.states = [{"state": "review", "held": 1}]
        credentials = {"server_url": server.url, "time_budget": "60"}
        told = engine.run(APP, conversation="held", query=WISH, credentials=credentials, decided={"review": APPROVED})
    assert told["order"][-1] == "say_why"
    assert told["forms"] == {}
    assert "Job job0 waits for a person's approval; then fetch it with image_job." in shown(told)
