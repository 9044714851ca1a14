"""What the operator's list of terms forbids: which words are found, and where a request may not use them."""

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.__main__ import cli
from qwen_image_studio.contract.errors import BadTerms, CannotServe, StudioError
from qwen_image_studio.guard.terms import Terms, terms
from qwen_image_studio.host.supervise import serve
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.recipe import check_files
from qwen_image_studio.settings import Settings
from tests.support.pictures import png
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

LIST = """# what our house does not paint
gun
pistol*
New  Brand
café
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
        ("炸\uffa0弹", "炸弹"),
        *((f"a g{unseen}un", "gun") for unseen in "\x80\x9f\ue000\u17b5\u180c\u180f\u2065\ufff4\U000e0080\U000e0fff"),
        ("a g\u0336u\u0338n\u20d2", "gun"),
        ("a g\u20ddun", "gun"),
        ("cafe\u0301", "café"),
        ("cafe\u034f\u0301", "café"),
        ("cafe", None),
        ("a gün", None),
        ("a gu\u0331n", None),
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


def test_a_text_is_gone_through_once_for_all_terms(tmp_path: Path) -> None:
    """Of 50,000 terms of many lengths, also alike for long, those are found that are there; one by one it took 18 s."""
    path = tmp_path / "long.txt"
    digits = str.maketrans("0123456789", "aredcuponw")
    words = [f"{number:05}".translate(digits)[::-1] + "zz" * (number % 200) + "z" for number in range(50_000)]
    words[1000:] = [word[:6] for word in words[1000:]]
    path.write_text("\n".join(words), encoding="utf-8")
    listed = terms(path)
    texts = [" ".join(f"{word[:2]} {word[2:]}x" for word in words[start : start + 60]) for start in range(0, 300, 60)]
    for text in (*texts, "z", ""):
        squeezed = text.replace(" ", "")
        assert listed.blocked.within(text) == [term for term in listed.blocked.terms if term.squeezed in squeezed]
    long = "A big red cup on a white table, " * 250
    assert [listed.found(long + "x" * number) for number in range(100)] == [None] * 100


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
        ({"operation": "generate", "prompt": "a red g<|x|>un on white"}, "prompt"),
        ({"operation": "generate", "prompt": "a g<|<|x|>|>\x01un"}, "prompt"),
        ({"operation": "edit", "prompt": 'add the watermark "<|gun|>"'}, "prompt"),
        ({"operation": "edit", "prompt": 'add the watermark "g\ue000un"'}, "prompt"),
        ({"operation": "adjust", "adjustments": [{"do": "watermark", "text": "<|gun|>"}]}, "adjustments[0].text"),
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


@pytest.mark.parametrize("thing", ["gun", "g<|a|>un"])
def test_a_batch_names_the_row(client: FlaskClient, thing: str) -> None:
    job = {"operation": "generate", "prompt": "a {{thing}}"}
    body = {"operation": "batch", "job": job, "rows": [{"thing": "cup"}, {"thing": thing}]}
    error = client.post("/v1/jobs", json=body).get_json()["error"]
    assert error["code"] == "content_blocked"
    assert "row 2" in error["message"]


def test_openais_route_refuses_it_in_openais_shape(client: FlaskClient) -> None:
    answer = client.post("/v1/images/generations", json={"prompt": "a gun"})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, "content_blocked")


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


@pytest.fixture
def folder(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of someone at a shell, whose settings name the list."""
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "rows.csv").write_text("thing\ngun\n")
    monkeypatch.chdir(tmp_path)
    for name, value in {"BLOCKED_TERMS": file, "DATA_DIR": "data", "MODELS": "miniature", "DEVICES": "cpu"}.items():
        monkeypatch.setenv(f"STUDIO_{name}", str(value))
    return tmp_path


SHELL = {
    "generate": "generate|a gun|-o|b.png",
    "edit": "edit|make it a gun|-i|a.png|-o|b.png",
    "inpaint": "inpaint|a gun|-i|a.png|--region|0,0,8,8|-o|b.png",
    "outpaint": "outpaint|a gun|-i|a.png|--left|16|-o|b.png",
    "adjust": "adjust|add the watermark 'gun'|-i|a.png|-o|b.png",
    "batch": "batch|rows.csv|a {{thing}}|-o|out",
}


@pytest.mark.parametrize("command", SHELL)
def test_the_shell_looks_at_the_list(folder: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(StudioError) as refused:
        cli.main(SHELL[command].split("|"), standalone_mode=False)
    said = capsys.readouterr().err if command == "batch" else refused.value.message
    assert "prompt: this server does not paint 'gun'" in said
    assert refused.value.code == ("rows_failed" if command == "batch" else "content_blocked")
    assert not (folder / "b.png").exists()


@pytest.mark.processes
@pytest.mark.parametrize("command", [*SHELL.values(), "light", "web"])
def test_no_command_starts_without_its_list(folder: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("STUDIO_BLOCKED_TERMS", str(folder / "gone.txt"))
    studio = Studio(folder, blocked_terms=folder / "gone.txt")
    if command in {"light", "web"}:
        assert studio.spawn(command).wait(60) == 1
        said = studio.log.read_text()
        assert re.findall("^Error: (.*)", said, re.MULTILINE)[0].startswith("STUDIO_BLOCKED_TERMS: the terms in "), said
        assert "Traceback" not in said
        return
    with pytest.raises(CannotServe, match=r"STUDIO_BLOCKED_TERMS: .*gone\.txt"):
        cli.main(command.split("|"), standalone_mode=False)


@pytest.mark.processes
def test_a_list_that_is_changed_or_taken_away_holds_until_the_restart(tmp_path: Path) -> None:
    """Rows of batches are made by another process than single jobs: both have the list of the start."""
    path = tmp_path / "terms.txt"
    path.write_text("gun")
    job = {"operation": "generate", "prompt": "a {{thing}}", "steps": 2, "size": "64x64"}
    with Studio(tmp_path, **SCRIPTED, blocked_terms=path) as studio:
        until(lambda: all(worker["state"] == "ready" for worker in studio.wait_for_state("ready")["workers"]))
        for change in (lambda: path.write_text("cup"), path.unlink):
            change()
            body = {"operation": "batch", "job": job, "rows": [{"thing": "cup"}]}
            batch = studio.request("POST", "/v1/jobs", json=body).json()
            assert studio.finished(batch["id"])["rows"]["succeeded"] == 1
            refused = studio.request("POST", "/v1/jobs", json={"operation": "generate", "prompt": "a gun"})
            assert refused.json()["error"]["code"] == "content_blocked"
