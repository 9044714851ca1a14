"""How the turbo tier's LoRA is distilled: the teacher paints as the engine does, and the student comes closer to it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qwen_image_studio.contract.words import Precision, Tier, Way
from qwen_image_studio.loading.weights import Weights
from qwen_image_studio.models.families import Sources
from qwen_image_studio.models.table import MODELS, Model
from qwen_image_studio.painting.qwen import open_pipeline
from training.data.edits import Edit, Kind
from training.data.scenes import Layout, arrange, compose
from training.data.sprites import Atlas
from training.evaluation.report import Row, table
from training.evaluation.tasks import Prompted
from training.evaluation.verdicts import Verdict
from training.judge import Seen
from training.stages.distilling import DistilStage, write_lora
from training.stages.run import load_state, random_of, torch_random_of, train
from training.stages.teaching import Teacher, noise_left
from training.tests.conftest import quiet

pytestmark = pytest.mark.usefixtures("one_thread")
SCALE = 3.0
STEPS = 3


@pytest.fixture(scope="module")
def parts(miniature: Model) -> dict[str, Any]:
    return Weights("cpu").parts(miniature, Precision.BF16)


@pytest.fixture(scope="module")
def teacher(miniature: Model, atlas: Atlas) -> Teacher:
    return Teacher(Path(miniature.repository), atlas, STEPS, SCALE)


def near(one: torch.Tensor, other: torch.Tensor) -> bool:
    """The teacher multiplies in bfloat16, the engine in float32."""
    return float((one - other).norm() / other.norm()) < 0.03


def test_prompts_are_painted_as_the_pipeline_paints_them(
    teacher: Teacher, miniature: Model, parts: dict[str, Any]
) -> None:
    scenes = [arrange(Layout.BIG, ["red-apple"], "blue", size) for size in ((8, 8), (8, 8))]
    prompts = ["a red apple on a blue background", "苹果"]
    pipeline = open_pipeline(miniature.family(Way.GENERATE), parts)
    told = {"negative_prompt": " ", "true_cfg_scale": SCALE, "num_inference_steps": STEPS}
    levels = noise_left(teacher.scheduler, STEPS, 64)
    lesson = teacher.paint(random_of(0, "x", 0), scenes, prompts, levels)
    noise = torch.randn(2, 64, 64, generator=torch_random_of(random_of(0, "x", 0)))
    assert torch.equal(lesson.way[0], noise)
    for index, prompt in enumerate(prompts):
        named = {"prompt": prompt, "height": 128, "width": 128, "latents": noise[index : index + 1]}
        theirs = pipeline(**told, **named, output_type="latent").images
        assert near(lesson.way[-1][index : index + 1], theirs)
    assert pipeline.scheduler.sigmas.tolist() == levels
    assert lesson.weight.shape == (2, 64)


def test_edits_are_painted_as_the_pipeline_paints_them(
    teacher: Teacher, miniature: Model, parts: dict[str, Any], atlas: Atlas
) -> None:
    scenes = [arrange(Layout.BIG, [icon], "blue") for icon in ("red-apple", "robot")]
    edit = Edit(Kind.JOIN, tuple(scenes), arrange(Layout.PAIR, ["red-apple", "robot"], "blue"))
    prompt = "put the robot of the second picture beside the apple"
    lesson = teacher.edit(random_of(0, "x", 0), [edit], [prompt], noise_left(teacher.scheduler, STEPS, 64))
    sources = Sources(
        tuple(Image.fromarray(compose(scene, atlas)) for scene in scenes),
        first_pixels=miniature.input_pixels,
        other_pixels=miniature.input_pixels,
        vision_pixels=miniature.vision_pixels,
        grid=miniature.input_grid,
    )
    theirs = open_pipeline(miniature.family(Way.EDIT), parts)(
        sources=sources,
        prompt=prompt,
        negative_prompt=" ",
        true_cfg_scale=SCALE,
        num_inference_steps=STEPS,
        height=128,
        width=128,
        latents=lesson.way[0],
        output_type="latent",
    ).images
    assert near(lesson.way[-1], theirs)
    assert lesson.asked.shapes == ((1, 8, 8),) * 3


def test_the_way_is_read_between_the_teachers_steps(teacher: Teacher) -> None:
    scenes = [arrange(Layout.BIG, ["red-apple"], "blue")]
    own = noise_left(teacher.scheduler, STEPS, 64)
    ways = [
        teacher.paint(random_of(0, "x", 0), scenes, ["a red apple"], levels).way
        for levels in (own, [1.0, (own[1] + own[2]) / 2, 0.0])
    ]
    assert torch.allclose(ways[1][1], (ways[0][1] + ways[0][2]) / 2, atol=1e-4)
    assert torch.equal(ways[1][-1], ways[0][-1])


@pytest.fixture
def open_distil(miniature: Model, atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stage with tiny batches, whose teacher takes few steps."""
    tiers = {**miniature.tiers, Tier.QUALITY: replace(miniature.recipe(), steps=2)}
    monkeypatch.setitem(MODELS, "miniature", replace(miniature, tiers=tiers))
    return lambda: DistilStage(tmp_path, Path(miniature.repository), atlas, 0, 200, batch=2)


