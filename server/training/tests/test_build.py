"""The miniature's build: the same bytes every time, whole or not at all, of the sizes that training counts on."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from diffusers import QwenImagePipeline
from transformers import Qwen2Tokenizer

from qwen_image_studio.models.table import MODELS, Model
from training import build as builder
from training import parts
from training.__main__ import main
from training.corpus import templates
from training.tokenizer import SPECIAL_TOKENS, VOCABULARY

pytestmark = pytest.mark.usefixtures("one_thread")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in the folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def tokenizer(miniature: Model) -> Qwen2Tokenizer:
    """The tokenizer as it is saved."""
    return Qwen2Tokenizer.from_pretrained(Path(miniature.repository) / "tokenizer")


def test_the_command_builds_the_same_bytes_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "leftover").touch()
    ran = CliRunner().invoke(main, ["random", "--out", str(folder), "--seed", "3"], catch_exceptions=False)
    assert (ran.exit_code, ran.stdout.startswith("wrote made (20.")) == (0, True)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert "leftover" not in digests(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)  # what came before must not matter
        builder.build(tmp_path / "again", seed=3)
    assert digests(tmp_path / "again") == digests(folder)


def test_a_build_that_dies_leaves_the_old_folder_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "old").touch()

    def die() -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(parts, "build_scheduler", die)
    monkeypatch.setattr(builder, "train_tokenizer", lambda: Qwen2Tokenizer({"a": 0}, []))
    monkeypatch.setattr(parts, "build_text_encoder", lambda tokenizer: parts.build_transformer())
    with pytest.raises(OSError, match="no space"):
        builder.build(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "old"]


def test_the_folder_lists_the_parts_it_has(miniature: Model) -> None:
    folder = Path(miniature.repository)
    index = json.loads((folder / "model_index.json").read_text())
    assert {name for name in index if not name.startswith("_")} == {
        path.name for path in folder.iterdir() if path.is_dir()
    }


def test_its_parts_load_as_a_stock_pipeline(miniature: Model) -> None:
    pipeline = QwenImagePipeline.from_pretrained(miniature.repository, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline("a red apple", negative_prompt=" ", width=64, height=64, num_inference_steps=2).images
    assert images[0].size == (64, 64)


@pytest.mark.parametrize(("part", "millions"), [("vae", 2.58), ("text_encoder", 1.76), ("transformer", 5.73)])
def test_each_part_has_its_size(tokenizer: Qwen2Tokenizer, part: str, millions: float) -> None:
    built = parts.build_text_encoder(tokenizer) if part == "text_encoder" else getattr(parts, f"build_{part}")()
    assert sum(numbers.numel() for numbers in built.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_a_picture_passes_the_untrained_vae_with_its_variance() -> None:
    vae = parts.build_vae()
    noise = torch.randn(1, 16, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        decoded = vae.decode(noise).sample
    assert decoded.shape == (1, 3, 1, 128, 128)
    assert 0.2 < decoded.std() < 2


def test_the_chat_templates_have_the_lengths_that_the_pipelines_drop(tokenizer: Qwen2Tokenizer) -> None:
    lengths = {
        name: len(tokenizer(template.partition("{}")[0]).input_ids) for name, (template, _) in templates().items()
    }
    assert lengths == {"generate": 34, "edit": 64}


def test_the_vocabulary_is_bytes_merges_and_special_tokens(tokenizer: Qwen2Tokenizer) -> None:
    assert len(tokenizer) == VOCABULARY == 2048
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(2034, 2048))


@pytest.mark.parametrize("text", ["a red apple", "蓝色背景上的红苹果", "Привет, мир! 🍎\n\t«é»", "<|im_start|>user\n"])
def test_any_text_comes_back_as_it_went_in(tokenizer: Qwen2Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_chinese_words_fall_into_characters(tokenizer: Qwen2Tokenizer) -> None:
    assert len(tokenizer("蓝色背景上的红苹果").input_ids) == 9


def test_the_row_of_the_table_points_into_the_package() -> None:
    assert Path(MODELS["miniature"].repository).parts[-3:] == ("qwen_image_studio", "miniature", "weights")
