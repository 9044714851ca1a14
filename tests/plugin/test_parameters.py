"""What Dify may send for a parameter or a credential, and what becomes of it."""

import re
from typing import Any

import pytest

from qwen_image_studio.operations.request import validated
from tests.support.scripted import SIGNATURE
from tools.errors import Refused
from tools.parameters import (
    BatchParameters,
    Credentials,
    EditParameters,
    EnhanceParameters,
    GenerationParameters,
    JobParameters,
    OutpaintParameters,
)
from tools.parameters.tolerant import Tolerant

STORED = "img_0123456789abcdef01234567"
OTHER = STORED.replace("0", "f")
LINK = f"http://gpu-box:8300/files/2026/11/22/job_1-1-{STORED}.png?expires=1&signature=s"


class SdkFile:
    """Stands for the SDK's File object."""

    url = "http://dify/files/a"


def accepted(body: dict[str, Any]) -> dict[str, Any]:
    """The body, once the server's own schema has taken it."""
    validated(body)
    return body


def body(**given: Any) -> dict[str, Any]:
    """The body of a generation with a prompt."""
    return accepted(GenerationParameters.parse({"prompt": "x", **given}).body())


def test_everything_but_the_prompt_has_a_default() -> None:
    assert body() == {"operation": "generate", "prompt": "x", "n": 1, "output_format": "png"}


LEFT_OUT = ["none", "None", " NULL ", '"null"', "undefined", "n/a", "无"]
AS_USUAL = ["auto", "Default", "random", "自动", ["auto"]]


@pytest.mark.parametrize("blank", [None, "", "  ", [None], [], [""], '""', *LEFT_OUT, *AS_USUAL])
@pytest.mark.parametrize(
    "name",
    ["negative_prompt", "aspect_ratio", "size", "seed", "n", "steps", "output_format", "model", "enhance", "image_id"],
)
def test_blank_is_left_out(name: str, blank: object) -> None:
    assert body(**{name: blank}) == body()


def test_a_persons_own_words_stand_for_themselves() -> None:
    for word in ("auto", "default"):
        assert body(prompt=word)["prompt"] == word
    with pytest.raises(Refused, match=r"^prompt is missing\. Fill it in\.$"):
        body(prompt="None")  # a language model that has nothing to say
    edited = EditParameters.parse({"prompt": "auto", "image_id": "img_1"})
    assert edited.body()["prompt"] == "auto"
    keyed = Credentials.parse({"server_url": "http://a", "api_key": "default", "time_budget": "default"})
    assert (keyed.api_key, keyed.time_budget) == ("default", 540)


@pytest.mark.parametrize(
    ("name", "given", "sent"),
    [
        ("seed", "7", 7),
        ("seed", 7.0, 7),
        ("seed", "7.0", 7),
        ("seed", "７", 7),
        ("steps", "２０．０", 20),
        ("guidance_scale", "２．５", 2.5),
        ("size", "６４ｘ６４", "64x64"),
        ("size", "1024＊768", "1024x768"),
        ("seed", 0, 0),
        ("seed", 2**32 - 1, 2**32 - 1),
        ("n", "3", 3),
        ("steps", "2", 2),
        ("guidance_scale", "1", 1.0),
        ("guidance_scale", 4, 4.0),
        ("aspect_ratio", " 16：9 ", "16:9"),
        ("aspect_ratio", "16/9", "16:9"),
        ("aspect_ratio", "16x9", "16:9"),
        ("aspect_ratio", "4 × 3", "4:3"),
        ("aspect_ratio", "21:9", "21:9"),
        ("aspect_ratio", "1920x1080", "1920:1080"),
        ("aspect_ratio", "Square", "1:1"),
        ("aspect_ratio", "landscape", "4:3"),
        ("aspect_ratio", "portrait", "3:4"),
        ("aspect_ratio", "竖屏", "9:16"),
        ("output_format", "WebP", "webp"),
        ("output_format", "jpg", "jpeg"),
        ("output_format", "JPG", "jpeg"),
        ("output_format", ".png", "png"),
        ("output_format", "image/jpeg", "jpeg"),
        ("size", "1024*768", "1024x768"),
        ("size", "1024 × 768", "1024x768"),
        ("size", "1024X768", "1024x768"),
        ("model", " m ", "m"),
        ("negative_prompt", "模糊", "模糊"),
    ],
)
def test_tolerant_of_form(name: str, given: object, sent: object) -> None:
    assert body(**{name: given})[name] == sent


def test_seed_below_zero_is_random() -> None:
    assert "seed" not in body(seed="-1")


