"""The class for notebooks and scripts, as people import it: the server's own recipe, without the server."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from qwen_image_studio import QwenImageGenerator
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.local.generator import one
from tests.support.pictures import picture

SCRIPT = """
from qwen_image_studio import QwenImageGenerator
generator = QwenImageGenerator(model_name="qwen-image-20b", device="cuda", precision="fp16")
image = generator.generate(prompt=prompt, height=1024, width=1024, num_inference_steps=50, guidance_scale=7.5, seed=42)
image.save("city.png")
"""
SMALL: dict[str, Any] = {"height": 64, "width": 64, "num_inference_steps": 2, "seed": 7}


@pytest.fixture
def generator(one_thread: None) -> QwenImageGenerator:
    """The class with the miniature, under the settings of the test."""
    return QwenImageGenerator("miniature", device="cpu")


def run(script: str) -> None:
    """Run a script that was given a prompt."""
    exec(compile(script, "notebook", "exec"), {"prompt": "a red apple"})  # noqa: S102 - the script above


def test_the_script_paints_with_the_miniature_on_a_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="miniature does not paint right in fp16; bf16 was taken instead"):
        run(SCRIPT.replace("qwen-image-20b", "miniature").replace("cuda", "cpu"))
    with Image.open("city.png") as city:
        assert (city.format, city.size, city.mode) == ("PNG", (1024, 1024), "RGB")
        assert len(city.getcolors(1024 * 1024) or ()) > 100, "a picture, and no plain area"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_the_script_says_that_there_is_no_such_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudioError, match=r"^device: there is no 'cuda' .* there is cpu.*Leave it out") as caught:
        run(SCRIPT)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "device")
    assert list(tmp_path.iterdir()) == []


def test_the_script_takes_the_20b_models_in_bf16_alone() -> None:
    with pytest.warns(UserWarning, match="Qwen-Image does not paint right in fp16; bf16 was taken instead"):
        generator = QwenImageGenerator(model_name="qwen-image-20b", device="cpu", precision="fp16")
    assert [precision.value for precision in generator.model.precisions] == ["bf16"]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("qwen-image-20b", "Qwen-Image"),
        ("Qwen/Qwen-Image", "Qwen-Image"),
        ("qwen-image-edit", "Qwen-Image-Edit-2509"),
        ("QWEN/qwen-image-edit-2511", "Qwen-Image-Edit-2511"),
    ],
)
def test_models_are_known_by_their_aliases_and_repositories(name: str, model: str) -> None:
    assert QwenImageGenerator(name, device="cpu").model.name == model


def test_importing_the_package_brings_neither_torch_nor_diffusers() -> None:
    code = "import sys, qwen_image_studio; print({'torch', 'diffusers', 'PIL'} & sys.modules.keys())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_a_name_that_the_package_lacks_is_told_as_python_does() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Generator'"):
        run("import qwen_image_studio; qwen_image_studio.Generator")
    with pytest.raises(ImportError, match="cannot import name 'Generator'"):
        run("from qwen_image_studio import Generator")


def test_several_pictures_come_as_a_list(generator: QwenImageGenerator) -> None:
    pictures = generator.generate(prompt="a red apple", num_images=2, **SMALL)
    assert isinstance(pictures, list)
    assert [image.info["seed"] for image in pictures] == [7, 8]
    assert one(generator.generate(prompt="a red apple", **SMALL)).tobytes() == pictures[0].tobytes()


def test_a_blocked_term_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terms = tmp_path / "terms.txt"
    terms.write_text("gun\n", encoding="utf-8")
    monkeypatch.setenv("STUDIO_BLOCKED_TERMS", str(terms))
    generator = QwenImageGenerator("miniature", device="cpu")
    for asked in ({"prompt": "a red gun"}, {"template": "remove_object", "slots": {"object": "gun"}}):
        with pytest.raises(StudioError) as caught:
            generator.edit(picture(), **{**SMALL, **asked})
        assert caught.value.code == "content_blocked", asked


def test_a_template_of_the_server_is_filled_in(generator: QwenImageGenerator) -> None:
    slots = {"old": "apple", "new": "a cat"}
    edited = one(generator.edit(picture(), template="replace_object", slots=slots, **SMALL))
    assert edited.info["prompt"] == "replace the apple with a cat"
    edited = one(generator.edit(picture(), template="replace_object", slots=slots, language="zh", **SMALL))
    assert edited.info["prompt"] == "把apple换成a cat"


def test_a_template_of_the_operator_is_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    templates = tmp_path / "templates.toml"
    templates.write_text(
        '[[templates]]\nid = "fruit"\nversion = 1\noperation = "generate"\ntitle = { en = "Fruit", zh = "水果" }\n'
        'text = { en = "a red apple", zh = "红苹果" }\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("STUDIO_TEMPLATES", str(templates))
    made = one(QwenImageGenerator("miniature", device="cpu").generate(template="fruit", **SMALL))
    assert made.info["prompt"] == "a red apple"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"num_images": 11}, "n"),
        ({"height": 5000, "width": 64}, "height"),
        ({"height": 1024, "width": 64}, "width"),
        ({"num_inference_steps": 151}, "steps"),
        ({"guidance_scale": 21.0}, "guidance_scale"),
        ({"prompt": "x" * 8001}, "prompt"),
        ({"template": "no_such"}, "template"),
        ({"tier": "ultra"}, "tier"),
    ],
)
def test_limits_hold_as_at_the_server(generator: QwenImageGenerator, asked: dict[str, Any], param: str) -> None:
    prompt = {} if "template" in asked else {"prompt": "a red apple"}
    with pytest.raises(StudioError) as caught:
        generator.generate(**{**prompt, **asked})
    assert (caught.value.code, caught.value.param) == ("invalid_value", param)


def test_limits_of_the_settings_hold_for_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_MAX_IMAGE_MPX", "1")
    generator = QwenImageGenerator("miniature", device="cpu")
    with pytest.raises(StudioError) as caught:
        generator.edit(picture(size=(1024, 1024)), prompt="make it blue", **SMALL)
    assert (caught.value.code, caught.value.param) == ("image_too_large", "image")
