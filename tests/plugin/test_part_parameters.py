"""Parts of pictures: what Dify may send for masks, boxes, edges and images to start from, and what becomes of it."""

from typing import Any

import pytest

from tests.plugin.test_parameters import SdkFile, accepted
from tools.errors import Refused
from tools.parameters import EditParameters, GenerationParameters, OutpaintParameters

PIXELS = {"x": 100, "y": 80, "width": 300, "height": 200}
HALF = {"x": 0.5, "y": 0, "width": 0.5, "height": 1}


def edit(**given: Any) -> dict[str, Any]:
    """The body of an edit of one stored image."""
    return accepted(EditParameters.parse({"prompt": "x", "image_id": "img_1", **given}).body())


def outpaint(**given: Any) -> dict[str, Any]:
    """The body of an outpaint of one stored image."""
    return accepted(OutpaintParameters.parse({"image_id": "img_1", **given}).body())


def generate(**given: Any) -> dict[str, Any]:
    """The body of a generation."""
    return accepted(GenerationParameters.parse({"prompt": "x", **given}).body())


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("100,80,300,200", PIXELS),
        (" 100, 80, 300, 200 ", PIXELS),
        ("100，80，300，200", PIXELS),
        ("100、80、300、200", PIXELS),
        ("（100；80；300；200）", PIXELS),
        ("１００,８０,３００,２００", PIXELS),
        ("[100, 80, 300, 200]", PIXELS),
        ('{"x": 100, "y": 80, "width": 300, "height": 200}', PIXELS),
        ("｛“x”：100，“y”：80，“width”：300，“height”：200｝", PIXELS),
        ({"x": 100, "y": "80", "width": 300.0, "height": 200}, PIXELS),
        ([100, 80, 300, 200], PIXELS),
        ("0.5,0,0.5,1", HALF),
        ("0.5 0 .5 1", HALF),
        ("[0.5, 0, 0.5, 1]", HALF),
        ("(0.5, 0, 0.5, 1)", HALF),
        ("'0.5,0,0.5,1'", HALF),
        ("{'x': 0.5, 'y': 0, 'width': 0.5, 'height': 1}", HALF),
        ("50%,0,50%,100%", HALF),
        ("50％，0，50％，100％", HALF),
        ({"x": "50%", "y": 0, "width": "50%", "height": "100%"}, HALF),
    ],
)
def test_a_box_in_every_form(given: object, sent: dict[str, float]) -> None:
    body = edit(region=given)
    assert body["region"] == sent
    assert body["operation"] == "inpaint"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("100,80,300", "region: write x,y,width,height.*100,80,300,200.*given: 100,80,300"),
        ("the sky", "region: write x,y,width,height"),
        ('{"x": 1, "y": 2, "w": 3, "h": 4}', "region: write x,y,width,height"),
        ("1,2,3,4,5", "region: write x,y,width,height"),
        ("[" * 5000, "region: write x,y,width,height"),
        ("a,80,300,200", "region: x of the box is no number"),
        ("nan,80,300,200", "region: x of the box is no number"),
        ("%,80,300,200", "region: x of the box is no number"),
        ("{{1}}", "region: write x,y,width,height"),
        ("1,2,1e999,4", "region: width of the box is no number"),
        ("1,2,[3],4", "region: width of the box is no number"),
        ("-1,2,3,4", "region: the numbers must be 0 to 4096"),
        ("1,2,3,5000", "region: the numbers must be 0 to 4096"),
        ("1,2,0,4", "region: .*width and height above 0"),
        ("1,2,3,0", "region: .*width and height above 0"),
    ],
)
def test_a_box_that_cannot_be(given: str, said: str) -> None:
    with pytest.raises(Refused, match=f"(?s)^{said}"):
        edit(region=given)


@pytest.mark.parametrize("blank", [None, "", " ", [None], [], "null", "none", "auto"])
@pytest.mark.parametrize("name", ["mask", "region", "strength", "prompt_kind", "output_quality"])
def test_blank_is_left_out(name: str, blank: object) -> None:
    assert edit(**{name: blank}) == edit()


