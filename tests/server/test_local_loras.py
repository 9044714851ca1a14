"""LoRAs in the shell and in a notebook, where the person is the operator: by name, or a file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.loras import LoraUse
from qwen_image_studio.local.generator import QwenImageGenerator, one
from qwen_image_studio.local.loras import with_files
from qwen_image_studio.models.table import MODELS, Model
from tests.support.lora_files import matrices, written
from tests.support.loras import a_lora
from tests.support.plans import plan_of

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_file_is_offered_under_its_own_name(tmp_path: Path) -> None:
    models = {"miniature": replace(MODELS["miniature"], loras={"ink": a_lora("ink")})}
    (tmp_path / "My photo.safetensors").write_bytes(b"")
    file = str(tmp_path / "My photo.safetensors")
    for asked, scale in ((file, 1.0), (f"{file}:0.5", 0.5), (f"{file}:-0.5", -0.5)):
        found, names = with_files(models, ["ink:0.2", asked])
        plan, _ = plan_of({"operation": "generate", "prompt": "a cat", "loras": names}, found)
        assert plan.loras == (LoraUse(name="ink", scale=0.2), LoraUse(name="My-photo", scale=scale))
        assert Path(found["miniature"].loras["My-photo"].file) == Path(file)
    assert with_files(models, ["{{lora}}"]) == (models, ["{{lora}}"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.safetensors", "none.safetensors is not there; name a file, or a LoRA of the allow-list"),
        ("lora.pt", "loras: lora.pt: file: it has to be a .safetensors file; others can hold code"),
    ],
)
def test_a_file_that_cannot_be_taken_is_told(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "lora.pt").write_bytes(b"")
    with pytest.raises(StudioError) as caught:
        with_files({}, [f"{tmp_path}/{name}:0.5"])
    assert (caught.value.code, caught.value.param) == ("invalid_value", "loras")
    assert said in caught.value.message


def test_a_notebook_names_its_own_files(miniature: Model, tmp_path: Path) -> None:
    files = {"ink": written(tmp_path / "a.safetensors", matrices(1))}
    studio = QwenImageGenerator("miniature", device="cpu", model_path=miniature.repository, loras=files)
    asked: dict[str, Any] = {"prompt": "a red apple", "num_inference_steps": 2, "seed": 7, "height": 64, "width": 64}
    plain, ink, half = (
        one(studio.generate(**asked, **options)).tobytes()
        for options in ({}, {"loras": "ink"}, {"loras": [{"name": "ink", "scale": 0.5}]})
    )
    assert len({plain, ink, half}) == 3
    with pytest.raises(StudioError, match="there is no 'oil'; miniature has: ink"):
        studio.generate(**asked, loras="oil")
    with pytest.raises(StudioError, match="is not there"):
        QwenImageGenerator("miniature", device="cpu", loras={"ink": tmp_path / "none.safetensors"})
