"""A picture whose file is signed with content credentials says so among its facts."""

import pytest
from playwright.sync_api import expect

from tests.page.support.opening import Opener
from tests.page.support.studios import SMALL, OwnStudio
from tests.support.authority import authority
from tests.support.studio import SCRIPTED, Studio


@pytest.fixture(scope="module")
def studio(own_studio: OwnStudio, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """A server that signs."""
    return own_studio(settings={**SCRIPTED, **authority().issue().files(tmp_path_factory.mktemp("ca"))})


def test_a_signed_picture_says_so_and_another_does_not(open_page: Opener, studio: Studio, scripted: Studio) -> None:
    for server, is_signed in ((studio, True), (scripted, False)):
        image = server.finished(server.submit(**SMALL)["id"])["images"][0]["id"]
        facts = open_page(f"#/gallery/{image}", studio=server).get_by_role("dialog").locator(".facts")
        expect(facts).to_contain_text("128 × 128")
        expect(facts.get_by_text("Signed (C2PA)")).to_have_count(int(is_signed))