def test_a_box_makes_the_edit_an_inpaint_and_leaves_the_other_settings_out() -> None:
    settings = {"strength": "0.7", "prompt_kind": "Description", "prefer": "cv", "output_quality": "80.0"}
    assert edit(region="1,2,3,4", **settings) == {
        "operation": "inpaint",
        "prompt": "x",
        "image": ["img_1"],
        "region": {"x": 1, "y": 2, "width": 3, "height": 4},
        "strength": 0.7,
        "prompt_kind": "description",
        "n": 1,
        "output_format": "png",
        "output_quality": 80,
    }
    assert edit(**settings) == {**edit(), "prefer": "cv", "output_quality": 80}


@pytest.mark.parametrize("part", [{"region": "1,2,3,4"}, {"mask": [SdkFile()]}])
def test_an_image_that_changes_in_part_keeps_its_size(part: dict[str, object]) -> None:
    """The app sets the size, and the model, which cannot see it, gives the box."""
    asked = EditParameters.parse({"prompt": "x", "image_id": "img_1", "size": "64x64", **part})
    assert asked.body()["operation"] == "inpaint"
    assert "size" not in asked.body()
    assert edit(size="64x64", region="null")["size"] == "64x64"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ('{"old": "apple", "new": 3}', {"old": "apple", "new": "3"}),
        ("{'old': 'apple', 'new': 'cat'}", {"old": "apple", "new": "cat"}),
        ({"old": "apple", "new": 3, "place": None}, {"old": "apple", "new": "3"}),
        ('"old=apple; new=cat"', {"old": "apple", "new": "cat"}),
        ("old=apple；new=a=b", {"old": "apple", "new": "a=b"}),
        ("null", {}),
    ],
)
def test_slots_in_every_form(given: object, sent: dict[str, str]) -> None:
    assert edit(template="replace_object", slots=given)["slots"] == sent


@pytest.mark.parametrize("given", ["apple", "[1]", ["a"], 7, "{{1}}", '"apple"', "=a"])
def test_slots_that_cannot_be(given: object) -> None:
    with pytest.raises(Refused, match=r"^slots: write the slots as JSON such as .*old=apple; new=a cat"):
        edit(template="replace_object", slots=given)
    assert "slots" not in edit(slots=given), "without a template they do not count"


@pytest.mark.parametrize("template", ["none", "null", "default"])
def test_no_template_leaves_the_prompt(template: str) -> None:
    assert edit(template=template, slots="old=a") == edit()


@pytest.mark.parametrize("form", [SdkFile(), [SdkFile(), None], {"url": "http://dify/files/a"}])
def test_a_mask_is_one_file_in_any_shape(form: object) -> None:
    asked = EditParameters.parse({"prompt": "x", "image_id": "img_1", "mask": form})
    assert asked.mask == "http://dify/files/a"
    assert asked.body()["operation"] == "inpaint"
    assert "mask" not in asked.body()


def test_a_template_may_fill_a_part() -> None:
    body = edit(prompt="", region="1,2,3,4", template="replace_object", slots="old=a; new=b")
    assert (body["operation"], body["template"], body["slots"]) == (
        "inpaint",
        "replace_object",
        {"old": "a", "new": "b"},
    )
    assert "prompt" not in body


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mask": SdkFile(), "region": "1,2,3,4"}, "Give either mask or region, not both"),
        ({"mask": [SdkFile(), SdkFile()]}, "mask: takes one file; there are 2"),
        ({"mask": 7}, "mask: has an entry that is no file"),
        ({"region": "1,2,3,4", "strength": 0}, "strength: .*0.01"),
        ({"strength": 1.1}, "strength: .*1"),
        ({"strength": "nan"}, "strength: "),
        ({"prompt_kind": "song"}, "prompt_kind: .*instruction.*description"),
        ({"output_quality": 0}, "output_quality: .*1"),
        ({"output_quality": 101}, "output_quality: .*100"),
        ({"prompt": "", "region": "1,2,3,4"}, "prompt is missing"),
    ],
)
def test_parts_that_cannot_be_edited(given: dict[str, object], said: str) -> None:
    with pytest.raises(Refused, match=f"(?s)^{said}"):
        edit(**given)