def test_size_replaces_aspect_ratio() -> None:
    both = body(size="640x480", aspect_ratio="16:9")
    assert both["size"] == "640x480"
    assert "aspect_ratio" not in both
    assert body(size="auto", aspect_ratio="16:9")["aspect_ratio"] == "16:9"
    assert body(size="640x480", aspect_ratio="5:1")["size"] == "640x480", "the model cannot see that there is a size"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"enhance": False}, "off"),
        ({"enhance": "false"}, "off"),
        ({"enhance": True}, "rules"),
        ({"enhance": "Yes"}, "rules"),
        ({"enhance": "true", "enhance_model": "a/b/c/d"}, "llm"),
    ],
)
def test_enhancing_as_a_truth_value(given: dict[str, object], read: str) -> None:
    assert GenerationParameters.parse({"prompt": "x", **given}).enhance == read


@pytest.mark.parametrize("enhance", ["off", "llm"])
@pytest.mark.parametrize("written", ["gpt-4o", "openai/gpt-4o", "{", '{"provider": 1, "model": "m"}', 7, ["a"]])
def test_a_language_model_that_cannot_be_read_is_none(written: object, enhance: str) -> None:
    asked = GenerationParameters.parse({"prompt": "x", "enhance": enhance, "enhance_model": written})
    assert (asked.enhance_model, asked.enhance) == (None, enhance)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("prompt", None, "prompt is missing"),
        ("prompt", "x" * 8001, "prompt: "),
        ("seed", "abc", "seed: .*given: abc"),
        ("seed", 7.5, "seed: "),
        ("seed", -2, "seed: "),
        ("seed", 2**32, "seed: .*4294967295"),
        ("n", 0, "n: .*1"),
        ("n", 5, "n: .*4"),
        ("steps", 1, "steps: .*2"),
        ("steps", 151, "steps: .*150"),
        ("guidance_scale", 0.5, "guidance_scale: .*1"),
        ("guidance_scale", 21, "guidance_scale: .*20"),
        ("guidance_scale", "nan", "guidance_scale: "),
        ("aspect_ratio", "5:1", "aspect_ratio: .*16:9.* up to 4:1"),
        ("aspect_ratio", "0:1", "aspect_ratio: .*16:9"),
        ("aspect_ratio", "round", "aspect_ratio: .*16:9"),
        ("enhance", "maybe", "enhance: .*off.*rules.*llm"),
        ("output_format", "gif", "output_format: .*webp"),
        ("size", "big", "size: .*1024x768"),
        ("size", "32x64", "size: .*64 to 4096"),
        ("size", "4097x64", "size: .*64 to 4096"),
        ("size", "1024x768x3", "size: "),
    ],
)
def test_out_of_range_names_the_parameter_and_the_range(name: str, given: object, said: str) -> None:
    with pytest.raises(Refused, match=f"(?s)^{said}") as caught:
        body(**{name: given})
    assert len(str(caught.value)) < 300
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("given", "addresses"),
    [
        (SdkFile(), ["http://dify/files/a"]),
        ([SdkFile(), None], ["http://dify/files/a"]),
        ({"url": "http://dify/b"}, ["http://dify/b"]),
        ([{"url": "http://dify/b"}, SdkFile()], ["http://dify/b", "http://dify/files/a"]),
    ],
)
def test_files_in_every_shape(given: object, addresses: list[str]) -> None:
    asked = EditParameters.parse({"prompt": "x", "images": given})
    assert asked.images == addresses
    assert "image" not in asked.body()


