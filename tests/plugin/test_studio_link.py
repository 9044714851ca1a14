"""``studio_url``, the link under which a person edits a picture in the studio's page, of every tool that gives one."""

import json
from typing import Any

import pytest

from tests.plugin.test_batch_tool import ARCHIVE, counted
from tests.plugin.test_campaign_tool import DIRECTION, PIECES
from tests.plugin.test_review_tool import decided
from tests.plugin.test_tools import edit, generate
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER
from tests.support.scripted import SIGNATURE, SUCCEEDED, ScriptedStudio, error

# What is told does not depend on the SDK, on both of which the other files call every tool.
pytestmark = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")

PAGE = "https://studio.example"
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "image_generation": ("generate", {"prompt": "a cup", "n": 2}),
    "image_edit": ("edit", {"prompt": "make it blue", "image_id": "img_1"}),
    "image_outpaint": ("outpaint", {"image_id": "img_1", "left": 64}),
    "image_batch": ("batch", {"prompt": "a {{thing}}", "rows": "thing\ncup\npear"}),
    "image_campaign": ("campaign", {"brief": "spring tea", "enhance": "off"}),
}
WITH_ROWS = ("image_batch", "image_campaign")


def link_to(image_id: str) -> str:
    """The link to the editor of an image."""
    return f"{PAGE}/#/edit/{image_id}?k=1795883985.{SIGNATURE}"


def called(plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object], tool: str, **place: Any) -> Outcome:
    """Call a tool; what has rows has two, of which the second one has the only picture."""
    operation, given = CALLS[tool]
    studio.operation = operation
    if tool in WITH_ROWS:
        studio.rows = [studio.row_view(0, "failed", "Broke."), studio.row_view(1)]
        asked = {"request": {"direction": DIRECTION, "pieces": PIECES[:2]}} if tool == "image_campaign" else {}
        studio.states = [{"state": "succeeded", "rows": counted(2, 1, 1), "archive_url": ARCHIVE, **asked}]
    else:
        studio.count = 2
    outcome = plugin.invoke(PROVIDER, tool, given, credentials, **place)
    outcome.raise_on_error()
    return outcome


def told(outcome: Outcome) -> str:
    """The JSON as text."""
    return json.dumps(outcome.jsons, ensure_ascii=False)


@pytest.mark.parametrize("tool", CALLS)
def test_every_tool_gives_the_link_of_its_first_picture(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], tool: str
) -> None:
    """As a variable, and once in the JSON; of a table the first row that has a picture, and not the contact sheet."""
    outcome = called(plugin, scripted, credentials, tool)
    first = link_to("img1" if tool in WITH_ROWS else "img0")
    assert outcome.variables["studio_url"] == first
    assert outcome.jsons[0]["studio_url"] == first
    assert told(outcome).count("#/edit/") == 1
    assert "#/edit/" not in "".join(outcome.texts)


@pytest.mark.parametrize("tool", CALLS)
def test_image_job_gives_the_same_link(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], tool: str
) -> None:
    made = called(plugin, scripted, credentials, tool)
    fetched = plugin.invoke(PROVIDER, "image_job", {"job_id": made.variables["job_id"]}, credentials)
    fetched.raise_on_error()
    assert fetched.variables["studio_url"] == made.variables["studio_url"]
    assert fetched.jsons[0]["studio_url"] == made.jsons[0]["studio_url"]
    assert told(fetched).count("#/edit/") == 1


def test_of_a_list_each_job_has_its_own_and_the_variable_none(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.count = 2
    scripted.listed = [scripted.view("job1", SUCCEEDED), scripted.view("job0", {"state": "running"})]
    outcome = plugin.invoke(PROVIDER, "image_job", {"action": "list"}, credentials)
    outcome.raise_on_error()
    assert [job.get("studio_url") for job in outcome.jsons[0]["jobs"]] == [link_to("img0"), None]
    assert outcome.variables["studio_url"] == ""
    assert "#/edit/" not in outcome.texts[0]


@pytest.mark.parametrize(("verdict", "given"), [("approved", True), ("rejected", False)])
def test_a_reviewer_gets_it_of_what_was_approved(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], verdict: str, given: bool
) -> None:
    image_id = "img_0123456789abcdef01234567"
    scripted.script[f"POST /v1/images/{image_id}/review"].append(decided(verdict, studio_url=link_to(image_id)))
    asked = {"image_id": image_id, "verdict": verdict}
    outcome = plugin.invoke(PROVIDER, "image_review", asked, credentials)
    outcome.raise_on_error()
    assert outcome.variables["studio_url"] == (link_to(image_id) if given else "")
    assert told(outcome).count("#/edit/") == (1 if given else 0)
    assert "#/edit/" not in outcome.texts[0]
    scripted.script[f"POST /v1/images/{image_id}/review"].append(decided(verdict, studio_url=link_to(image_id)))
    chat = plugin.invoke(PROVIDER, "image_review", asked, credentials, conversation_id="c-1")
    assert told(chat).count("http") == (1 if given else 0), "a model reads one link of a picture at most"


@pytest.mark.parametrize("place", [{"conversation_id": "c-1"}, {"app_id": None}], ids=["chat", "new Agent app"])
@pytest.mark.parametrize("tool", CALLS)
def test_an_agent_reads_the_link_in_the_json_and_of_a_table_no_link_of_one_picture(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], tool: str, place: dict[str, Any]
) -> None:
    """It hands the link on to the person; which picture of a table is to be edited, it names by its id."""
    outcome = called(plugin, scripted, credentials, tool, **place)
    first = outcome.variables["studio_url"]
    assert first
    assert outcome.jsons[0].get("studio_url") == (None if tool in WITH_ROWS else first)
    assert told(outcome).count("http") == (0 if tool in WITH_ROWS else 1)
    assert "#/edit/" not in "".join(outcome.texts)


@pytest.mark.parametrize("null", [False, True], ids=["an older server", "a server that gives none"])
@pytest.mark.parametrize("tool", CALLS)
def test_without_a_link_the_variable_is_empty_and_all_else_as_before(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], tool: str, null: bool
) -> None:
    scripted.page = None
    if null:
        known = scripted.image_view
        scripted.image_view = lambda position: known(position) | {"studio_url": None}  # type: ignore[method-assign]
    outcome = called(plugin, scripted, credentials, tool)
    assert outcome.variables["studio_url"] == ""
    assert outcome.variables["image_ids"]
    assert "studio_url" not in told(outcome)


def test_an_agent_of_an_older_server_reads_the_link_of_the_picture_itself(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.page = None
    outcome = generate(plugin, credentials)
    assert "url" not in outcome.jsons[0]
    outcome = plugin.invoke(PROVIDER, "image_generation", {"prompt": "x"}, credentials, conversation_id="c-2")
    assert outcome.jsons == [{"job_id": "job1", "seed": 7, "url": "https://studio.example/files/img0?sign=s"}]


def test_the_link_names_the_picture_to_every_tool_that_takes_one(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    """A person or an agent hands on the link where an id is asked for; there is a page behind it and no picture."""
    image_id = "img_0123456789abcdef01234567"
    edit(plugin, credentials, image_id=link_to(image_id)).raise_on_error()
    assert scripted.called("POST /v1/jobs")[-1].json()["image"] == [image_id]
    scripted.script["PUT /v1/styles/spring"].append(error(403, "Seen."))
    given = {"action": "save", "style": "spring", "image_id": link_to(image_id)}
    plugin.invoke(PROVIDER, "image_style", given, credentials)
    assert scripted.called("PUT /v1/styles/spring")[0].json()["reference"] == image_id
