"""The link to the studio's page in the example apps, by Dify's own engine: there where the server gives one."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.apps.conftest import PYTHON, Engine
from tests.apps.test_running import FORMS, OF_ROWS, shown
from tests.support.scripted import PNG, SIGNATURE, ScriptedStudio

pytestmark = pytest.mark.skipif(
    not (PYTHON.exists() or os.environ.get("CI")),
    reason="Dify's workflow engine needs Python 3.12 or 3.13; make setup-tests installs it where there is one",
)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{app: (app, {}) for app in FORMS},
    "edit_last_picture.yml, an edit": ("edit_last_picture.yml", {"kept": {"has_picture": "yes"}}),
    "bilingual_poster.yml, an edit": (
        "bilingual_poster.yml",
        {"kept": {"english_id": "img_1", "chinese_id": "img_2"}, "query": "make it blue"},
    ),
    "sketch_then_paint.yml, painted": (
        "sketch_then_paint.yml",
        {"kept": {"prompt": "a cup", "sketch_id": "img_1"}, "query": "paint"},
    ),
    "paint_and_approve.yml": (
        "paint_and_approve.yml",
        {"query": "a cup", "decided": {"review": ("approve", {"change": ""})}},
    ),
    "paint_and_approve.yml, an edit": (
        "paint_and_approve.yml",
        {
            "query": "a cup",
            "decided": {"review": ("change", {"change": "make it blue"}), "review_edit": ("approve", {})},
        },
    ),
}
IN_TWO_LANGUAGES = ("Edit in the studio", "在画室中修改")


@pytest.mark.parametrize("page", ["https://studio.example", None], ids=["a page", "an older server"])
@pytest.mark.parametrize("case", CASES)
def test_every_app_offers_to_edit_its_picture_in_the_studio(
    engine: Engine, tmp_path: Path, case: str, page: str | None
) -> None:
    app, how = CASES[case]
    photo: dict[str, Any] = {}
    if app == "upload_and_edit.yml":
        (tmp_path / "photo.png").write_bytes(PNG)
        photo = {"photo": {"path": str(tmp_path / "photo.png")}}
    with ScriptedStudio() as server:
        server.page, server.states = page, [{"state": "succeeded", "tier": "draft"}]
        if app in OF_ROWS:
            server.operation, server.rows = OF_ROWS[app], [server.row_view(row) for row in range(2)]
            pieces = [{"channel": "post", "language": "en"}, {"channel": "story", "language": "en"}]
            rows = {"rows": {"total": 2, "succeeded": 2}, "request": {"pieces": pieces}}
            server.states = [{"state": "succeeded", **rows}]
        credentials = {"server_url": server.url, "time_budget": "60"}
        given = {**FORMS.get(app, {}), **photo, **how}
        told = engine.run(app, conversation=f"{case} {page}", credentials=credentials, **given)
    said = shown(told)
    links = re.findall(r"(?<!!)\[([^]]*)\]\((https://studio\.example/#/edit/[^)]*)\)", said)
    link = f"https://studio.example/#/edit/img0?k=1795883985.{SIGNATURE}"
    labels = [*IN_TWO_LANGUAGES] if app == "bilingual_poster.yml" else [" ".join(IN_TWO_LANGUAGES)]
    assert links == [(label, link) for label in labels if page]
    assert any(words in said for words in IN_TWO_LANGUAGES) == bool(page)
    assert "()" not in said
    assert "None" not in said
