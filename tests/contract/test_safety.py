"""What the operator's list of terms forbids: which words are found, and where a request may not use them."""

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from server.engine import configured_models
from server.safety import BadTerms, Terms, terms
from server.settings import Settings
from server.supervisor import CannotServe, check_files, serve
from tests.contract.conftest import png

LIST = """# what our house does not paint
gun
pistol*
New  Brand
炸弹
Ωmega

!squirt gun
knife
knive＊
！water knife
＃comment
!热炸弹酱
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's list, as an editor on Windows writes it."""
    path = tmp_path_factory.mktemp("safety") / "terms.txt"
    path.write_text(LIST.replace("\n", "\r\n"), encoding="utf-8-sig")
    return path


@pytest.fixture
def settings(tmp_path: Path, file: Path) -> Settings:
    """Settings with the list."""
    return Settings(data_dir=tmp_path / "data", models="miniature", blocked_terms=file)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a gun on a table", "gun"),
        ("a ＧＵＮ", "gun"),
        ("a g\u200bu\u00adn", "gun"),
        ("一把gun在桌上", "gun"),
        ('a poster with the text "Gun"', "gun"),
        ("guns", None),
        ("a gunmetal car", None),
        ("two pistols", "pistol"),
        ("new brand shoes", "new brand"),
        ("new\nbrand shoes", "new\nbrand"),
        ("newbrand", None),
        ("a _gun_", "gun"),
        ("gun_fight", "gun"),
        ("gu\ufe0fn", "gun"),
        ("炸\ufe0f弹", "炸弹"),
        ("炸\u3164弹", "炸弹"),
        ("a big knife", "knife"),
        ("two knives", "knive"),
        ("a water knife", None),
        ("桌上的炸弹很大", "炸弹"),
        ("桌上的炸 弹", "炸 弹"),
        ("ωMEGA", "ωmega"),
        ("a squirt gun", None),
        ("a squirt gun and a gun", "gun"),
        ("热炸弹酱", None),
        ("", None),
        ("# what our house", None),
    ],
)
def test_which_words_are_found(file: Path, text: str, found: str | None) -> None:
    assert terms(file).found(text) == found


def test_without_a_list_or_with_an_empty_one_nothing_is_found(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing yet\n\n*\n!\n", encoding="utf-8")
    assert terms(None) == terms(empty) == Terms()
    assert terms(empty).found("a gun") is None


def test_a_list_of_tens_of_thousands_is_no_burden(tmp_path: Path) -> None:
    """Read, and looked through for a batch of hundreds of rows, within a request; as one pattern it took minutes."""
    path = tmp_path / "long.txt"
    path.write_text("\n".join(f"bad word {number}\n坏词{number}号" for number in range(15_000)), encoding="utf-8")
    listed = terms(path)
    assert listed.found("a cup " * 600 + "bad  word 14999") == "bad  word 14999"
    assert [listed.found(f"a red cup, number {number}，坏词") for number in range(200)] == [None] * 200
    assert listed.found("坏 " * 4000 + "bad " * 4000) is None


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"operation": "generate", "prompt": "a gun"}, "prompt"),
        ({"operation": "edit", "prompt": "把杯子变成炸弹"}, "prompt"),
        ({"operation": "edit", "template": "remove_object", "slots": {"object": "the gun"}}, "prompt"),
        ({"operation": "inpaint", "prompt": "a gun", "region": {"x": 0, "y": 0, "width": 8, "height": 8}}, "prompt"),
        ({"operation": "outpaint", "prompt": "a gun", "left": 16}, "prompt"),
        (
            {
                "operation": "adjust",
                "adjustments": [{"do": "flip", "axis": "horizontal"}, {"do": "watermark", "text": "GUN"}],
            },
            "adjustments[1].text",
        ),
        ({"operation": "adjust", "prompt": "加水印“炸弹”"}, "prompt"),
    ],
)
def test_what_is_asked_for_is_refused_and_nothing_is_kept(
    client: FlaskClient, settings: Settings, asked: dict[str, Any], param: str
) -> None:
    answer = _sent(client, asked)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, "content_blocked", param), error
    assert re.search("'(gun|炸弹)'.*operator", error["message"])
    assert client.get("/v1/jobs").get_json()["data"] == []
    assert not [path for path in settings.data_dir.rglob("*.png")], "the input was kept for a job that is none"


def _sent(client: FlaskClient, asked: dict[str, Any]) -> Any:
    if asked["operation"] == "generate":
        return client.post("/v1/jobs", json=asked)
    return client.post("/v1/jobs", data={"params": json.dumps(asked), "image": (BytesIO(png()), "a.png")})


def test_a_negative_prompt_may_name_it(client: FlaskClient) -> None:
    body = {"operation": "generate", "prompt": "a toy", "negative_prompt": "gun, 炸弹"}
    assert client.post("/v1/jobs", json=body).status_code == 202


def test_a_batch_names_the_row(client: FlaskClient) -> None:
    job = {"operation": "generate", "prompt": "a {{thing}}"}
    body = {"operation": "batch", "job": job, "rows": [{"thing": "cup"}, {"thing": "gun"}]}
    error = client.post("/v1/jobs", json=body).get_json()["error"]
    assert error["code"] == "content_blocked"
    assert "row 2" in error["message"]


def test_openais_route_refuses_it_in_openais_shape(client: FlaskClient) -> None:
    answer = client.post("/v1/images/generations", json={"prompt": "a gun"})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (422, "content_blocked")


def test_a_list_that_cannot_be_read_is_said_at_the_start(tmp_path: Path) -> None:
    broken = tmp_path / "terms.txt"
    broken.write_bytes(b"\xff\xfe\xff")
    for path in (broken, tmp_path / "none.txt"):
        with pytest.raises(BadTerms, match="cannot be read"):
            terms(path)
        settings = Settings(data_dir=tmp_path / "data", models="miniature", blocked_terms=path)
        with pytest.raises(CannotServe, match=f"STUDIO_BLOCKED_TERMS: .*{path.name}"):
            check_files(settings)
        assert configured_models(settings, card_gib=0)
        with pytest.raises(CannotServe, match="STUDIO_BLOCKED_TERMS"):
            serve(settings)
