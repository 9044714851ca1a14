"""Art directions by name: saved, listed, deleted, used in every operation, and alike for all of an owner."""

from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.direction import Direction
from qwen_image_studio.gallery.pruning import prune
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.jobs.styles import MAX_STYLES
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png
from tests.support.refusals import assert_refused

SPRING = {"style": "flat paper cut, soft light", "palette": ["red", "gold"], "negative_prompt": "blur", "seed": 42}


def saved(client: FlaskClient, name: str = "spring-2027", **direction: Any) -> dict[str, Any]:
    answer = client.put(f"/v1/styles/{name}", json=direction or SPRING)
    assert answer.status_code in {200, 201}, answer.text
    return dict(answer.get_json())


def submitted(client: FlaskClient, **body: Any) -> dict[str, Any]:
    sent = {"operation": "generate", "prompt": "a cup", **body}
    answer = client.post("/v1/jobs", json={name: value for name, value in sent.items() if value is not None})
    assert answer.status_code == 202, answer.text
    return dict(answer.get_json())


def uploaded(client: FlaskClient) -> str:
    answer = client.post("/v1/images", data={"image": (BytesIO(png()), "cup.png")})
    return str(answer.get_json()["id"])


def test_a_style_is_saved_shown_listed_changed_and_deleted(client: FlaskClient) -> None:
    assert client.put("/v1/styles/spring-2027", json=SPRING).status_code == 201
    assert client.put("/v1/styles/spring-2027", json={"style": "oil"}).status_code == 200
    first = client.get("/v1/styles/spring-2027").get_json()
    assert (first["style"], first["palette"], first["seed"]) == ("oil", [], None), "it replaces the one before"
    assert first["created_at"] <= first["changed_at"]
    saved(client, "春节")
    assert [each["name"] for each in client.get("/v1/styles").get_json()["data"]] == ["spring-2027", "春节"]
    assert client.delete("/v1/styles/spring-2027").status_code == 204
    assert_refused(client.delete("/v1/styles/spring-2027"), 404, "not_found", "name")
    assert_refused(client.get("/v1/styles/spring-2027"), 404, "not_found", "style")


def test_a_name_is_the_same_however_it_was_typed(client: FlaskClient) -> None:
    saved(client, "cafe\u0301")
    assert saved(client, "caf\u00e9")["name"] == "caf\u00e9"
    assert submitted(client, style="cafe\u0301", seed=1)["request"]["direction"]["palette"] == ["red", "gold"]
    assert submitted(client, style="\uff43af\u00e9")["state"] == "queued"
    assert client.delete("/v1/styles/cafe\u0301").status_code == 204
    assert client.get("/v1/styles").get_json()["data"] == []


@pytest.mark.parametrize(
    ("name", "body", "param"),
    [
        ("a%20b", SPRING, "name"),
        ("x" * 65, SPRING, "name"),
        ("spring", {}, "style"),
        ("vivid", SPRING, "name"),
        ("spring", {"palette": ["red"] * 9}, "palette"),
        ("spring", {"style": "x" * 1001}, "style"),
        ("spring", {"seed": -2}, "seed"),
        ("spring", {"colours": ["red"]}, "colours"),
        ("spring", {"reference": "img_nothing"}, "reference"),
        ("spring", {"reference": "data:image/png;base64,AAAA"}, "reference"),
    ],
    ids=["blank", "long", "openai", "nothing", "colours", "words", "seed", "unknown", "reference", "data-url"],
)
def test_what_cannot_be_saved_says_why(client: FlaskClient, name: str, body: dict[str, Any], param: str) -> None:
    answer = client.put(f"/v1/styles/{name}", json=body)
    assert answer.status_code == 422
    assert answer.get_json()["error"]["param"] == param, answer.text
    assert client.get("/v1/styles").get_json()["data"] == []


