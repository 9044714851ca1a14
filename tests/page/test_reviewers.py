"""Several reviewers at once, each signed in with a key."""

import pytest
from playwright.sync_api import expect

from qwen_image_studio.contract.words import Scope
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.page.support.opening import Opener
from tests.page.support.reviewing import UNDO_MS, kept, looked_at
from tests.page.support.studios import OwnStudio
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until


@pytest.fixture(scope="module")
def firm(own_studio: OwnStudio) -> Studio:
    """A server with keys, whose own one paints."""
    return own_studio(with_key=True, settings=SCRIPTED)


@pytest.fixture(scope="module")
def keys(firm: Studio) -> dict[str, str]:
    """A key for each kind of reviewer."""
    store = KeyStore(open_database(Settings(data_dir=firm.folder / "data")))
    people = {"rita": ("tests", Scope.REVIEW), "bert": ("tests", Scope.REVIEW), "ops": ("ops", Scope.OPERATE)}
    return {name: store.add(name, owner, [scope]) for name, (owner, scope) in people.items()}


def painted_for(firm: Studio, n: int = 1) -> None:
    """Have pictures painted that wait."""
    job = firm.submit(hold=True, width=128, height=128, steps=2, n=n)["id"]
    until(lambda: firm.job(job, wait=5)["state"] == "review")


def states(firm: Studio, key: str, state: str) -> int:
    """How many pictures are in a state of review, as a reviewer sees it."""
    header = {"Authorization": f"Bearer {key}"}
    return int(firm.request("GET", "/v1/images", params={"review": state}, headers=header).json()["total"])


def test_two_reviewers_at_once_and_an_operator_of_another_owner(
    open_page: Opener, firm: Studio, keys: dict[str, str]
) -> None:
    painted_for(firm, 3)
    rita = open_page("#/review", studio=firm, key=keys["rita"], allow={409})
    bert = open_page("#/review", studio=firm, key=keys["bert"])
    rita.clock.install()
    bert.clock.install()
    looked_at(rita, 1, 3)
    looked_at(bert, 1, 3)
    rita.keyboard.press("a")
    bert.keyboard.press("r")
    bert.clock.fast_forward(UNDO_MS)
    until(lambda: states(firm, keys["rita"], "rejected") == 1)
    rita.clock.fast_forward(UNDO_MS)
    expect(rita.get_by_role("status")).to_contain_text("bert was first: the picture is rejected already.")
    looked_at(rita, 1, 2)
    ops = open_page("#/review", studio=firm, key=keys["ops"])
    ops.clock.install()
    looked_at(ops, 1, 2)
    expect(ops.locator("dl")).to_contain_text("tests")
    ops.keyboard.press("a")
    ops.clock.fast_forward(UNDO_MS)
    until(lambda: states(firm, keys["rita"], "approved") == 1)
    looked_at(rita, 1, 1)  # told by events
    rita.keyboard.press("a")
    rita.get_by_role("button", name="Sign out").click()
    expect(rita.get_by_role("heading", name="Nothing to review")).to_have_count(0)
    until(lambda: states(firm, keys["rita"], "held") == 0)  # signing out has sent it
    assert kept(rita) is None
