"""Status: how the server is; for operators also devices, the queue of all owners, speeds, failures and keys."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from playwright.sync_api import Locator, Page, expect

from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.page.support.opening import Opener, sidewise
from tests.page.support.screens import said
from tests.page.support.studios import SMALL, OwnStudio
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until


@pytest.fixture(scope="module")
def studio(own_studio: OwnStudio) -> Studio:
    """A server with keys that paints plain colours, and fails on cue of the prompt."""
    return own_studio(with_key=True, settings=SCRIPTED)


@pytest.fixture(scope="module")
def keys(studio: Studio) -> dict[str, str]:
    """Keys: an operator's, and one with limits that has failed once."""
    store = KeyStore(open_database(Settings(data_dir=studio.folder / "data")))
    limits = KeyLimits(key=Limits(images_per_day=500), person=Limits(jobs_at_once=3))
    made = {"ops": store.add("ops", scopes=[Scope.OPERATE]), "shop": store.add("dify", "shop", limits=limits)}
    header = {"Authorization": f"Bearer {made['shop']}"}

    def has_ended(job: str) -> bool:
        answer = studio.request("GET", f"/v1/jobs/{job}", params={"wait": 5}, headers=header)
        return answer.json()["state"] in {"succeeded", "failed"}

    for prompt, user in (("a cup", "0a" * 20), ("bug@1 always", "ann")):
        asked = {"operation": "generate", "prompt": prompt, "user": user, **SMALL}
        job = studio.request("POST", "/v1/jobs", json=asked, headers=header).json()["id"]
        until(partial(has_ended, job))
    return made


@pytest.fixture
def status(open_page: Opener, studio: Studio, keys: dict[str, str]) -> Iterator[Callable[..., Page]]:
    """Open the screen as somebody; what waits in the end is cancelled."""
    yield lambda who="ops", **how: open_page("#/status", studio=studio, key=keys[who], **how)
    headers = {"Authorization": f"Bearer {keys['ops']}"}
    studio.request("POST", "/v1/queue/cancel", json={"scope": "all"}, headers=headers)
    until(lambda: studio.request("GET", "/v1/queue", headers=headers).json()["data"] == [])


def queue(page: Page) -> Locator:
    """The jobs of the queue."""
    return page.locator(".status-queue > li")


def fill(studio: Studio, number: int) -> list[str]:
    """Have one job painted for ever, and others wait behind it: their ids."""
    first = studio.submit(prompt="forever", **SMALL)["id"]
    until(lambda: studio.job(first)["state"] == "running")
    return [first, *(studio.submit(prompt=f"a secret {each}", **SMALL)["id"] for each in range(number))]


def test_an_operator_cancels_one_job_and_then_all_that_wait(status: Callable[..., Page], studio: Studio) -> None:
    running, first, second, third = fill(studio, 3)
    page = status()
    expect(page.get_by_role("heading", level=1)).to_have_text("Painting")
    expect(queue(page)).to_have_count(4)
    expect(queue(page).nth(0)).to_contain_text("Paint · miniature · Quality")
    expect(queue(page).nth(1)).to_contain_text("next")
    expect(queue(page).nth(3)).to_contain_text("place 3")
    expect(page.get_by_text("secret")).to_have_count(0)
    queue(page).nth(2).get_by_role("button", name="Cancel this job of tests").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).click()  # not this time
    expect(queue(page)).to_have_count(4)
    queue(page).nth(2).get_by_role("button", name="Cancel this job of tests").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(queue(page)).to_have_count(3)
    assert [studio.job(each)["state"] for each in (first, second, third)] == ["queued", "cancelled", "queued"]
    page.get_by_role("button", name="Cancel all waiting").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel all").click()
    expect(page.get_by_role("status")).to_contain_text("2 jobs cancelled")
    expect(queue(page)).to_have_count(1)
    assert [studio.job(each)["state"] for each in (running, first, third)] == ["running", "cancelled", "cancelled"]
    expect(page.get_by_role("button", name="Cancel all waiting")).to_be_disabled()