def test_there_is_room_for_so_many(client: FlaskClient, store: JobStore) -> None:
    for number in range(MAX_STYLES):
        store.styles.save("local", f"s{number}", Direction())
    assert_refused(client.put("/v1/styles/one-more", json=SPRING), 409, "too_many_styles", "name")
    saved(client, "s0")


def test_a_prompt_follows_a_style_and_the_request_says_so_for_good(client: FlaskClient, store: JobStore) -> None:
    saved(client)
    view = submitted(client, style="spring-2027")
    plan = store.jobs.get(view["id"]).plan
    assert plan["prompt"] == "a cup. flat paper cut, soft light. Colour palette: red with gold"
    assert (plan["negative_prompt"], plan["seeds"]) == ("blur", [42])
    assert any(warning.startswith("seed 42 is the art direction's") for warning in view["warnings"])
    asked = view["request"]
    assert asked["prompt"] == "a cup"
    assert "style" not in asked
    client.delete("/v1/styles/spring-2027")
    again = store.jobs.get(submitted(client, **asked, cache=False)["id"]).plan
    assert again == plan, "what it was asked with, whatever became of the style"


def test_what_a_request_says_itself_goes_before(client: FlaskClient, store: JobStore) -> None:
    saved(client)
    said = {"seed": 7, "negative_prompt": "text", "direction": {"palette": ["blue"]}}
    plan = store.jobs.get(submitted(client, style="spring-2027", **said)["id"]).plan
    assert plan["prompt"] == "a cup. flat paper cut, soft light. Colour palette: blue"
    assert (plan["negative_prompt"], plan["seeds"]) == ("text", [7])


def test_a_direction_may_be_sent_itself(client: FlaskClient, store: JobStore) -> None:
    plan = store.jobs.get(submitted(client, direction={"style": "水彩"}, prompt="一只猫")["id"]).plan
    assert plan["prompt"] == "一只猫。水彩"


def test_every_painting_follows_a_style(client: FlaskClient, store: JobStore) -> None:
    saved(client, "oil", style="oil on canvas")
    image = uploaded(client)
    region = {"x": 0, "y": 0, "width": 30, "height": 30}
    for body in (
        {"operation": "edit", "image": image, "prompt": "make the cup green"},
        {"operation": "inpaint", "image": image, "prompt": "a cat", "region": region},
        {"operation": "outpaint", "image": image, "prompt": "a beach", "left": 32},
        {
            "operation": "edit",
            "image": image,
            "template": "product_on_white",
            "slots": {"product": "cup"},
            "prompt": None,
        },
    ):
        assert "oil on canvas" in store.jobs.get(submitted(client, style="oil", **body)["id"]).plan["prompt"]


def test_an_instruction_that_asks_for_adjustments_stays_one(client: FlaskClient, store: JobStore) -> None:
    saved(client, "oil", style="oil on canvas")
    view = submitted(client, operation="edit", image=uploaded(client), prompt="rotate it 90 degrees", style="oil")
    assert view["engine"] == "cv"


def test_rows_of_a_batch_have_the_style_as_it_was(client: FlaskClient, store: JobStore, light: Worker) -> None:
    saved(client)
    job = {"operation": "generate", "prompt": "a {{thing}}", "style": "spring-2027"}
    batch = submitted(client, operation="batch", prompt=None, job=job, rows=[{"thing": "cup"}, {"thing": "hat"}])
    client.delete("/v1/styles/spring-2027")
    while light.run_next():
        pass
    plans = [row.plan for row in store.rows.of_batch(batch["id"])]
    assert [plan["prompt"].partition(".")[0] for plan in plans] == ["a cup", "a hat"]
    assert all(plan["prompt"].endswith("Colour palette: red with gold") for plan in plans)
    assert [plan["seeds"] for plan in plans] == [[42], [43]]