def test_a_resumed_distillation_ends_as_one_that_was_never_interrupted(open_distil: Any, tmp_path: Path) -> None:
    train(open_distil(), tmp_path, 2, echo=quiet)
    resumed, straight = open_distil(), open_distil()
    resumed.restore(load_state(tmp_path, "distil")["stage"])
    lessons = sorted(tmp_path.glob("lessons-*/*.pt"))
    assert len(lessons) == 1
    lessons[0].unlink()  # what is no longer there is made again
    for number in range(4):
        assert np.isfinite(list(straight.step(number).values())).all()
    for number in (2, 3):
        resumed.step(number)
    ours, theirs = resumed.state(), straight.state()
    for kind in ("lora", "mean"):
        assert all(torch.equal(value, theirs[kind][name]) for name, value in ours[kind].items())
        assert any(value.any() for name, value in ours[kind].items() if "lora_B" in name)


def test_the_student_comes_closer_to_the_teacher(open_distil: Any) -> None:
    stage = open_distil()
    losses = [stage.step(48)["loss"] for _ in range(6)]
    assert losses[-1] < 0.9 * losses[0]


def test_a_lora_is_not_trained_on_with_other_weights(open_distil: Any) -> None:
    stage = open_distil()
    with pytest.raises(RuntimeError, match="weights have changed"):
        stage.restore({**stage.state(), "mark": "other"})


def test_the_written_lora_is_read_by_the_stock_pipeline(open_distil: Any, miniature: Model, tmp_path: Path) -> None:
    stage = open_distil()
    train(stage, tmp_path, 1, echo=quiet)
    file = tmp_path / "made" / "turbo.safetensors"
    write_lora(tmp_path, file)
    pipeline = open_pipeline(miniature.family(Way.GENERATE), Weights("cpu").parts(miniature, Precision.BF16))
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
    named = dict(pipeline.transformer.named_parameters())
    for name, value in stage.state()["mean"].items():
        assert torch.equal(named[name.replace(".default.", ".default_0.")], value.bfloat16().float())


def a_verdict(language: str, *, right: bool) -> Verdict:
    scene = arrange(Layout.BIG, ["red-apple"], "blue")
    answers = dict.fromkeys(("object", "background", "place"), right)
    return Verdict(
        Prompted(language, "", scene, 0), answers, Seen((), scene.colour, scene.layout, scene.effect), (), answers
    )


@pytest.mark.parametrize(("wrong", "good"), [(4, True), (5, False)])
def test_a_faster_tier_may_lose_four_points(wrong: int, good: bool) -> None:
    whole = [a_verdict(language, right=True) for language in ("en", "zh") for _ in range(100)]
    faster = [a_verdict("en", right=True)] * 100 + [a_verdict("zh", right=number >= wrong) for number in range(100)]
    rows = {row.name: row for row in table(whole, faster, Tier.TURBO)}
    row = rows["generation, unseen pairs: object"]
    assert row.faster == (1.0, 1 - wrong / 100)
    assert row.good is good
    assert "faster within 4%" in str(row)
    assert next(table(whole)).faster == ()
    assert Row("a figure", (0.5, 0.5), 1.0, faster=(0.1, 0.1)).good