def test_the_queue_follows_by_itself(status: Callable[..., Page], studio: Studio) -> None:
    page = status()
    expect(page.get_by_text("Nothing waits and nothing runs.")).to_be_visible()
    running, waiting = fill(studio, 1)
    expect(queue(page)).to_have_count(2)
    expect(page.locator(".status-devices li").filter(has_text="Processor")).to_contain_text("Paint for tests")
    for job in (waiting, running):
        studio.request("POST", f"/v1/jobs/{job}/cancel")
    expect(queue(page)).to_have_count(0)


def test_an_operator_sees_devices_speeds_failures_and_keys(status: Callable[..., Page]) -> None:
    page = status()
    expect(page.get_by_role("heading", level=1)).to_have_text("Ready to paint")
    device = page.locator(".status-devices li").filter(has_text="Processor")
    expect(device).to_contain_text("miniature")
    expect(device.get_by_role("progressbar")).to_be_visible()
    speeds = page.locator(".card").filter(has_text="Seconds per picture")
    expect(speeds).to_contain_text("the median of the last 50")
    expect(speeds.get_by_role("row").filter(has_text="miniature")).to_contain_text("Paint")
    failures = page.locator(".card").filter(has_text="Last failures")
    expect(failures).to_contain_text("The engine failed")
    expect(failures).to_contain_text("Paint · miniature · shop")
    key = page.locator(".status-key").filter(has_text="dify")
    expect(key).to_contain_text("1 picture")
    key.locator("summary").click()
    expect(key).to_contain_text("Dify 0a0a0a0a")
    expect(key.get_by_role("progressbar", name="Pictures today: 1 of 500")).to_be_visible()
    expect(key).to_contain_text("Each person: Jobs at once")
    assert "qis_" not in page.content()
    with page.expect_download() as sheet:
        page.get_by_role("link", name="Usage (CSV)").click()
    assert "dify" in sheet.value.path().read_text()


def test_others_see_a_short_form(status: Callable[..., Page]) -> None:
    page = status("shop")
    expect(page.get_by_role("heading", level=1)).to_have_text("Ready to paint")
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    expect(page.get_by_role("rowheader", name="miniature")).to_be_visible()
    expect(page.get_by_role("progressbar", name="Pictures today: 1 of 500")).to_be_visible()
    for name in ("Queue", "Keys and what they used", "Last failures"):
        expect(page.get_by_role("heading", name=name)).to_have_count(0)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_phone_shows_it_without_scrolling_sidewise(
    status: Callable[..., Page], studio: Studio, language: str
) -> None:
    fill(studio, 1)
    page = status(size=(360, 780), touch=True, language=language)
    expect(queue(page)).to_have_count(2)
    assert sidewise(page) == 0
    expect(page.get_by_role("button", name=said(page, "status.cancel_all"))).to_be_visible()
    assert "status." not in page.locator("main").inner_text()


def test_a_server_that_is_gone_is_told_and_comes_back_by_itself(status: Callable[..., Page]) -> None:
    page = status(lost=True)
    expect(page.get_by_role("heading", level=1)).to_have_text("Ready to paint")
    page.context.set_offline(True)
    expect(page.get_by_role("heading", level=1)).to_have_text("The server's state is not known")
    page.context.set_offline(False)
    expect(page.get_by_role("heading", level=1)).to_have_text("Ready to paint")


def test_a_server_that_answers_no_more_is_told_though_the_stream_stays_open(
    status: Callable[..., Page], studio: Studio
) -> None:
    """As behind a proxy that keeps the connection of the stream."""
    page = status(lost=True)
    expect(page.get_by_role("heading", level=1)).to_have_text("Ready to paint")
    page.route("**/v1/**", lambda route: route.abort())
    fill(studio, 0)  # the stream, which is open, tells of it, and the page asks for the queue
    expect(page.get_by_role("heading", level=1)).to_have_text("The server's state is not known")
    page.unroute("**/v1/**")
    expect(page.get_by_role("heading", level=1)).to_have_text("Painting")