@pytest.mark.parametrize(
    ("given", "references"),
    [
        ("img_1", ["img_1"]),
        ("img_1,img_2", ["img_1", "img_2"]),
        ("img_1， img_2、img_3", ["img_1", "img_2", "img_3"]),
        (["img_1", "img_2"], ["img_1", "img_2"]),
        ("https://a/x?resize,w_100,h_200", ["https://a/x?resize,w_100,h_200"]),
        ("https://a/x.png,img_2", ["https://a/x.png", "img_2"]),
        ("https://a/x?w,1,https://b/y, img_3", ["https://a/x?w,1", "https://b/y", "img_3"]),
        ("https://a/x.png;img_2", ["https://a/x.png", "img_2"]),
        (f'"{STORED}"', [STORED]),
        (f"`{STORED}`", [STORED]),
        (f'["{STORED}"]', [STORED]),
        (f"{STORED}.", [STORED]),
        (f"image_id: {STORED}", [STORED]),
        (f"image_id={STORED}", [STORED]),
        (f"**{STORED}** (the cup)", [STORED]),
        (f"图片{STORED}的天空", [STORED]),
        (f"{STORED}.png", [STORED]),
        ("['img_1', 'img_2']", ["img_1", "img_2"]),
        ("img_a and img_b", ["img_a", "img_b"]),
        ("img_1, img_1", ["img_1"]),
        ({"image_id": "img_1"}, ["img_1"]),
        (["`img_1`", None, "none"], ["img_1"]),
        ("<https://a/x.png>", ["https://a/x.png"]),
        ("![image](https://a/x.png?a=1)", ["https://a/x.png?a=1"]),
        ("[image](https://a/x_(1).png)", ["https://a/x_(1).png"]),
        ("See https://a/x.png.", ["https://a/x.png"]),
        ("见图：https://a/图.png。", ["https://a/图.png"]),
        ("HTTPS://a/it's.png", ["HTTPS://a/it's.png"]),
        ("['https://a/x,1.png','https://b/y.png']", ["https://a/x,1.png", "https://b/y.png"]),
        ("http://[::1]:8300/a.png?b[]=1", ["http://[::1]:8300/a.png?b[]=1"]),
        ("https://a/img_1.png", ["https://a/img_1.png"]),
        (f"http://gpu-box:8300/v1/images/{STORED}/content", [STORED]),
        (f"https://gpu.example/studio/v1/images/{STORED}, img_2", [STORED, "img_2"]),
        (f"http://gpu-box:8300/#/edit/{STORED}?k=1795883985.{SIGNATURE}", [STORED]),
        (f"[Edit in the studio](https://gpu.example/studio/#/edit/{STORED}?k=1795883985.{SIGNATURE}).", [STORED]),
        (f"http://gpu-box:8300/#/gallery/{STORED} img_2", [STORED, "img_2"]),
        ("i,a2", ["i", "a2"]),
        (f"image_id {STORED}, seed 7, {LINK}", [STORED]),
        (f"1 image: image_id {STORED}, {LINK} Show it to the person with: ![image]({LINK})", [STORED]),
        (f"![{STORED}]({LINK})", [STORED]),
        (f"<img src='{LINK}' alt='{STORED}'>", [STORED]),
        ({"image_id": STORED, "image_url": LINK}, [STORED]),
        ([LINK, STORED, OTHER], [STORED, OTHER]),
        ([STORED, LINK.replace(STORED, OTHER)], [STORED, LINK.replace(STORED, OTHER)]),
        (LINK, [LINK]),
    ],
)
def test_references_in_one_string(given: object, references: list[str]) -> None:
    assert EditParameters.parse({"prompt": "x", "image_id": given}).body()["image"] == references


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image_id": "/files/tools/a.png"}, "image_id: takes no link of Dify's own.*img_.*http"),
        ({"image_id": "![image](/files/tools/a.png?sign=s)"}, "image_id: takes no link of Dify's own.*img_.*http"),
        ({"image_id": "sandbox:/a.png"}, "image_id: takes no link of Dify's own"),
        ({"image_id": "data:image/png;base64,AAAA"}, "image_id: .*not the image itself"),
        ({"image_id": "data:image/svg+xml,<svg xmlns='http://a/b'>"}, "image_id: .*not the image itself"),
        ({"image_id": "uploaded_image"}, "image_id: takes the id .*img_.*given: uploaded_image"),
        ({"image_id": "the red apple"}, "image_id: takes the id .*img_.*given: the red apple"),
        ({"image_id": "img_"}, "image_id: takes the id"),
        ({"image_id": "https://"}, "image_id: takes the id"),
        ({"image_id": "A" * 5000}, "image_id: takes the id"),
        ({"image_id": "https://a/" + "b" * 5000}, "image_id: .*not the image itself"),
        ({"images": [SdkFile()] * 11}, "at most 10"),
        ({"images": [7]}, "images: .*no file"),
        ({"images": SdkFile(), "image_id": "img_1"}, "not both"),
    ],
)
def test_inputs_that_cannot_be_used(given: dict[str, object], said: str) -> None:
    with pytest.raises(Refused, match=said):
        EditParameters.parse({"prompt": "x", **given})


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://gpu-box:8300", "http://gpu-box:8300"),
        (" HTTPS://gpu.example/ ", "https://gpu.example"),
        ("http://gpu-box:8300/v1", "http://gpu-box:8300"),
        ("http://gpu-box:8300/v1/images/generations", "http://gpu-box:8300"),
        ("https://example.com/studio/", "https://example.com/studio"),
        ("http://[::1]:8300/", "http://[::1]:8300"),
    ],
)
def test_server_url_is_brought_to_the_base(given: str, address: str) -> None:
    assert Credentials.parse({"server_url": given}).server_url == address


