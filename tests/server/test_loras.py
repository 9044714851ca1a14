"""The allow-list of LoRAs, and what requests may ask for of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from qwen_image_studio.contract.caller import LOCAL, Caller
from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.contract.loras import LoraUse, LoraWishes
from qwen_image_studio.contract.words import Language
from qwen_image_studio.gallery.attempt import origin_of
from qwen_image_studio.host.doctor import examine
from qwen_image_studio.models.lora_files import bring, mark_of, place_of, with_loras
from qwen_image_studio.models.loras import offered, usable
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.operations.given import Given
from qwen_image_studio.operations.request import ready, validated
from qwen_image_studio.painting.adapted import adapters_of
from qwen_image_studio.recipe import check_files
from qwen_image_studio.settings import Settings
from tests.support.loras import ENTRY, a_lora, allow_list
from tests.support.plans import a_plan

OF_DESIGN = """
[[loras]]
name = "secret"
models = ["miniature", "Qwen/Qwen-Image"]
repository = "someone/secret"
file = "secret.safetensors"
revision = "v1"
licence = "Apache-2.0"
keys = ["design", "boss"]
about = { en = "A house style.", zh = "公司风格。" }
"""

# the file


def test_entries_are_read_and_given_to_their_models(tmp_path: Path) -> None:
    settings = Settings(loras=allow_list(tmp_path, OF_DESIGN), models="miniature,Qwen-Image,Qwen-Image-2512")
    models = configured_models(settings, card_gib=0)
    assert {name: list(model.loras) for name, model in models.items()} == {
        "miniature": ["Ink-Wash", "secret"],
        "Qwen-Image": ["secret"],
        "Qwen-Image-2512": [],
    }
    ink = models["miniature"].loras["Ink-Wash"]
    assert (ink.scale, ink.max_scale, ink.licence, ink.words[Language.ZH]) == (0.8, 1.2, "CC0-1.0", ("水墨",))
    assert Path(ink.file) == tmp_path / "ink.safetensors", "seen from the file that names it"
    assert models["miniature"].loras["secret"].file == "secret.safetensors", "within its repository"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda text: text.replace("licence", "license"), "LoRA Ink-Wash: licence: Field required"),
        (lambda text: text + "colour = 1", "LoRA Ink-Wash: colour: Extra inputs"),
        (lambda text: text.replace("scale = 0.8", "scale = 9"), "LoRA Ink-Wash: scale: Input should be less"),
        (lambda text: text.replace("= 1.2", "= 0.5"), "LoRA Ink-Wash: scale: it is beyond max_scale"),
        (lambda text: text.replace(".safetensors", ".pt"), "LoRA Ink-Wash: file: it has to be a .safetensors file"),
        (lambda text: text.replace(', zh = "水墨画。"', ""), "LoRA Ink-Wash: about: it has to be there in both"),
        (lambda text: text.replace(', zh = ["水墨"]', ""), "LoRA Ink-Wash: words: it has to be there in both"),
        (
            lambda text: text.replace("about =", "about = 'ink' #"),
            "LoRA Ink-Wash: about: write it in both languages, as {",
        ),
        (lambda text: text.replace('name = "Ink-Wash"', ""), "LoRA 1: name: Field required"),
        (lambda text: text.replace("Ink-Wash", "ink wash"), "LoRA ink wash: name: takes letters"),
        (lambda text: text + 'revision = "v1"', "LoRA Ink-Wash: revision: it belongs to a repository"),
        (lambda text: text.replace('["miniature"]', '["minature"]'), "LoRA Ink-Wash: models: there is no 'minature'"),
        (lambda text: text + text.replace("Ink-Wash", "INK-WASH"), "two LoRAs that are called ink-wash"),
        (lambda text: text.replace("[[loras]]", "[[lora]]"), "has 'lora'; the file may hold tables [[loras]]"),
        (lambda text: text.replace("[[loras]]", "[loras]"), "write each LoRA as a table [[loras]]"),
        (lambda text: text[:-10], "cannot be read"),
    ],
)
def test_a_wrong_file_is_told_at_the_start_by_entry_and_field(
    tmp_path: Path, harm: Callable[[str], str], said: str
) -> None:
    file = tmp_path / "loras.toml"
    file.write_text(harm(ENTRY.rstrip() + "\n"), encoding="utf-8")
    with pytest.raises(CannotServe) as caught:
        configured_models(Settings(loras=file, models="miniature"), card_gib=0)
    assert str(caught.value).startswith("STUDIO_LORAS: ")
    assert said in str(caught.value)


def test_a_file_in_the_home_of_a_user_who_is_not_here_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "loras.toml"
    file.write_text(ENTRY.replace("ink.safetensors", "~nobody-here/ink.safetensors"), encoding="utf-8")
    [lora] = offered(file)
    assert place_of(lora) is None


def test_a_file_that_is_not_there_is_told_also_where_no_model_is_served(tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match=r"STUDIO_LORAS: .* cannot be read"):
        check_files(Settings(loras=tmp_path / "none.toml"))
    assert offered(None) == ()


@pytest.mark.parametrize(
    ("caller", "may"),
    [
        (LOCAL, True),
        (Caller("boss", "poster"), True),
        (Caller("sales", "design"), True),
        (Caller("sales", "sales"), False),
    ],
)
def test_a_key_or_its_owner_decides_what_may_be_used(caller: Caller, may: bool) -> None:
    loras = {"open": a_lora("open"), "secret": a_lora("secret", keys=["design", "boss"])}
    assert list(usable(loras, caller)) == (["open", "secret"] if may else ["open"])


# requests

MODELS_HERE = {
    "miniature": replace(
        MODELS["miniature"],
        loras={
            "Ink": a_lora("Ink", scale=0.7, max_scale=1.5, words={"en": ["ink wash"], "zh": ["水墨"]}),
            "secret": a_lora("secret", keys=["design"]),
        },
    ),
    "Qwen-Image": replace(MODELS["Qwen-Image"], loras={"photo": a_lora("photo")}),
}
SALES = Caller("sales", "sales")


def planned(loras: Any, caller: Caller = SALES, **params: Any) -> Any:
    """The plan of a request with these LoRAs, and its warnings."""
    given = Given(MODELS_HERE, caller)
    asked = validated({"operation": "generate", "prompt": "an ink wash apple", "loras": loras, **params})
    return ready(asked, given).plan(given)


@pytest.mark.parametrize(
    ("sent", "scale"),
    [
        ([{"name": "Ink"}], 0.7),
        ([{"name": "ink", "scale": 0}], 0),
        ({"name": "Ink", "scale": -1.5}, -1.5),
        ('[{"name": "Ink", "scale": 1}]', 1),
        ("ink", 0.7),
        ("ink:", 0.7),
        (" Ink : 0.5 ", 0.5),
        ("ink：0.5，", 0.5),
        (["ink=0.5"], 0.5),
    ],
)
def test_loras_are_taken_in_every_way_of_writing(sent: Any, scale: float) -> None:
    made = planned(sent)
    assert made.plan.loras == (LoraUse(name="Ink", scale=scale),)
    assert made.plan.variant.lora == "Ink"


@pytest.mark.parametrize("sent", ["", [], " , "])
def test_none_is_the_same_as_left_out(sent: Any) -> None:
    assert planned(sent).plan.loras == ()


@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [
        ("oil", "unknown_lora", "loras: there is no 'oil'; miniature has: Ink."),
        ("secret", "unknown_lora", "loras: there is no 'secret'; miniature has: Ink."),
        ("photo", "unknown_lora", "loras: 'photo' is for Qwen-Image, not for miniature; miniature has: Ink."),
        ("ink, INK:0.5", "invalid_value", "loras[1].name: 'Ink' is named twice; send it once, with its scale."),
        ("ink:1.6", "invalid_value", "loras[0].scale: 'Ink' takes -1.5 to 1.5 (you sent 1.6)."),
        ("ink:2.1", "invalid_value", "loras[0].scale: input should be less than or equal to 2 (you sent '2.1')."),
        ("ink:much", "invalid_value", "loras[0].scale: input should be a valid number"),
        ("two words", "invalid_value", "loras[0].name: takes letters, digits, - . and _, such as ink-wash"),
        ("[{", "invalid_value", "loras: is not JSON that can be read; send [{"),
        ("a,b,c,d,e", "invalid_value", "loras: value should have at most 4 items"),
        ([1], "invalid_value", 'loras: takes names, each with a scale or without; send [{"name": "ink-wash"'),
        ([[]], "invalid_value", "loras: takes names, each with a scale or without; send"),
        (":1", "invalid_value", "loras: takes names, each with a scale or without; send"),
        (0.5, "invalid_value", "loras: takes names, each with a scale or without; send"),
        ([{"name": "ink", "weight": 1}], "unknown_parameter", "'loras[0].weight' is not a parameter"),
    ],
)
def test_errors_name_the_entry_and_what_there_is(sent: Any, code: str, said: str) -> None:
    with pytest.raises(StudioError) as caught:
        planned(sent)
    assert caught.value.code == code
    assert caught.value.message.startswith(said)


def test_whoever_may_use_a_lora_is_told_of_it() -> None:
    assert planned("secret", Caller("sales", "design")).plan.loras == (LoraUse(name="secret"),)
    with pytest.raises(StudioError, match="miniature has: Ink, secret"):
        planned("oil", Caller("sales", "design"))


def test_a_prompt_without_the_words_of_a_lora_is_warned_of() -> None:
    expected = "LoRA Ink answers to ink wash or 水墨; the prompt has none of these words."
    assert expected in planned("ink", prompt="a red apple").warnings
    for prompt in ("an Ink Wash apple", "一只水墨苹果"):
        assert expected not in planned("ink", prompt=prompt).warnings


def test_rows_of_a_batch_are_checked_when_they_are_submitted() -> None:
    job = {"operation": "edit", "prompt": "make it {{how}}", "image": "img_{{n}}", "loras": "{{loras}}"}
    rows = [{"how": "blue", "n": 1, "loras": "ink:0.5"}, {"how": "red", "n": 2, "loras": ""}]
    given = Given(MODELS_HERE, SALES)
    batch = validated({"operation": "batch", "job": job, "rows": rows})
    batch.plan(given)
    wrong = validated({"operation": "batch", "job": job, "rows": [*rows, {"how": "red", "n": 3, "loras": "oil"}]})
    with pytest.raises(StudioError, match=r"row 3.*there is no 'oil'") as caught:
        wrong.plan(given)
    assert caught.value.code == "unknown_lora"


def test_all_pieces_of_a_campaign_are_painted_with_its_loras() -> None:
    given = Given(MODELS_HERE, SALES)
    asked = validated({"operation": "campaign", "product": "tea", "loras": "ink:0.5"})
    planned_whole = ready(asked, given).plan(given)
    assert planned_whole.plan.job["loras"] == [{"name": "ink", "scale": 0.5}]  # type: ignore[union-attr]
    assert planned_whole.told_again is not None
    assert planned_whole.told_again([])["loras"] == [{"name": "ink", "scale": 0.5}]
    with pytest.raises(StudioError, match=r"^loras\[0\].scale: 'Ink' takes"):
        ready(validated({"operation": "campaign", "product": "tea", "loras": "ink:1.6"}), given).plan(given)


def test_doctor_tells_which_loras_there_are_and_whose_file_is_missing(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, models=("miniature",), data_dir=tmp_path, loras=allow_list(tmp_path, OF_DESIGN))
    lines, healthy = examine(settings)
    assert not healthy
    assert "  BAD   LoRA Ink-Wash for miniature, all keys, licence: CC0-1.0: its file is not here" in lines
    [note] = [line for line in lines if "LoRA secret" in line]
    assert note.startswith("  note  LoRA secret for miniature, for boss, design, licence: Apache-2.0; fetched with")
    (tmp_path / "ink.safetensors").write_bytes(b"x" * 2_000_000)
    lines, _ = examine(settings)
    assert "  ok    LoRA Ink-Wash for miniature, all keys, licence: CC0-1.0; 2.0 MB" in lines
    allow_list(tmp_path, ENTRY)
    offered.cache_clear()
    lines, _ = examine(settings)
    assert any("BAD   STUDIO_LORAS" in line and "two LoRAs that are called ink-wash" in line for line in lines)


def test_a_picture_says_its_loras_as_a_request_may() -> None:
    loras = LoraUse(name="Ink", scale=0.5), LoraUse(name="photo")
    said = origin_of(a_plan(loras=loras), 7)["loras"]
    assert said == "Ink:0.5, photo:1"
    wishes = TypeAdapter(LoraWishes).validate_python(said)
    assert [(wish.name, wish.scale) for wish in wishes] == [(lora.name, lora.scale) for lora in loras]
    assert "loras" not in origin_of(a_plan(), 7)


# files


def test_a_file_is_told_by_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "ink.safetensors"
    lora = a_lora(file=str(file))
    assert place_of(lora) is None
    model = replace(MODELS["miniature"], loras={"ink": lora})
    plan = a_plan(loras=(LoraUse(name="ink"),))
    assert with_loras("weights", model, plan) is None, "it is on its way"
    marks = []
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        marks.append((mark_of(file), with_loras("weights", model, plan)))
    assert marks[0] == marks[2] != marks[1]
    assert with_loras("weights", model, a_plan()) == "weights"
    assert with_loras(None, model, a_plan()) is None


def test_a_file_that_cannot_be_read_is_told_by_whoever_paints_with_it(tmp_path: Path) -> None:
    file = tmp_path / "ink.safetensors"
    file.symlink_to("/proc/self/mem")  # a file whose first byte is an error of reading
    model = replace(MODELS["miniature"], loras={"ink": a_lora(file=str(file))})
    plan = a_plan(loras=(LoraUse(name="ink"),))
    assert with_loras("weights", model, plan) is None
    with pytest.raises(StudioError, match="LoRA ink: its file cannot be read; the server's log says more"):
        adapters_of(plan, model)


def test_a_file_that_is_gone_is_told_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(StudioError) as caught:
        bring("ink", a_lora(file=str(tmp_path / "ink.safetensors")))
    assert caught.value.code == "model_unavailable"
    assert caught.value.message.startswith("LoRA ink: its file is not there")
    assert str(tmp_path) not in caught.value.message
