"""Lines break, servers die, pages are reloaded: nothing is lost, and everything goes on by itself."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.page.support.opening import Opener
from tests.page.support.screens import said
from tests.page.support.studios import OwnStudio, page_studio
from tests.support.crowds import Crowd
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

SLOW = "a cup, preview pace=0.3"
"""A picture that takes a while, step by step."""
STREAMS = 60


@pytest.fixture(scope="module")
def server(own_studio: OwnStudio) -> Studio:
    """A server that paints on cue, for those who do not kill it."""
    return own_studio(settings=SCRIPTED)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Studio]:
    """A server that is killed, and started again in the same folder and on the same port."""
    with page_studio(tmp_path, settings=SCRIPTED) as studio:
        yield studio


def begin(page: Page, prompt: str) -> None:
    """Paint, and wait for the first steps."""
    ask(page, prompt)
    expect(page.get_by_text(re.compile(r"Step \d+ of \d+"))).to_be_visible()


def ask(page: Page, prompt: str) -> None:
    """Fill in the prompt, and press the button."""
    page.get_by_role("textbox", name="What to paint").fill(prompt)
    page.get_by_role("button", name="Paint").click()


def finished(page: Page, prompt: str) -> None:
    """Wait until the picture is shown, with no word about a lost line left."""
    expect(page.get_by_role("img", name=prompt, exact=True)).to_be_visible()
    expect(page.get_by_text(said(page, "shell.line_lost"))).to_have_count(0)


def prompts(studio: Studio) -> list[str]:
    """What the server was asked for, newest first."""
    jobs = studio.request("GET", "/v1/jobs").json()["data"]
    return [studio.job(job["id"])["request"]["prompt"] for job in jobs]


@pytest.mark.parametrize("whole", [False, True], ids=["its web process", "all of it"])
def test_the_server_is_killed_in_the_middle_and_the_picture_comes(
    open_page: Opener, mortal: Studio, whole: bool
) -> None:
    page = open_page(studio=mortal, lost=True, allow={502, 503})
    begin(page, SLOW)
    (job_id,) = [job["id"] for job in mortal.request("GET", "/v1/jobs").json()["data"]]
    if whole:
        mortal.kill()
    else:
        mortal.kill_one("web")
    expect(page.get_by_text(said(page, "shell.line_lost"))).to_be_visible()
    if whole:
        mortal.start()
    expect(page.get_by_text(said(page, "shell.line_back"))).to_be_visible()
    finished(page, SLOW)
    assert [job["id"] for job in mortal.request("GET", "/v1/jobs").json()["data"]] == [job_id]
    assert mortal.job(job_id)["state"] == "succeeded"


def test_a_reload_in_the_middle_finds_form_and_job(open_page: Opener, server: Studio) -> None:
    page, prompt = open_page(studio=server), f"{SLOW} reload"
    begin(page, prompt)
    page.reload()
    expect(page.get_by_text(re.compile(r"Step \d+ of \d+"))).to_be_visible()
    expect(page.get_by_role("textbox", name="What to paint")).to_have_value(prompt)
    finished(page, prompt)
    assert prompts(server).count(prompt) == 1
    page.reload()
    finished(page, prompt)


def test_what_is_sent_over_a_lost_line_is_painted_once(open_page: Opener, server: Studio) -> None:
    page, prompt = open_page(studio=server, lost=True), "a cup, sent without a line"
    page.context.set_offline(True)
    expect(page.get_by_text(said(page, "shell.line_lost"))).to_be_visible()
    ask(page, prompt)
    expect(page.get_by_role("button", name="Paint")).to_be_disabled()
    page.context.set_offline(False)
    finished(page, prompt)
    assert prompts(server).count(prompt) == 1


class Following(Crowd):
    """Callers that follow everything, and read what they are told."""

    def _look_after(self) -> None:
        while not self._over.wait(0.05):
            for caller in list(self._callers):
                try:
                    if not caller.recv(65536):
                        self._gone(caller)
                except BlockingIOError:
                    continue
                except OSError:
                    self._gone(caller)


def test_sixty_streams_hold_nobody_up(open_page: Opener, server: Studio) -> None:
    head = f"Host: 127.0.0.1:{server.port}\r\nAccept: text/event-stream\r\n\r\n"
    paths = [f"/v1/events?user=p{person}" for person in range(STREAMS)]  # each person has two at most
    with Following(server.port, [f"GET {path} HTTP/1.1\r\n{head}".encode() for path in paths]) as crowd:
        page = open_page(studio=server)
        ask(page, "a cup beside many")
        finished(page, "a cup beside many")
        assert crowd.held == STREAMS


def test_more_tabs_than_streams_are_all_kept_up_to_date(open_page: Opener, server: Studio) -> None:
    first = open_page(studio=server)
    prompt = f"{SLOW} in many tabs"
    begin(first, prompt)
    others = [first.context.new_page() for _ in range(3)]
    for page in others:
        page.goto(f"{server.url}/#/gallery")
        expect(page.locator("h1").first).to_be_attached()
    finished(first, prompt)  # its stream was ended for the others'
    until(lambda: prompts(server)[0] == prompt)
