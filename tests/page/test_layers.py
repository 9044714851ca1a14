"""A picture in layers: taken apart, each switched on and off, and downloaded; the same in the gallery and Paint."""

import io
from collections.abc import Callable
from typing import Literal

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.page.support.axe import grave
from tests.page.support.opening import Opener, sidewise
from tests.page.support.screens import said
from tests.page.support.studios import OwnStudio
from tests.support.layers import recomposed, toy_layers
from tests.support.studio import SCRIPTED, Studio

SIZE = (256, 160)


@pytest.fixture(scope="module")
def studio(own_studio: OwnStudio) -> Studio:
    """A server that takes pictures apart into plain squares, on cue of the prompt."""
    return own_studio(settings={**SCRIPTED, "models": "miniature,miniature-layered"})


@pytest.fixture(scope="module")
def picture(studio: Studio) -> str:
    """Id of a picture."""
    job = studio.submit(prompt="a cup", width=SIZE[0], height=SIZE[1], steps=2)
    return str(studio.finished(job["id"])["images"][0]["id"])


@pytest.fixture(scope="module")
def apart(studio: Studio, picture: str) -> list[dict[str, object]]:
    """Three layers of it and what they make together."""
    job = studio.submit(operation="layers", prompt="", image=picture, layers=3, seed=7)
    return list(studio.finished(job["id"])["images"])


def take_apart(page: Page, prompt: str = "", layers: int = 3) -> Locator:
    """Fill in the dialog and send it."""
    page.get_by_role("button", name="Take apart").click()
    dialog = page.get_by_role("dialog")
    slider = dialog.get_by_role("slider")
    expect(slider).to_have_value("4")
    slider.focus()
    for _ in range(4 - layers):
        page.keyboard.press("ArrowLeft")
    dialog.get_by_role("textbox").fill(prompt)
    dialog.get_by_role("button", name="Take apart").click()
    return dialog


def pixels(page: Page) -> Callable[[int, int], tuple[int, ...]]:
    """What the canvas shows at a place, as red, green, blue and alpha."""
    script = "(canvas, at) => [...canvas.getContext('2d').getImageData(at[0], at[1], 1, 1).data]"
    return lambda x, y: tuple(page.locator(".stack canvas").evaluate(script, [x, y]))


def test_a_picture_is_taken_apart_and_put_together_by_keyboard(open_page: Opener, studio: Studio, picture: str) -> None:
    page = open_page(f"#/edit/{picture}")
    dialog = take_apart(page)
    canvas = dialog.locator("canvas")
    expect(canvas).to_have_attribute("data-shown", "0 1 2")
    expect(dialog.get_by_role("status").first).to_have_text("3 of 3 layers shown")
    boxes = dialog.get_by_role("checkbox")
    expect(boxes).to_have_count(3)
    expect(boxes.first).to_have_accessible_name("Layer 2 In front")
    job = studio.request("GET", "/v1/jobs", params={"limit": 1}).json()["data"][0]
    layers = toy_layers(3, SIZE, job["images"][0]["seed"])
    places = [(5, 5), (80, 50), (150, 100)]
    at = pixels(page)
    for x, y in places:
        assert at(x, y) == recomposed(layers).getpixel((x, y))
    boxes.last.focus()
    page.keyboard.press("Space")  # without the background
    expect(canvas).to_have_attribute("data-shown", "1 2")
    assert at(5, 5) == (0, 0, 0, 0)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(canvas).to_have_attribute("data-shown", "2")
    expect(dialog.get_by_role("status").first).to_have_text("1 of 3 layers shown")
    with page.expect_download() as saved:
        dialog.get_by_role("button", name="Save what is shown").click()
    assert saved.value.suggested_filename.endswith("-2.png")
    shown = Image.open(io.BytesIO(saved.value.path().read_bytes()))
    assert (shown.size, shown.mode) == (SIZE, "RGBA")
    assert shown.getpixel((5, 5)) == (0, 0, 0, 0)
    with page.expect_download() as layer:
        dialog.get_by_role("link", name="Download: Background").click()
    assert Image.open(layer.value.path()).getpixel((5, 5)) == layers[0].getpixel((5, 5))
    with page.expect_download() as archive:
        dialog.get_by_role("link", name="ZIP").click()
    assert archive.value.path().read_bytes()[:2] == b"PK"


def test_it_is_cancelled_fails_and_is_there_again_after_a_reload(
    open_page: Opener, studio: Studio, picture: str
) -> None:
    page = open_page(f"#/edit/{picture}")
    dialog = take_apart(page, "forever", layers=2)
    expect(dialog.get_by_role("progressbar")).to_be_visible()
    page.reload()
    page.get_by_role("button", name="Take apart").click()
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_contain_text("Cancelled")
    dialog.get_by_role("button", name="Take apart once more").click()
    dialog.get_by_role("textbox").fill("bug@1")
    dialog.get_by_role("button", name="Take apart").click()
    expect(dialog).to_contain_text("The worker failed at this job")
    dialog.get_by_role("button", name="Try again").click()
    expect(dialog.locator("canvas")).to_have_attribute("data-shown", "0 1 2 3")


def test_the_gallery_shows_what_layers_make_as_layers(open_page: Opener, apart: list[dict[str, object]]) -> None:
    page = open_page(f"#/gallery/{apart[-1]['id']}")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("canvas")).to_have_attribute("data-shown", "0 1 2")
    expect(dialog).to_contain_text("Taken apart into layers")
    dialog.get_by_role("radio", name="Before and after").check()
    expect(dialog.get_by_role("slider")).to_be_visible()
    page.keyboard.press("Escape")
    page.goto(page.url.split("#")[0] + f"#/gallery/{apart[1]['id']}")
    expect(dialog).to_contain_text("1, counted from the background")
    expect(dialog.locator("canvas")).to_have_count(0)
    dialog.get_by_role("radio", name="Layers").check()
    expect(dialog.locator("canvas")).to_have_attribute("data-shown", "0 1 2")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_phone_shows_layers_without_scrolling_sidewise(
    open_page: Opener, picture: str, language: Literal["en", "zh"]
) -> None:
    page = open_page(f"#/edit/{picture}", size=(360, 780), touch=True, language=language)
    page.get_by_role("button", name=said(page, "layers.apart")).tap()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("slider")).to_be_visible()
    dialog.get_by_role("button", name=said(page, "layers.go")).tap()
    expect(dialog.locator("canvas")).to_have_attribute("data-shown", "0 1 2 3")
    assert sidewise(page) == 0
    assert grave(page) == []
    assert "layers." not in dialog.inner_text()