def test_rows_may_name_styles_of_their_own(client: FlaskClient, store: JobStore, light: Worker) -> None:
    saved(client, "oil", style="oil on canvas")
    job = {"operation": "generate", "prompt": "a cup", "style": "{{style}}"}
    batch = submitted(client, operation="batch", prompt=None, job=job, rows=[{"style": "oil"}, {"style": None}])
    while light.run_next():
        pass
    assert [row.plan["prompt"] for row in store.rows.of_batch(batch["id"])] == ["a cup. oil on canvas", "a cup"]
    wrong = {"operation": "batch", "job": job, "rows": [{"style": "oil"}, {"style": "pastel"}]}
    refused = client.post("/v1/jobs", json=wrong)
    assert refused.status_code == 422
    assert "row 2" in refused.get_json()["error"]["message"]


def test_an_unknown_style_names_those_there_are(client: FlaskClient) -> None:
    saved(client, "oil")
    answer = client.post("/v1/jobs", json={"operation": "generate", "prompt": "a cup", "style": "pastel"})
    assert_refused(answer, 422, "unknown_style", "style")
    assert "you have oil" in answer.get_json()["error"]["message"]


def test_styles_are_for_all_keys_of_an_owner_and_nobody_else(client: FlaskClient, parts: Services) -> None:
    keys: KeyStore = parts.keys
    first, second, other = (
        {"Authorization": f"Bearer {keys.add(name, owner)}"}
        for name, owner in (("a", "shop"), ("b", "shop"), ("c", "press"))
    )
    assert client.put("/v1/styles/oil", json={"style": "oil"}, headers=first).status_code == 201
    assert client.get("/v1/styles/oil", headers=second).status_code == 200
    assert client.get("/v1/styles/oil", headers=other).status_code == 404
    body = {"operation": "generate", "prompt": "a cup", "style": "oil"}
    assert client.post("/v1/jobs", json=body, headers=second).status_code == 202
    assert_refused(client.post("/v1/jobs", json=body, headers=other), 422, "unknown_style", "style")


def test_a_reference_stays_as_long_as_its_style(client: FlaskClient, parts: Services) -> None:
    image = uploaded(client)
    assert saved(client, "shop", style="oil", reference=image)["reference"] == image
    assert_refused(client.delete(f"/v1/images/{image}"), 409, "image_in_use", None)
    prune(parts.gallery, parts.store, parts.settings, -1e9, dry_run=False)
    assert client.get(f"/v1/images/{image}/content").status_code == 200
    client.delete("/v1/styles/shop")
    assert client.delete(f"/v1/images/{image}").status_code == 204


def test_what_was_stored_for_a_style_goes_with_it(client: FlaskClient, parts: Services) -> None:
    """What was sent by itself, or is another style's too, does not."""
    own = uploaded(client)
    link = client.get(f"/v1/images/{own}").get_json()["url"]
    first, second = (saved(client, reference=link)["reference"] for _ in range(2))
    saved(client, "other", reference=second)
    assert len({own, first, second}) == 3
    assert client.get(f"/v1/images/{first}").status_code == 404
    saved(client, reference=own)
    assert client.get(f"/v1/images/{second}").status_code == 200
    for name, left in (("spring-2027", [own, second]), ("other", [own])):
        assert client.delete(f"/v1/styles/{name}").status_code == 204
        assert [each for each in (own, second) if client.get(f"/v1/images/{each}").status_code == 200] == left
    assert len(list(parts.gallery.files.keys())) == 2, "a picture and its thumbnail"


def test_a_reference_that_is_not_kept_leaves_nothing_behind(client: FlaskClient, store: JobStore) -> None:
    for number in range(MAX_STYLES):
        store.styles.save("local", f"s{number}", Direction())
    link = client.get(f"/v1/images/{uploaded(client)}").get_json()["url"]
    before = client.get("/v1/images").get_json()["data"]
    assert client.put("/v1/styles/new", json={"reference": link}).status_code == 409
    assert client.get("/v1/images").get_json()["data"] == before
