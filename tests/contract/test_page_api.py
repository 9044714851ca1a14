"""The studio page over HTTP: its headers, how its files are kept by browsers, and the page below a path."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web import page
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.page import STATIC
from tests.support.database import with_tables

SCREENS = ("paint", "edit", "gallery", "review", "status")
POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "img-src": "'self' blob:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
"""All but where scripts come from."""
KINDS = {
    **dict.fromkeys((".js", ".mjs"), "text/javascript"),
    **{".css": "text/css", ".svg": "image/svg+xml", ".webp": "image/webp", ".txt": "text/plain"},
}
FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())

Serve = Callable[..., FlaskClient]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Makes a caller of a server with settings of its own."""

    def made(**settings: Any) -> FlaskClient:
        chosen = with_tables(Settings(data_dir=tmp_path, models="miniature", **settings))
        app: Flask = create_app(chosen, configured_models(chosen, card_gib=0))
        return app.test_client()

    return made


def directives(answer: TestResponse) -> dict[str, str]:
    """Return the content security policy of an answer."""
    parts = [part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";")]
    assert len({name for name, _, _ in parts}) == len(parts)
    return {name: value for name, _, value in parts}


def inline_map(answer: TestResponse) -> str:
    """Return the import map as it stands in the page."""
    [found] = re.findall(r'<script type="importmap">(.*?)</script>', answer.text, re.DOTALL)
    return str(found)


def addresses(answer: TestResponse) -> list[str]:
    """Return all addresses that the page names."""
    named = re.findall(r'(?:href|src)="([^"]+)"', answer.text)
    return [*named, *json.loads(inline_map(answer))["imports"].values()]


# -- the page itself -----------------------------------------------------------------------------------------------


def test_the_policy_lets_nothing_run_but_the_page_and_its_import_map(client: FlaskClient) -> None:
    answer = client.get("/")
    said = directives(answer)
    digest = base64.b64encode(hashlib.sha256(inline_map(answer).encode()).digest()).decode()
    assert said.pop("script-src") == f"'self' 'sha256-{digest}'"
    assert said == POLICY


def test_the_other_headers_of_the_page(client: FlaskClient) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    wanted = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
    assert {name: answer.headers.get(name) for name in wanted} == wanted
    assert "Set-Cookie" not in answer.headers


def test_the_page_has_no_words_code_or_styles_of_its_own(client: FlaskClient) -> None:
    text = client.get("/").text.replace(inline_map(client.get("/")), "")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script>|javascript:|https?:", text)
    assert [found for found in re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) if found] == []


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("https://dify.example.com", "https://dify.example.com"),
        ("https://a.example, http://b.example:8080", "https://a.example http://b.example:8080"),
    ],
)
def test_who_may_frame_it_is_a_setting(serve: Serve, sent: str, said: str) -> None:
    answer = serve(frame_ancestors=sent).get("/")
    assert {**POLICY, **directives(answer)} == {**directives(answer), "frame-ancestors": said}


def test_answers_that_are_no_page_show_nothing(client: FlaskClient) -> None:
    for path in ("/v1/health", "/openapi.json", "/nowhere", "/static/0/js/main.js"):
        assert directives(client.get(path)) == {"default-src": "'none'", "frame-ancestors": "'none'"}, path


def test_the_page_is_only_read(client: FlaskClient) -> None:
    assert [ask("/").status_code for ask in (client.post, client.put, client.delete)] == [405] * 3


# -- its files -----------------------------------------------------------------------------------------------------


def folder_of(client: FlaskClient) -> str:
    """Return the address below which the files are."""
    [found] = re.findall(r'src="(.*)/js/main\.js"', client.get("/").text)
    return str(found)


def test_everything_that_the_page_names_is_there(client: FlaskClient) -> None:
    named = addresses(client.get("/"))
    assert len(named) >= 8
    assert {name: client.get(name).status_code for name in named} == dict.fromkeys(named, 200)


