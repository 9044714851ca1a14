"""The limits of a real store as people read them in Dify, and the person whom both sides mean."""

import json
import re
from pathlib import Path

import pytest

from qwen_image_studio.contract.caller import Caller, person_of, person_of_dify
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Lane, Operation, Scope
from qwen_image_studio.jobs import NewJob
from qwen_image_studio.jobs.answering import _SIMILAR as SIMILAR
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.operations.allowed import check_allowed
from qwen_image_studio.operations.paint_request import PaintRequest
from qwen_image_studio.operations.request import validated
from qwen_image_studio.settings import Settings
from tests.support.daemon import Daemon
from tests.support.database import with_tables
from tests.support.dify import PROVIDER
from tests.support.plans import a_plan
from tests.support.scripted import ScriptedStudio
from tools.views import Job
from tools.words import translated

COUNTED = ("images_per_day", "images_per_month", "requests_per_minute", "jobs_at_once")


def refusal(folder: Path, limits: KeyLimits) -> str:
    """What the server says to a job beyond a limit."""
    asked = NewJob("shop", Operation.GENERATE, Lane.PAINT, "small", "quality", {}, key="dify.main", images=2)
    with open_store(with_tables(Settings(_env_file=None, data_dir=folder))) as store:
        with pytest.raises(StudioError) as error:
            store.jobs.submit(asked, queue_limit=9, limits=limits)
        return error.value.message


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("whose", ["key", "person"])
def test_every_limit_is_told_in_chinese_as_a_whole(tmp_path: Path, name: str, whose: str) -> None:
    limits = Limits(**{name: 1 if name.startswith("images") else 0})
    said = refusal(tmp_path, KeyLimits(**{whose: limits}))
    chinese = translated(said, "zh")
    assert re.findall(r"[A-Za-z]{3,}", chinese.replace("dify.main", "")) in ([], ["API"], ["API", "UTC"]), chinese
    assert translated(said, "en") == said


@pytest.mark.parametrize("limit", [{"max_pixels": 64 * 64}, {"max_steps": 3}])
@pytest.mark.parametrize("whose", ["key", "person"])
@pytest.mark.parametrize("asked", [{}, {"steps": 9}])
def test_a_size_and_steps_beyond_the_limit_are_told_in_chinese_as_a_whole(
    limit: dict[str, int], whose: str, asked: dict[str, int]
) -> None:
    request = validated({"operation": "generate", "prompt": "a cup", **asked})
    assert isinstance(request, PaintRequest)
    caller = Caller("shop", "dify", [Scope.GENERATE], KeyLimits(**{whose: Limits(**limit)}))
    with pytest.raises(StudioError) as error:
        check_allowed(request, a_plan(width=128, height=128, steps=9), caller)
    chinese = translated(error.value.message, "zh")
    assert set(re.findall(r"[A-Za-z]{3,}", chinese)) <= {"size", "steps", "API", "dify", "miniature"}, chinese


def test_a_missing_scope_is_told_in_chinese_as_a_whole() -> None:
    for needed in ((Scope.EDIT,), (Scope.REVIEW, Scope.OPERATE)):
        with pytest.raises(StudioError) as error:
            Caller("shop", "dify", [Scope.GENERATE]).check_scope(*needed)
        chinese = translated(error.value.message, "zh")
        assert "lacks" not in chinese
        assert "operator" not in chinese


def test_what_is_noted_of_a_similar_picture_is_told_in_words_of_the_form_and_in_chinese() -> None:
    [noted] = Job(id="job_1", operation="generate", model="m", state="succeeded", warnings=[SIMILAR]).warnings
    assert noted.endswith("; cache: off has them painted anew.")
    assert re.findall(r"[A-Za-z_]{3,}", translated(noted, "zh")) == ["similar_prompt", "cache", "off"]


@pytest.mark.parametrize("user_id", ["user-1", "4b1c1f5e-6f0a-4c0e-9a53-0e6f6f0c1a11", "安 娜/ß"])
def test_the_server_names_a_person_of_dify_as_the_plugin_does(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], user_id: str
) -> None:
    plugin.invoke(PROVIDER, "image_generation", {"prompt": "a cup"}, credentials, user_id=user_id).raise_on_error()
    [sent] = scripted.called("POST /v1/jobs")
    user = json.loads(sent.body)["user"]
    assert user == person_of_dify(user_id) == person_of(user)