def test_generating_from_an_image_takes_strength_and_its_shape() -> None:
    assert generate(image_id="img_1", strength="0.4") == {
        "operation": "generate",
        "prompt": "x",
        "image": "img_1",
        "strength": 0.4,
        "n": 1,
        "output_format": "png",
    }
    assert generate(image_id="img_1", aspect_ratio="16：9")["aspect_ratio"] == "16:9"
    assert "aspect_ratio" not in generate(aspect_ratio="AUTO")
    file = GenerationParameters.parse({"prompt": "x", "image": [None, SdkFile()], "strength": 0.4})
    assert (file.image, file.body()["strength"]) == (["http://dify/files/a"], 0.4)
    assert "image" not in file.body()


def test_strength_waits_for_an_image() -> None:
    """A setting of the app, whose image may be empty in one run and there in the next."""
    assert generate(strength=0.4) == generate()


LAST = [
    *("last", "Latest", "previous", "the last image", "last_image_id", "Last image of this conversation."),
    *("上一张", "最后一张图片", "最後の画像", ["last"]),
]


@pytest.mark.parametrize("given", [*LAST, "null", "None", "none", "[]", '""', ["null"]])
def test_words_for_the_last_image_name_none(given: object) -> None:
    asked = EditParameters.parse({"prompt": "x", "image_id": given})
    assert not asked.has_image
    assert "image" not in asked.body()


@pytest.mark.parametrize("given", LAST)
def test_painting_knows_no_last_image(given: object) -> None:
    with pytest.raises(Refused, match=r"^image_id: takes the last image only by its id here; .*image_edit"):
        generate(image_id=given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image": [SdkFile(), SdkFile()]}, "image takes one image; there are 2"),
        ({"image_id": "a,b"}, "image_id takes one image; there are 2"),
        ({"image": SdkFile(), "image_id": "img_1"}, "Give either image or image_id, not both"),
        ({"image_id": "/files/a.png"}, "image_id: takes no link of Dify's own"),
        ({"image_id": "img_1 and img_2"}, "image_id takes one image; there are 2"),
        ({"image_id": "img_1", "strength": 0.001}, "strength: .*0.01"),
        ({"output_quality": "high"}, "output_quality: .*given: high"),
        ({"prompt": " "}, "prompt is missing. Fill it in"),
    ],
)
def test_images_to_start_from_that_cannot_be_used(given: dict[str, object], said: str) -> None:
    with pytest.raises(Refused, match=f"(?s)^{said}"):
        generate(**given)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"left": "64"}, {"left": 64}),
        ({"left": 64.0, "right": 0, "top": "", "bottom": "32"}, {"left": 64, "bottom": 32}),
        ({"left": 64, "anchor": "right"}, {"left": 64}),
        ({"aspect_ratio": " 21 ： 9 "}, {"aspect_ratio": "21:9"}),
        ({"aspect_ratio": "16:9", "anchor": "Left"}, {"aspect_ratio": "16:9", "anchor": "left"}),
        ({"aspect_ratio": "16:9", "anchor": "center", "left": 0}, {"aspect_ratio": "16:9"}),
        ({"aspect_ratio": "square"}, {"aspect_ratio": "1:1"}),
        ({"size": "1920×1080", "aspect_ratio": "auto"}, {"size": "1920x1080"}),
        ({"size": "1920x1080", "aspect_ratio": "16:9", "anchor": "left"}, {"size": "1920x1080", "anchor": "left"}),
        ({"size": "1920x1080", "left": 64, "top": "far"}, {"size": "1920x1080"}),
        ({"top": 8, "prompt": "sky"}, {"top": 8, "prompt": "sky"}),
        (
            {"top": 8, "strength": 0.5, "prompt_kind": "instruction"},
            {"top": 8, "strength": 0.5, "prompt_kind": "instruction"},
        ),
        ({"top": 8, "negative_prompt": "fog", "seed": "-1", "n": "2"}, {"top": 8, "negative_prompt": "fog", "n": 2}),
        (
            {"top": 8, "output_format": "JPEG", "output_quality": 90},
            {"top": 8, "output_format": "jpeg", "output_quality": 90},
        ),
    ],
)
def test_extending(given: dict[str, object], sent: dict[str, object]) -> None:
    usual = {"operation": "outpaint", "image": "img_1", "n": 1, "output_format": "png"}
    assert outpaint(**given) == usual | sent


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Say how far to extend the image: pixels in left, right, top or bottom, or .*aspect_ratio, or .*size"),
        ({"left": 0, "bottom": ""}, "Say how far to extend the image"),
        ({"left": 1, "aspect_ratio": "2:1"}, "Say how far to extend the image in one way only: .*left.*aspect_ratio"),
        ({"size": "none"}, "Say how far to extend the image: "),
        ({"left": -1}, "left: .*0"),
        ({"top": 4097}, "top: .*4096"),
        ({"right": "wide"}, "right: .*given: wide"),
        ({"bottom": 1.5}, "bottom: .*given: 1.5"),
        ({"aspect_ratio": "round"}, "aspect_ratio: write WIDTH:HEIGHT such as 16:9, at most 20:1"),
        ({"aspect_ratio": "0:1"}, "aspect_ratio: write WIDTH:HEIGHT"),
        ({"aspect_ratio": "21:1"}, "aspect_ratio: write WIDTH:HEIGHT"),
        ({"size": "1x1"}, "size: each side must be 64 to 4096"),
        ({"left": 1, "anchor": "middle"}, "anchor: .*center"),
        ({"left": 1, "image_id": "a, b"}, "image_id takes one image; there are 2"),
        ({"left": 1, "n": 5}, "n: .*4"),
        ({"left": 1, "strength": 2}, "strength: .*1"),
    ],
)
def test_extending_that_cannot_be(given: dict[str, object], said: str) -> None:
    with pytest.raises(Refused, match=f"(?s)^{said}"):
        outpaint(**given)


