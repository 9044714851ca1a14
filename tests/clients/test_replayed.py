"""Every request of the table is answered so that its client finds what it reads; the server is in this process."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from tests.clients.replayed import Replayed, read_replayed
from tests.support.database import with_tables
from tests.support.worker import scripted_worker, working

ROWS = read_replayed()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FlaskClient, str]]:
    """A caller of an application that paints, and a key."""
    settings = with_tables(Settings(data_dir=tmp_path_factory.mktemp("replayed") / "data", models="miniature"))
    app = create_app(settings, configured_models(settings, card_gib=0))
    parts: Services = app.extensions["qwen-image-studio"]
    with working(scripted_worker(parts)), app.test_client() as client:
        yield client, parts.keys.add("client")


def sent(client: FlaskClient, row: Replayed, key: str) -> Any:
    """The answer to a row's request."""
    options: dict[str, Any] = {"headers": row.headers_with(key), "method": row.method}
    if row.body is not None:
        options["json"] = row.body
    elif row.urlencoded:
        options |= {"data": urlencode(row.fields), "content_type": "application/x-www-form-urlencoded"}
    elif row.form or row.files:
        data: dict[str, list[Any]] = {}
        for name, value in row.fields:
            data.setdefault(name, []).append(value)
        for name, (file, content, kind) in row.parts:
            data.setdefault(name, []).append((BytesIO(content), file, kind))
        options |= {"data": data, "content_type": "multipart/form-data"}
    return client.open(row.path, **options)


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_a_client_finds_what_it_reads(server: tuple[FlaskClient, str], row: Replayed) -> None:
    client, key = server
    answer = sent(client, row, key)
    assert answer.status_code == 200, answer.text
    assert row.misses(answer.get_json()) == []


def test_the_table_is_whole() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS) > 35
    for name in ("Dify: OpenAI", "Dify: GPUStack", "Open WebUI", "LibreChat", "LobeChat", "n8n", "Xinference's client"):
        assert [row for row in ROWS if row.client == name], name


def test_what_a_client_would_not_find_is_told() -> None:
    row = Replayed(
        "a", "b", "", "c", "/", {"data.0.url": "link", "usage.total_tokens": "number"}, lacks=["data.0.b64_json"]
    )
    answer = {"data": [{"url": None, "b64_json": "x"}]}
    assert row.misses(answer) == ["data.0.url: no link", "usage.total_tokens: no number", "data.0.b64_json: is there"]
    assert Replayed("a", "b", "", "c", "/", {"data.0.b64_json": "base64"}).misses(answer) == [
        "data.0.b64_json: no base64"
    ]