@pytest.mark.parametrize(
    "given", ["gpu-box:8300", "http://", "ftp://a", "http://a b", "http://a?x=1", "http://u:p@a", "http://a:port", ""]
)
def test_a_malformed_server_url_is_refused(given: str) -> None:
    with pytest.raises(Refused, match="server_url"):
        Credentials.parse({"server_url": given})


def test_other_credentials() -> None:
    given = {"server_url": "http://a", "api_key": " Bearer k1 ", "verify_tls": "false", "time_budget": "90"}
    credentials = Credentials.parse(given)
    assert (credentials.api_key, credentials.verify_tls, credentials.time_budget) == ("k1", False, 90)
    assert "k1" not in repr(credentials)
    usual = Credentials.parse({"server_url": "http://a", "api_key": None, "time_budget": ""})
    assert (usual.api_key, usual.verify_tls, usual.time_budget) == ("", True, 540)


@pytest.mark.parametrize("budget", ["600", "591", 29, "soon"])
def test_time_budget_stays_below_the_daemons(budget: object) -> None:
    with pytest.raises(Refused, match="time_budget"):
        Credentials.parse({"server_url": "http://a", "time_budget": budget})


def test_an_unusable_key_is_not_quoted() -> None:
    with pytest.raises(Refused, match="api_key") as caught:
        Credentials.parse({"server_url": "http://a", "api_key": "s3cret\nline"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "given", ['"job_a1"', '["job_a1"]', "['job_a1']", '{"job_id": "job_a1"}', "Job ID: job_a1.", "<job_a1>", "job_a1"]
)
def test_a_job_in_every_form(given: str) -> None:
    assert JobParameters.parse({"job_id": given}).job_id == "job_a1"


@pytest.mark.parametrize(
    "line",
    [
        "Job {} is queued at place 1; fetch it with image_job.",
        "The time budget ended while job {0} was running. Fetch its result with image_job and job_id {0}.",
    ],
)
def test_a_job_in_the_line_that_named_it(line: str) -> None:
    named = "job_0123456789abcdef01234567"
    assert JobParameters.parse({"job_id": line.format(named)}).job_id == named
    with pytest.raises(Refused, match="job_id: takes one id"):
        JobParameters.parse({"job_id": f"{named} {named[::-1]} job_{'f' * 24}"})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("null", "job_id is missing. Take it from the answer"),
        ("[]", "job_id: takes one id"),
        ("job_a1, job_a2", "job_id: takes one id .*given: job_a1, job_a2"),
    ],
)
def test_a_job_that_cannot_be(given: str, said: str) -> None:
    with pytest.raises(Refused, match=f"^{said}"):
        JobParameters.parse({"job_id": given})


@pytest.mark.parametrize("job_id", ["all jobs!", "null", ["a", "b"]])
def test_a_list_is_of_no_job(job_id: object) -> None:
    asked = JobParameters.parse({"action": "List", "job_id": job_id})
    assert (asked.action, asked.job_id) == ("list", None)


TEXTS: list[tuple[type[Tolerant], str]] = [
    (GenerationParameters, "prompt"),
    (GenerationParameters, "negative_prompt"),
    (GenerationParameters, "image_id"),
    (GenerationParameters, "seed"),
    (GenerationParameters, "enhance_model"),
    (EditParameters, "prompt"),
    (EditParameters, "region"),
    (EditParameters, "slots"),
    (OutpaintParameters, "aspect_ratio"),
    (BatchParameters, "prompt"),
    (BatchParameters, "rows"),
    (JobParameters, "job_id"),
    (EnhanceParameters, "prompt"),
    (EnhanceParameters, "style"),
]


@pytest.mark.parametrize(("reader", "name"), TEXTS)
@pytest.mark.parametrize("left", ["{{#llm.text#}}", "red, {{#start.a_b#}} and", "｛｛#1718.text#｝｝"])
def test_a_variable_that_dify_did_not_fill_in_is_refused_in_every_tool(
    reader: type[Tolerant], name: str, left: str
) -> None:
    """A16: it would be painted as it stands, or blamed on the parameter's form."""
    variable = left.removeprefix("red, ").removesuffix(" and")
    for given in (left, {"a": left}) if name == "slots" else (left,):
        with pytest.raises(Refused, match=f"^{name}: the variable {re.escape(variable)} has no value in Dify; choose"):
            reader.parse({"template": "t", name: given})


def test_braces_of_other_kinds_are_the_persons_own() -> None:
    """A16: only Dify's own variables have # within."""
    assert body(prompt="a sign that reads {{name}} and {#1}")["prompt"] == "a sign that reads {{name}} and {#1}"
