"""The Paint screen: from words to pictures, and the form."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.page.support.opening import Opener, sidewise
from tests.page.support.painting import box, paint, picture, requests_of, results, say, strip
from tests.support.studio import Studio

# -- from words to a picture ------------------------------------------------------------------------------------------


def test_a_picture_grows_out_of_noise_in_the_shape_that_was_chosen(open_page: Opener, studio: Studio) -> None:
    page = open_page("#/paint")
    say(page, "a lion on a purple background")
    page.get_by_role("radio", name="16:9").check()
    page.get_by_role("radio", name="2", exact=True).check()
    page.get_by_text("More settings").click()
    page.get_by_role("textbox", name="Steps").fill("150")  # so that it is seen while it is painted
    page.get_by_role("button", name="Paint").click()

    frame = results(page).get_by_role("figure")
    expect(frame).to_be_visible()
    before = box(frame)
    assert before["width"] / before["height"] == pytest.approx(176 / 96, rel=0.02)
    expect(results(page)).to_contain_text(re.compile(r"Step \d+ of 300"))
    preview = page.get_by_alt_text("Preview of the unfinished picture")
    expect(preview).to_be_visible()
    assert preview.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 0
    bar = page.get_by_role("group", name="Progress")
    expect(bar).to_contain_text("left")
    assert box(preview)["y"] + box(preview)["height"] <= box(bar)["y"], "progress covers the preview"

    expect(picture(page, "a lion on a purple background")).to_be_visible()
    after = box(frame)
    assert after == pytest.approx(before, abs=2), "the picture stands where its preview was"
    expect(strip(page)).to_have_count(2)
    asked = requests_of(studio)[0]
    assert (asked["prompt"], asked["n"], asked["aspect_ratio"]) == ("a lion on a purple background", 2, "16:9")
    expect(results(page)).to_contain_text(f"Seed {asked['seed']} · 176 × 96")

    strip(page).nth(1).click()
    expect(results(page)).to_contain_text(f"Seed {(asked['seed'] + 1) % 2**32}")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_text("The link is copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert page.request.get(link).headers["content-type"] == "image/png"
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.endswith(".png")


def test_another_one_like_it_starts_from_the_picture(open_page: Opener, studio: Studio) -> None:
    page = open_page("#/paint")
    page.get_by_role("radio", name="Draft").check()
    paint(page, "a red cup")
    expect(picture(page, "a red cup")).to_be_visible()
    page.get_by_role("button", name="Vary").click()
    expect(strip(page)).to_have_count(2)
    expect(strip(page).first).to_have_attribute("aria-current", "true")
    expect(picture(page, "a red cup")).to_be_visible()
    varied, first = requests_of(studio)[:2]
    made = studio.request("GET", "/v1/images", params={"limit": 2}).json()["data"]
    assert varied["image"] == made[1]["id"]
    assert (varied["strength"], varied["prompt"], varied["tier"]) == (0.6, "a red cup", "draft")
    assert varied["seed"] != first["seed"]


def test_what_waits_for_a_reviewer_says_so(open_page: Opener) -> None:
    def held(route: Route) -> None:
        body = {**(route.request.post_data_json or {}), "hold": True} if route.request.method == "POST" else None
        route.continue_(post_data=body)

    page = open_page("#/paint")
    page.route("**/v1/jobs", held)
    page.get_by_role("radio", name="Draft").check()
    paint(page, "a cup that waits")
    expect(results(page)).to_contain_text("1 picture waits for a reviewer")
    expect(results(page).locator(".final")).to_have_count(0)


# -- the form ---------------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_said_at_the_field(open_page: Opener) -> None:
    page = open_page("#/paint", allow={422})
    prompt = page.get_by_role("textbox", name="What to paint")
    page.get_by_role("button", name="Paint").click()
    expect(prompt).to_be_focused()
    expect(prompt).to_have_accessible_description("Say what to paint.")

    say(page, "a cup")
    expect(prompt).not_to_have_attribute("aria-invalid", "true")
    page.get_by_text("More settings").click()
    seed = page.get_by_role("textbox", name="Seed")
    seed.fill("seven")
    page.get_by_text("More settings").click()
    expect(seed).to_have_count(0)
    page.keyboard.press("Control+Enter")
    expect(seed).to_be_focused()
    expect(seed).to_have_accessible_description(
        "seed: input should be a valid integer, unable to parse string as an integer (you sent 'seven')."
    )
    expect(page.get_by_role("alert")).to_have_count(1)
    seed.fill("7")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_speeds_say_what_they_take_and_need(open_page: Opener, painted: list[str], studio: Studio) -> None:
    tiers = {each["tier"]: each for each in studio.request("GET", "/v1/models").json()["data"][0]["tiers"]}
    page = open_page("#/paint")
    expect(page.get_by_text("20 steps")).to_be_visible()
    if tiers["quality"]["seconds"] is not None:
        expect(page.get_by_text("a picture here")).to_be_visible()
    page.get_by_role("radio", name="Draft").check()
    expect(page.get_by_text("licence Apache-2.0")).to_be_visible()
    expect(page.get_by_text("≈ 112 × 112")).to_be_visible()


def test_settings_of_a_picture_come_back_into_the_form(open_page: Opener, studio: Studio) -> None:
    asked = {
        "prompt": "a green tree",
        "negative_prompt": "blur",
        "steps": 3,
        "n": 2,
        "seed": 41,
        "width": 96,
        "height": 160,
    }
    job = studio.submit(**asked, output_format="webp")["id"]
    image = studio.finished(job)["images"][1]["id"]
    page = open_page(f"#/paint?from={image}")
    expect(page.get_by_role("textbox", name="What to paint")).to_have_value("a green tree")
    page.get_by_text("More settings").click()
    for name, value in {"Seed": "42", "Keep out": "blur", "Steps": "3", "Exact size": "96x160"}.items():
        expect(page.get_by_role("textbox", name=name)).to_have_value(value)
    expect(page.get_by_role("combobox", name="File")).to_have_value("webp")
    expect(page.get_by_role("radio", name="1", exact=True)).to_be_checked()
    assert page.url.endswith("#/paint")
    page.keyboard.press("Control+Enter")
    expect(picture(page, "a green tree")).to_be_visible()
    again = requests_of(studio)[0]
    assert {name: again[name] for name in ("prompt", "negative_prompt", "steps", "seed", "n", "size")} == {
        "prompt": "a green tree", "negative_prompt": "blur", "steps": 3, "seed": 42, "n": 1, "size": "96x160",
    }  # fmt: skip


def test_a_style_is_chosen_by_name_and_a_picture_to_start_from_is_picked(
    open_page: Opener, studio: Studio, painted: list[str]
) -> None:
    studio.request("PUT", "/v1/styles/paper-cut", json={"style": "flat paper cut"})
    page = open_page("#/paint")
    page.get_by_role("radio", name="Draft").check()
    page.get_by_text("More settings").click()
    page.get_by_role("combobox", name="Style").select_option("paper-cut")
    page.get_by_role("group", name="In the likeness of").get_by_role("button", name="Add a picture").click()
    page.get_by_role("dialog").get_by_role("searchbox").fill("a blue boat")
    page.get_by_role("dialog").get_by_role("button", name="a blue boat").first.click()
    expect(page.get_by_role("slider", name="How far to go from it")).to_be_visible()
    kept = page.evaluate("JSON.stringify(localStorage)")
    assert "img_" not in kept, "pictures are not kept in the browser"
    paint(page, "a boat at night")
    expect(picture(page, "a boat at night")).to_be_visible()
    asked = requests_of(studio)[0]
    assert asked["direction"]["style"] == "flat paper cut"
    assert asked["image"].startswith("img_")


# -- a phone, and Chinese ---------------------------------------------------------------------------------------------


def test_on_a_phone_in_chinese(open_page: Opener) -> None:
    page = open_page("#/paint", size=(360, 740), touch=True, language="zh")
    button = page.get_by_role("button", name="开始绘制")
    expect(button).to_be_in_viewport(ratio=1)
    navigation = page.get_by_role("navigation")
    assert box(button)["y"] + box(button)["height"] <= box(navigation)["y"]
    page.get_by_role("textbox", name="想画什么").fill("蓝色背景上的红苹果")
    page.get_by_role("radio", name="草稿").check()
    button.tap()
    shown = page.get_by_role("region", name="结果")
    expect(shown.locator(".final.there")).to_be_in_viewport()
    expect(shown.get_by_role("button", name="编辑")).to_be_visible()
    assert box(shown)["y"] > box(page.get_by_role("form", name="绘制内容"))["y"]
    assert sidewise(page) == 0
