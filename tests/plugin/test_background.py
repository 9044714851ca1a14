"""What lies behind what is painted: every tool that paints takes it, and no transparent picture becomes a JPEG."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.plugin.test_parameters import accepted
from tools.errors import Refused
from tools.parameters import (
    BatchParameters,
    CampaignParameters,
    EditParameters,
    GenerationParameters,
    OutpaintParameters,
)
from tools.parameters.painting import Painting

TOOLS: Mapping[str, tuple[type[Painting], dict[str, Any]]] = {
    "image_generation": (GenerationParameters, {"prompt": "x"}),
    "image_edit": (EditParameters, {"prompt": "x", "image_id": "img_1"}),
    "a part": (EditParameters, {"prompt": "x", "image_id": "img_1", "region": "0,0,9,9"}),
    "image_outpaint": (OutpaintParameters, {"image_id": "img_1", "left": 64}),
    "image_campaign": (CampaignParameters, {"brief": "x"}),
}
NO_JPEG = "background: transparent needs output_format png or webp; jpeg, as it is set, has no transparency."


def sent(tool: str, **given: Any) -> dict[str, Any]:
    """The body that a tool sends, once the server's own schema has taken it."""
    parameters, least = TOOLS[tool]
    return accepted(parameters.parse({**least, **given}).body())


def job(**given: Any) -> dict[str, Any]:
    """The job of a batch, once the server's own schema has taken it."""
    rows = "thing,ground\na,transparent\nb,Opaque"
    body = BatchParameters.parse({"prompt": "a {{thing}}", "rows": rows, **given}).body()
    accepted({**body, "rows": rows})
    found: dict[str, Any] = body["job"]
    return found


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("transparent", "transparent"),
        (" Transparent ", "transparent"),
        ("透明", "transparent"),
        ("alpha", "transparent"),
        ("opaque", "opaque"),
        ("不透明", "opaque"),
    ],
)
def test_a_background_is_sent_by_its_name(tool: str, given: str, said: str) -> None:
    assert sent(tool, background=given)["background"] == said


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("given", ["auto", "AUTO", "", None, "none", "自动"])
def test_what_is_left_to_the_model_is_not_sent(tool: str, given: object) -> None:
    """So that servers from before it was there go on painting for saved apps."""
    assert "background" not in sent(tool, background=given)
    assert "background" not in job(background=given)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("written", ["jpeg", "JPG", "image/jpeg"])
def test_no_transparent_picture_becomes_a_jpeg(tool: str, written: str) -> None:
    with pytest.raises(Refused) as caught:
        sent(tool, background="transparent", output_format=written)
    assert str(caught.value) == NO_JPEG
    assert sent(tool, background="opaque", output_format=written)["output_format"] == "jpeg"


@pytest.mark.parametrize("tool", TOOLS)
def test_files_with_transparency_are_taken(tool: str) -> None:
    for written in ("png", "webp"):
        assert sent(tool, background="transparent", output_format=written)["output_format"] == written


@pytest.mark.parametrize("tool", TOOLS)
def test_anything_else_is_refused(tool: str) -> None:
    with pytest.raises(Refused, match=r"^background: must be one of auto, opaque, transparent \(given: green\)\.$"):
        sent(tool, background="green")


@pytest.mark.parametrize("given", ["{{ground}}", "{{ ground }}", "｛｛ground｝｝"])
def test_each_row_of_a_batch_may_have_its_own(given: str) -> None:
    assert job(background=given)["background"] == "{{ground}}"
    assert job(background="transparent")["background"] == "transparent"


def test_a_batch_refuses_what_holds_for_all_rows() -> None:
    with pytest.raises(Refused) as caught:
        job(background="transparent", output_format="jpg")
    assert str(caught.value) == NO_JPEG
    with pytest.raises(Refused, match=r"^background: must be one of auto, opaque, transparent"):
        job(background="green")