def test_files_are_sent_whole_with_their_types_and_kept_for_good(client: FlaskClient) -> None:
    """Our scripts without their comments; tests/page/test_sent.py holds that they are the same scripts."""
    folder = folder_of(client)
    for name in FILES:
        answer, whole = client.get(f"{folder}/{name}"), (STATIC / name).read_bytes()
        assert answer.status_code == 200, name
        assert answer.data == whole or name.startswith("js/"), name
        assert answer.data.count(b"\n") == whole.count(b"\n"), name
        assert answer.mimetype == KINDS[Path(name).suffix], name
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        packed = client.get(f"{folder}/{name}", headers={"Accept-Encoding": "gzip, br"})
        assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
        assert gzip.decompress(packed.data) == answer.data, name
        assert packed.headers["ETag"] == answer.headers["ETag"]


def test_what_a_browser_has_is_not_sent_again(client: FlaskClient) -> None:
    folder = folder_of(client)
    for address in ("/", f"{folder}/js/main.js", f"{folder}/logo.svg"):
        for packing in ("gzip", "identity"):
            packed = {"Accept-Encoding": packing}
            tag = client.get(address, headers=packed).headers["ETag"]
            again = client.get(address, headers={"If-None-Match": f'"other", {tag}', **packed})
            assert (again.status_code, again.data) == (304, b"")
            assert again.headers["ETag"] == tag
            assert again.headers["Cache-Control"]
            other = client.get(address, headers={"If-None-Match": '"other"', **packed})
            assert (other.status_code, len(other.data) > 100) == (200, True)
            head = client.head(address, headers={"If-None-Match": tag})
            assert (head.status_code, head.data) == (304, b"")


def test_another_version_has_other_addresses(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    before, files = folder_of(client), page.read_files()
    changed = {**files, "css/base.css": files["css/base.css"] + b"\n"}
    monkeypatch.setattr(page, "read_files", lambda: changed)
    after = serve()
    assert folder_of(after) != before
    assert after.get(f"{before}/css/base.css").status_code == 404, "of an older version there is nothing"
    assert after.get("/").headers["ETag"] != client.get("/").headers["ETag"]


def test_nothing_else_is_there(client: FlaskClient) -> None:
    outside = ("../index.html", "js/../../index.html", "%2e%2e/index.html", "/etc/passwd", "vendor.toml")
    for name in ("", "js", "js/", "js/none.js", *outside):
        answer = client.get(f"{folder_of(client)}/{name}")
        assert answer.status_code in {404, 308}, name
        assert b"<!doctype" not in answer.data.lower()


def test_every_screen_is_there_with_its_styles(client: FlaskClient) -> None:
    folder = folder_of(client)
    asked = [f"{folder}/{kind}/{screen}.{kind}" for screen in (*SCREENS, "signin") for kind in ("js", "css")]
    assert {path: client.get(path).status_code for path in asked} == dict.fromkeys(asked, 200)


# -- below a path --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/studio", ""], ids=["passed on", "stripped"])
def test_below_a_path_every_address_is_the_browsers(serve: Serve, prefix: str) -> None:
    """The browser asks below the path; the proxy passes it on, or takes it off."""
    client = serve(public_url="https://x.example/studio/")
    answer = client.get(f"{prefix}/")
    assert answer.status_code == 200
    named = addresses(answer)
    assert [name for name in named if not name.startswith("/studio/static/")] == []
    found = {name: client.get(f"{prefix}{name.removeprefix('/studio')}").status_code for name in named}
    assert found == dict.fromkeys(named, 200)
    digest = base64.b64encode(hashlib.sha256(inline_map(answer).encode()).digest()).decode()
    assert f"'sha256-{digest}'" in directives(answer)["script-src"]


def test_no_script_names_an_address_from_the_root() -> None:
    """It would lead out of the path; api.js puts it before each."""
    asking = [path for path in (STATIC / "js").rglob("*.js") if path.name != "api.js"]
    rooted = r"""(?:href|src|url)=?["'`(]+/(?!/)[a-z]|(?:fetch|EventSource|URL)\(["'`]/"""
    assert [path.name for path in asking if re.search(rooted, path.read_text(encoding="utf-8"))] == []