# -- references ----------------------------------------------------------------------------------------------------

FOUR = "img_1, img_2, img_3, img_4"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("subject, style", ["subject", "style"]),
        ("Subject；STYLE", ["subject", "style"]),
        ("主体、风格、背景", ["subject", "style", "background"]),
        ("subject,,control:edges", ["subject", "", "control:edges"]),
        ("none, style", ["", "style"]),
        ("subject, style, ,", ["subject", "style"]),
        ("control = edges, 控制图：边缘", ["control:edges", "control:edges"]),
        ('["subject", null, {"role": "control", "derive": "edges"}]', ["subject", "", "control:edges"]),
        (["subject", "", None, {"role": "style"}], ["subject", "", "", "style"]),
        ({"role": "style", "derive": None}, ["style"]),
        ("image 2: style; image 1: subject", ["subject", "style"]),
        ("<image3>: control:edges", ["", "", "control:edges"]),
        ("图2：风格", ["", "style"]),
        ("pose, look", ["control", "style"]),
    ],
)
def test_roles_in_every_form(given: object, sent: list[str]) -> None:
    body = edit(image_id=FOUR, roles=given)
    assert (body["operation"], body["roles"]) == ("edit", sent)


@pytest.mark.parametrize("given", ["", None, [], " , , ", "none", [None]])
def test_without_roles_the_prompt_says_it(given: object) -> None:
    assert "roles" not in edit(roles=given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("hero", "roles: takes subject, style, control, background, and control:edges for .*; not hero"),
        ("subject:edges", "roles: takes subject, .*; not subject:edges"),
        ("control:depth", "roles: takes subject, .*; not control:depth"),
        ("1: subject, 1: style", "roles: names an image twice"),
        ("0: subject", "roles: names an image twice, or one that cannot be"),
        ("11: subject", "roles: names an image twice, or one that cannot be"),
        (5, "roles: write a role for each image"),
        ([5], "roles: write a role for each image"),
        (["subject"] * 11, "roles: takes at most 10, one for each image; not 11"),
        ("subject, style", r"roles: there is 1 image and 2 roles; give one role for each image at most\."),
    ],
)
def test_roles_that_cannot_be_read_are_refused(given: object, said: str) -> None:
    with pytest.raises(Refused, match=f"^{said}"):
        edit(roles=given)


def test_roles_of_a_part_go_with_it() -> None:
    body = edit(image_id="img_1, img_2", roles=", style", region="0,0,1,1")
    assert (body["operation"], body["roles"]) == ("inpaint", ["", "style"])


def test_as_many_images_as_any_model_takes() -> None:
    ten = ", ".join(f"img_{number}" for number in range(10))
    assert len(edit(image_id=ten)["image"]) == 10
    with pytest.raises(Refused, match=r"^Give at most 10 images; there are 11\.$"):
        edit(image_id=f"{ten}, img_10")
    with pytest.raises(Refused, match=r"^Give at most 10 images; there are 11\.$"):
        edit(image_id=None, images=[SdkFile()] * 11)
