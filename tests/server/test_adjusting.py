"""What people ask adjustments for, and what they see: letters, ranges, transparency, shapes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qwen_image_studio.adjusting.apply import adjust
from qwen_image_studio.contract.adjustments import Adjustment, Blur, Crop, Resize, Rotate
from qwen_image_studio.contract.errors import OutOfRange, StudioError
from qwen_image_studio.contract.words import Lane
from qwen_image_studio.imaging.letters import OWN_FONT, font_for
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.prompts.grammar import parse_adjustments
from tests.support.plans import plan_of


def planned(prompt: str, size: tuple[int, int] = (300, 200), **asked: Any) -> Any:
    return plan_of({"operation": "edit", "prompt": prompt, **asked}, {"miniature": MODELS["miniature"]}, [size])


# -- letters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["Café Müller", "Straße £5 € ½ — “ok” …", "Łódź Žižkov Győr İstanbul", "Ελλάδα", "Киев", "Việt Nam"],
)
def test_letters_of_european_languages_are_written_and_not_boxed(text: str) -> None:
    """A2: é ü ß — € came out as empty boxes."""
    font = font_for(text, None, 24)
    box = bytes(font.getmask("\U0010ffff"))
    assert all(letter == " " or bytes(font.getmask(letter)) != box for letter in text)
    made, _ = planned(f'add watermark "{text}"')
    assert made.lane is Lane.LIGHT


def test_a_letter_that_no_font_has_is_named_before_anything_is_queued() -> None:
    """A2: the font is asked for each letter."""
    for text, letters in (("Müller 福田", "福 田"), ("りんご", "り ん ご"), ("ok 🍎", "🍎")):
        with pytest.raises(StudioError, match=f"has the watermark's {letters} ;.*STUDIO_FONT") as caught:
            planned(f'add watermark "{text}"', prefer="cv")
        assert caught.value.param == "adjustments[0]"


def test_the_operators_font_is_asked_first_and_then_our_own(tmp_path: Path) -> None:
    """A2: a font for one script need not have the letters of another."""
    named = tmp_path / "own.ttf"
    named.write_bytes(OWN_FONT.read_bytes())
    assert font_for("é", named, 20).path == str(named)
    assert font_for("é", None, 20).path == str(OWN_FONT)
    named.write_bytes(b"no font")
    (tmp_path / "other.ttf").write_bytes(b"no font")
    with pytest.raises(ValueError, match="cannot be read"):
        font_for("é", tmp_path / "other.ttf", 21)


# -- ranges --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("crop to 50x50", Crop(width=50, height=50)),
        ("resize to 32x32", Resize(width=32, height=32)),
        ("resize to 16 x 16 px", Resize(width=16, height=16)),
        ("rotate it 400 degrees", Rotate(degrees=40)),
        ("rotate it -90 degrees", Rotate(degrees=-90)),
        ("rotate it 810 degrees to the left", Rotate(degrees=-90)),
        ("把图片旋转450度", Rotate(degrees=90)),
        ("blur it by 200 px", Blur(radius=200)),
    ],
)
def test_what_can_be_done_is_done(said: str, wanted: Adjustment) -> None:
    """A3: small sizes and more than a whole turn were painted by the model."""
    assert parse_adjustments(said).adjustments == (wanted,)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("blur it by 300 px", "radius must be less than or equal to 200"),
        ("resize to 50000x40000", "width must be less than or equal to 4096"),
        ("crop to 4x3", "4x3 is no size in pixels; write a shape as 4:3"),
        ("resize to 3x2", "3x2 is no size in pixels; write a shape as 3:2"),
        ("crop to 100:1", "at most 20:1"),
        ("darken it by 150%", "factor must be greater than or equal to 0"),
        ("scale it to 123456%", "scale must be less than or equal to 8"),
        (f'add watermark "{"a" * 150}"', "at most 100 characters"),
        (", ".join(["blur it"] * 25), "more than 20 adjustments"),
        ("resize to 800 px wide, resize to 600 px high", "names a size twice"),
    ],
)
def test_what_is_understood_and_out_of_range_is_said(said: str, why: str) -> None:
    """A3: silently painted by the model, in another size."""
    with pytest.raises(OutOfRange, match=why):
        parse_adjustments(said)
    made, warnings = planned(said)
    assert made.model == "miniature"
    assert warnings[0].startswith("Painted by the model, since it cannot be done without: ")
    assert why in warnings[0]
    with pytest.raises(StudioError, match=why):
        planned(said, prefer="cv")


def test_one_clause_that_says_something_else_makes_all_of_it_the_models() -> None:
    """A3: no warning about a range where the model is needed anyway."""
    _, warnings = planned("blur it by 300 px, then add a hat")
    assert not any("cannot be done" in warning for warning in warnings)


# -- shapes --------------------------------------------------------------------------------------------------------


def test_a_resize_to_another_shape_says_how_to_crop() -> None:
    """A17: stretched silently."""
    _, warnings = planned("resize to 800x600")
    assert warnings[1] == (
        "The picture of 300x200 was stretched to 800x600, another shape; to cut it to that shape instead, ask for "
        "'crop to 4:3, then resize to 800x600'."
    )
    for right in ("crop to 4:3, then resize to 800x600", "resize to 600x400", "resize to 50%", "resize to 91 px wide"):
        assert len(planned(right)[1]) == 1, right


def test_a_crop_beyond_the_image_says_what_was_cut() -> None:
    """A11: a model that means two corners hears of it."""
    crop = {"do": "crop", "region": {"x": 0.5, "y": 0.5, "width": 0.9, "height": 0.9}}
    asked = {"operation": "adjust", "adjustments": [crop]}
    _, warnings = plan_of(asked, {}, [(300, 200)])
    assert "from there 0.5 x 0.5 is left of the 0.9 x 0.9" in warnings[0]
    assert "x1, y1, x2 and y2" in warnings[0]


# -- transparency --------------------------------------------------------------------------------------------------

LOGO = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
LOGO.paste((200, 30, 30, 255), (20, 10, 40, 30))
STEPS: list[dict[str, Any]] = [
    {"do": "resize", "width": 120, "height": 80},
    {"do": "crop", "width": 50, "height": 30},
    {"do": "rotate", "degrees": 30},
    {"do": "rotate", "degrees": 90},
    {"do": "flip", "axis": "vertical"},
    {"do": "brightness", "factor": 1.2},
    {"do": "contrast", "factor": 1.5},
    {"do": "saturation", "factor": 0.5},
    {"do": "sharpness", "factor": 2},
    {"do": "hue", "degrees": 90},
    {"do": "grayscale"},
    {"do": "blur", "radius": 2},
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: str(step["do"]))
def test_every_adjustment_keeps_transparency_and_no_colour_shines_through(step: dict[str, Any]) -> None:
    """A4: a transparent logo came out on white."""
    (one,) = plan_of({"operation": "adjust", "adjustments": [step]}, {}, [LOGO.size])[0].adjustments
    done = adjust(LOGO, [one])
    pixels = np.asarray(done).astype(int)
    assert done.mode == "RGBA"
    assert (pixels[0, 0, 3], pixels[done.height // 2, done.width // 2, 3]) == (0, 255)
    # The clear part is black underneath: nowhere may that darken what is seen of the logo's edge.
    seen = pixels[pixels[..., 3] > 40]
    assert seen[:, 0].min() >= pixels[done.height // 2, done.width // 2, 0] - 40
    assert adjust(LOGO.convert("RGB"), [one]).mode == "RGB"


def test_a_watermark_is_written_on_clear_ground_too() -> None:
    """A4: and only there."""
    one = plan_of({"operation": "adjust", "prompt": 'add watermark "ok"'}, {}, [LOGO.size])[0].adjustments[0]
    alpha = np.asarray(adjust(LOGO, [one]).getchannel("A"))
    assert alpha[0, 0] == 0
    assert (alpha > 0).sum() > 400
