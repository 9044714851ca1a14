"""The last image of a conversation, edited without naming it: the plugin on both SDKs and the real server."""

from typing import Any

import pytest

from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER
from tests.support.studio import Studio

FEW = {"steps": "2", "seed": 3}


@pytest.fixture
def credentials(studio: Studio) -> dict[str, object]:
    """Credentials for the real server."""
    return {"server_url": studio.url, "api_key": studio.api_key, "time_budget": "120"}


class Person:
    """Someone who calls tools in one place."""

    def __init__(self, plugin: Daemon, credentials: dict[str, object], **place: Any) -> None:
        self._plugin, self._credentials, self._place = plugin, credentials, place

    def calls(self, tool: str, **parameters: Any) -> Outcome:
        """Call a tool, with few steps."""
        return self._plugin.invoke(PROVIDER, tool, FEW | parameters, self._credentials, **self._place)


def source_of(studio: Studio, outcome: Outcome) -> str:
    """Width and height of a job's images tell what it was made from, since each first picture has a size of its own."""
    outcome.raise_on_error()
    return f"{outcome.variables['width']:.0f}x{outcome.variables['height']:.0f}"


def test_now_make_the_sky_red(plugin: Daemon, studio: Studio, credentials: dict[str, object]) -> None:
    person = Person(plugin, credentials, conversation_id="chat-1")
    other = Person(plugin, credentials, conversation_id="chat-2")
    person.calls("image_generation", prompt="a red apple", size="64x96").raise_on_error()
    other.calls("image_generation", prompt="a cup", size="96x64").raise_on_error()
    wider = person.calls("image_outpaint", left=32)
    assert source_of(studio, wider) == "96x96"
    nobody = Person(plugin, credentials, conversation_id="chat-3").calls("image_outpaint", left=32)
    assert nobody.error is not None
    assert "there is no image in this conversation yet" in nobody.error.message
    again = person.calls("image_outpaint", top=16)
    assert source_of(studio, again) == "96x112"
    part = person.calls("image_edit", prompt="make the sky red", region="0,0,0.5,0.5")
    assert source_of(studio, part) == "96x112"
    assert source_of(studio, other.calls("image_edit", prompt="a star", region="0,0,0.5,0.5")) == "96x64"


def test_without_a_conversation_it_is_the_users_last_in_this_app(
    plugin: Daemon, studio: Studio, credentials: dict[str, object]
) -> None:
    """D9: in a workflow no sentence speaks of a conversation."""
    here = {"conversation_id": None, "app_id": "app-7", "user_id": "user-7"}
    Person(plugin, credentials, **here).calls("image_generation", prompt="a cup", size="64x112").raise_on_error()
    for place in ({"user_id": "user-8"}, {"app_id": "app-8"}):
        stranger = Person(plugin, credentials, **{**here, **place}).calls("image_outpaint", left=32)
        assert stranger.error is not None
        assert stranger.error.message.startswith(
            "image: none was given, and this app has no earlier one of yours; give"
        )
    assert source_of(studio, Person(plugin, credentials, **here).calls("image_outpaint", left=32)) == "96x112"
    nobody = Person(plugin, credentials, conversation_id=None, app_id=None, user_id="")
    refused = nobody.calls("image_edit", prompt="make the sky red")
    assert refused.error is not None
    assert refused.error.message.startswith("Give the image: a file, or image_id")
