"""Campaigns over HTTP: a sentence in, a set of pictures in one style out, with their texts."""

import csv
import json
import zipfile
from collections.abc import Mapping
from io import BytesIO, StringIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.contract.answers import JobView
from qwen_image_studio.contract.campaign import SHAPES
from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import MAX_SEED, Channel, Scope
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.imaging import read_origin
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.planning.plan import BatchPlan
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.database import with_tables
from tests.support.pictures import png

BRIEF = 'Red apples for the Spring Festival, "SALE" and "福", in English and Chinese, as post and story'
PIECES = [
    {"channel": "post", "language": "en", "headline": "NEW", "subline": "From Monday", "prompt": "tea on a table"},
    {"channel": "wide_banner", "language": "zh", "headline": "新品", "prompt": "桌上的茶"},
]
FLAT = {"style": "flat vector", "palette": ["red", "#f5f0e1"], "negative_prompt": "fog", "seed": 7}


def send(client: FlaskClient, headers: Mapping[str, str] | None = None, **params: Any) -> Any:
    return client.post("/v1/jobs", json={"operation": "campaign", **params}, headers=headers)


def sent(client: FlaskClient, **params: Any) -> dict[str, Any]:
    answer = send(client, **params)
    assert answer.status_code == 202, answer.text
    JobView.model_validate(answer.get_json())
    return dict(answer.get_json())


def refused(answer: Any) -> tuple[str, str]:
    """The parameter that an error names, and its sentence."""
    assert answer.status_code == 422, answer.text
    error = answer.get_json()["error"]
    return error["param"], error["message"]


def plan_of(store: JobStore, job: Mapping[str, Any]) -> BatchPlan:
    return BatchPlan.model_validate(store.jobs.get(job["id"]).plan)


def column(store: JobStore, job: Mapping[str, Any], name: str) -> list[Any]:
    """A column of the table that a campaign became."""
    return [row[name] for row in plan_of(store, job).table]


def run(light: Worker, worker: Worker) -> None:
    while light.run_next() or worker.run_next():
        pass


def look(client: FlaskClient, job_id: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/jobs/{job_id}").get_json())


def rows_of(client: FlaskClient, job_id: str) -> list[dict[str, Any]]:
    return list(client.get(f"/v1/jobs?parent_id={job_id}").get_json()["data"])


def uploaded(client: FlaskClient, data: bytes) -> str:
    """The id of an uploaded picture."""
    return str(client.post("/v1/images", data={"image": (BytesIO(data), "a.png")}).get_json()["id"])


# -- from a sentence to pictures -----------------------------------------------------------------------------------


def test_a_sentence_becomes_pictures_a_sheet_a_zip_and_a_table_of_texts(
    client: FlaskClient, light: Worker, worker: Worker
) -> None:
    job = sent(client, brief=BRIEF, seed=7, steps=2)
    assert (job["operation"], job["state"], job["model"], job["rows"]["total"]) == ("campaign", "queued", "cv", 4)
    run(light, worker)
    done = look(client, job["id"])
    assert (done["state"], done["rows"]["succeeded"], len(done["images"])) == ("succeeded", 4, 1)
    rows = rows_of(client, job["id"])
    assert [(row["operation"], row["images"][0]["seed"]) for row in rows] == [("generate", 7)] * 4
    origin = read_origin(client.get(rows[1]["images"][0]["url"]).data)
    assert 'Red apples for the Spring Festival and the text "福", red background' in str(origin["prompt"])
    with zipfile.ZipFile(BytesIO(client.get(done["archive_url"]).data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    names = [f"row-00{number}.png" for number in range(1, 5)]
    assert set(files) == {*names, "contact-sheet.jpg", "rows.csv", "texts.csv"}
    texts = files["texts.csv"].decode("utf-8")
    assert texts.startswith("\ufeff")
    table = list(csv.DictReader(StringIO(texts.removeprefix("\ufeff"), newline="")))
    assert [tuple(line.values()) for line in table] == [
        ("1", "post", "en", "SALE", "", "row-001.png", "128x128"),
        ("2", "post", "zh", "福", "", "row-002.png", "128x128"),
        ("3", "story", "en", "SALE", "", "row-003.png", "96x176"),
        ("4", "story", "zh", "福", "", "row-004.png", "96x176"),
    ]


@pytest.mark.parametrize(
    ("params", "pieces"),
    [
        ({"brief": "apples"}, "post/en story/en banner/en poster/en"),
        ({"brief": "苹果，海报"}, "poster/zh"),
        ({"product": "apples"}, "post/en story/en banner/en poster/en"),
        ({"occasion": "春节"}, "post/zh story/zh banner/zh poster/zh"),
        ({"brief": "apples", "languages": ["zh", "en"], "channels": ["poster"]}, "poster/zh poster/en"),
        ({"brief": "apples", "languages": ["English", "zh-CN"], "channels": ["21:9", "Wide Banner"]},
         "wide_banner/en wide_banner/zh"),
        ({"brief": "apples", "languages": "zh，en", "channels": "海报、Instagram Story"},
         "poster/zh poster/en story/zh story/en"),
        ({"brief": "apples", "languages": "", "channels": "wide_banner; square post"}, "wide_banner/en post/en"),
        ({"brief": "苹果，海报", "languages": ["en"], "channels": ["story", "story"]}, "story/en"),
        ({"brief": "apples", "pieces": PIECES, "channels": ["post"]}, "post/en wide_banner/zh"),
        ({"brief": "apples", "pieces": [], "channels": ["post"]}, "post/en"),
    ],
)  # fmt: skip
def test_channels_and_languages_are_those_sent_else_of_the_brief(
    client: FlaskClient, store: JobStore, params: dict[str, Any], pieces: str
) -> None:
    job = sent(client, **params)
    table = plan_of(store, job).table
    assert " ".join(f"{row['channel']}/{row['language']}" for row in table) == pieces
    assert [row["piece"] for row in table] == list(range(1, len(table) + 1))


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("model", ["miniature", "Qwen-Image", "Qwen-Image-2.1"])
def test_each_channel_has_its_shape_at_the_models_own_size(tmp_path: Any, channel: Channel, model: str) -> None:
    settings = with_tables(Settings(_env_file=None, data_dir=tmp_path))
    client = create_app(settings, {model: MODELS[model]}).test_client()
    job = sent(client, brief="apples", channels=[channel])
    store: JobStore = client.application.extensions["qwen-image-studio"].store
    width, height = map(int, column(store, job, "size")[0].split("x"))
    across, down = SHAPES[channel]
    assert abs(width * down / (height * across) - 1) < 0.07
    own = MODELS[model].limits.native
    assert 0.85 < width * height / (own[0] * own[1]) < 1.15
    assert not width % MODELS[model].grid
    assert not height % MODELS[model].grid


# -- one direction -------------------------------------------------------------------------------------------------


def test_all_pieces_are_painted_in_one_direction(client: FlaskClient, store: JobStore) -> None:
    job = sent(client, pieces=PIECES, direction=FLAT)
    assert column(store, job, "prompt") == [
        'tea on a table. The headline text "NEW". Below it the smaller text "From Monday". flat vector. '
        "Colour palette: red with #f5f0e1",
        "桌上的茶。标题文字“新品”。flat vector。配色：红色、#f5f0e1",
    ]
    assert column(store, job, "negative_prompt") == ["fog", "fog"]
    assert plan_of(store, job).row_seeds == (7, 7)
    assert job["request"] == {"operation": "campaign", "model": "miniature", "direction": FLAT, "pieces": PIECES}


def test_a_brief_alone_is_directed_by_rules_and_tells_how(client: FlaskClient) -> None:
    told = sent(client, brief=BRIEF)["request"]
    assert told["direction"]["palette"] == ["red", "gold", "beige"]
    assert "paper-cut" in told["direction"]["style"]
    assert isinstance(told["direction"]["seed"], int)
    assert [(piece["channel"], piece["headline"]) for piece in told["pieces"]] == [
        ("post", "SALE"), ("post", "福"), ("story", "SALE"), ("story", "福"),
    ]  # fmt: skip


def test_what_a_direction_leaves_open_is_filled_by_rules_where_they_make_the_pieces(client: FlaskClient) -> None:
    told = sent(client, brief=BRIEF, direction={"palette": ["pink"]})["request"]["direction"]
    assert (told["palette"], "paper-cut" in told["style"]) == (["pink"], True)
    told = sent(client, brief=BRIEF, pieces=PIECES, direction={"palette": ["pink"]})["request"]["direction"]
    assert (told["palette"], "style" in told) == (["pink"], False)
    assert "paper-cut" in sent(client, brief=BRIEF, pieces=PIECES)["request"]["direction"]["style"]
    assert "style" not in sent(client, pieces=PIECES)["request"]["direction"]


def test_seed_and_negative_prompt_of_the_request_go_before_the_directions(client: FlaskClient, store: JobStore) -> None:
    job = sent(client, pieces=PIECES, direction=FLAT, seed=9, negative_prompt="{{rain}}")
    assert (plan_of(store, job).row_seeds, column(store, job, "negative_prompt")) == ((9, 9), ["{{rain}}"] * 2)
    assert (job["request"]["direction"]["seed"], job["request"]["direction"]["negative_prompt"]) == (9, "{{rain}}")
    large = sent(client, brief="tea", seed=MAX_SEED + 8)
    assert plan_of(store, large).row_seeds == (7, 7, 7, 7)
    assert "it was folded into 7" in large["warnings"][0]
    drawn = {plan_of(store, sent(client, brief="tea", seed=seed)).row_seeds for seed in (-1, None)}
    assert all(len(set(seeds)) == 1 for seeds in drawn)
    assert len(drawn) == 2


def test_the_common_parameters_reach_each_row(client: FlaskClient, light: Worker) -> None:
    common = {"steps": 3, "guidance_scale": 2.5, "tier": "turbo", "output_format": "jpeg", "output_quality": 80}
    job = sent(client, pieces=PIECES, model="Qwen-Image", cache=False, user="ann", conversation="c1", **common)
    assert job["user"] == "ann"
    assert job["request"].items() >= {**common, "model": "miniature", "cache": False}.items()
    assert light.run_next()
    for row in rows_of(client, job["id"]):
        assert row["request"].items() >= common.items()
        assert row["user"] == "ann"
        assert any("Qwen-Image is not on this server" in warning for warning in row["warnings"])


def test_a_saved_style_stands_where_the_direction_leaves_it_open(client: FlaskClient) -> None:
    assert client.put("/v1/styles/spring-2027", json=FLAT).status_code == 201
    told = sent(client, pieces=PIECES, style="spring-2027", direction={"palette": ["pink"]})["request"]
    assert told["direction"] == {**FLAT, "palette": ["pink"]}
    assert "style" not in told
    assert sent(client, brief=BRIEF, style="spring-2027")["request"]["direction"] == FLAT


def test_the_direction_that_was_used_is_saved_under_a_name(client: FlaskClient, store: JobStore) -> None:
    image = uploaded(client, png(64, 48))
    job = sent(client, brief=BRIEF, image=image, save_style="spring")
    said = store.styles.get(store.jobs.get(job["id"]).owner, "spring").direction
    assert said.model_dump(exclude_defaults=True) == job["request"]["direction"]
    assert said.reference == image
    again = sent(client, pieces=PIECES, style="spring")
    assert store.jobs.get(again["id"]).inputs == (image,)
    assert again["request"]["direction"] == job["request"]["direction"]
    assert "save_style" not in job["request"]


# -- again ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params", [{"brief": BRIEF}, {"pieces": PIECES, "direction": FLAT}, {"product": "茶", "occasion": "618", "seed": 3}]
)
def test_what_a_campaign_says_of_itself_makes_the_same_again(
    client: FlaskClient, store: JobStore, params: dict[str, Any]
) -> None:
    first = sent(client, **params)
    second = sent(client, **{name: value for name, value in first["request"].items() if name != "operation"})
    assert second["request"] == first["request"]
    plans = [plan_of(store, job).model_copy(update={"job": {}}) for job in (first, second)]
    assert plans[0] == plans[1]


def test_a_piece_of_it_can_be_changed_and_the_colours_of_all(client: FlaskClient, store: JobStore) -> None:
    told = sent(client, brief=BRIEF)["request"]
    told["pieces"][1]["headline"] = "春"
    told["direction"]["palette"] = ["blue"]
    job = sent(client, **{name: value for name, value in told.items() if name != "operation"})
    prompt = column(store, job, "prompt")[1]
    assert ('the text "春"' in prompt, "福" in prompt) == (True, False)
    assert ("blue background" in prompt, "red background" in prompt) == (True, False)


def test_what_a_row_says_of_itself_paints_that_piece_again(client: FlaskClient, light: Worker, worker: Worker) -> None:
    job = sent(client, pieces=PIECES, direction=FLAT, steps=2)
    run(light, worker)
    row = rows_of(client, job["id"])[1]
    again = client.post("/v1/jobs", json={**row["request"], "cache": False}).get_json()
    assert worker.run_next()
    [first], [second] = row["images"], look(client, again["id"])["images"]
    assert first["sha256"] == second["sha256"]


def test_a_direction_that_cannot_be_saved_refuses_the_campaign(
    client: FlaskClient, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen_image_studio.jobs.styles.MAX_STYLES", 0)
    form = {"params": json.dumps({"operation": "campaign", "brief": "tea", "save_style": "spring"})}
    answer = client.post("/v1/jobs", data={**form, "image": (BytesIO(png()), "a.png")})
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (409, "too_many_styles", "save_style")
    assert client.get("/v1/jobs").get_json()["data"] == []
    assert client.get("/v1/images").get_json()["data"] == [], "nothing stays of what came along"


def test_the_pictures_of_an_equal_campaign_answer_its_rows_where_the_seed_was_asked_for(
    client: FlaskClient, light: Worker, worker: Worker
) -> None:
    for _ in range(2):
        job = sent(client, pieces=PIECES, direction=FLAT, steps=2)
        run(light, worker)
    assert [row["cached"] for row in rows_of(client, job["id"])] == [True, True]
    anew = sent(client, pieces=PIECES, direction=FLAT, steps=2, cache=False)
    other = sent(client, campaign=job["id"], piece=1)
    run(light, worker)
    for each in (anew, other):
        assert not any(row["cached"] for row in rows_of(client, each["id"]))


def test_one_piece_is_done_again_alone_with_the_same_direction(client: FlaskClient, store: JobStore) -> None:
    first = sent(client, pieces=PIECES, direction=FLAT, steps=2, model="miniature", hold=True)
    job = sent(client, campaign=first["id"], piece=2)
    assert (job["operation"], job["rows"]["total"]) == ("campaign", 1)
    assert column(store, job, "prompt") == [column(store, first, "prompt")[1]]
    assert column(store, job, "size") == [column(store, first, "size")[1]]
    direction = job["request"]["direction"]
    assert {**direction, "seed": 7} == FLAT
    assert direction["seed"] != 7
    assert job["request"]["pieces"] == [PIECES[1]]
    assert (job["request"]["steps"], store.jobs.get(job["id"]).hold) == (2, False)


def test_a_piece_that_is_done_again_may_have_texts_seed_and_steps_of_its_own(
    client: FlaskClient, store: JobStore
) -> None:
    first = sent(client, brief=BRIEF, seed=7)
    job = sent(client, campaign=first["id"], piece=1, headline="HOT", subline="Now", seed=7, steps=4)
    assert column(store, job, "headline") == ["HOT"]
    [prompt] = column(store, job, "prompt")
    assert ('and the text "HOT"' in prompt, "SALE" in prompt, 'smaller text "Now"' in prompt) == (True, False, True)
    assert (plan_of(store, job).row_seeds, job["request"]["steps"]) == ((7,), 4)
    assert column(store, sent(client, campaign=first["id"], piece=1, headline="热卖"), "language") == ["zh"]
    assert column(store, sent(client, campaign=first["id"], piece=1, headline="-50%"), "language") == ["en"]
    job = sent(client, campaign=job["id"], piece=1, prompt="a bowl of pears")
    assert column(store, job, "prompt")[0].startswith('a bowl of pears. The headline text "HOT". Below it')


# -- a picture of the product --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["id", "file", "direction", "file before direction"])
def test_the_products_picture_is_placed_by_a_model_that_edits(
    client: FlaskClient, store: JobStore, light: Worker, worker: Worker, how: str
) -> None:
    image = uploaded(client, png(64, 48))
    other = uploaded(client, png(64, 48, "blue"))
    params: dict[str, Any] = {"operation": "campaign", "brief": "tea, as post and poster", "steps": 2}
    if how in {"id", "direction"}:
        named = {"image": image} if how == "id" else {"direction": {"reference": image}}
        job = client.post("/v1/jobs", json={**params, **named}).get_json()
    else:
        params |= {"direction": {"reference": other}} if how != "file" else {}
        form = {"params": json.dumps(params), "image": (BytesIO(png(64, 48)), "a.png")}
        job = client.post("/v1/jobs", data=form).get_json()
    [stored] = store.jobs.get(job["id"]).inputs
    assert store.images.get(stored).sha256 == store.images.get(image).sha256
    assert job["request"]["direction"]["reference"] == stored
    assert "image" not in job["request"]
    run(light, worker)
    rows = rows_of(client, job["id"])
    assert [(row["state"], row["operation"], row["request"]["image"]) for row in rows] == [
        ("succeeded", "edit", [stored])
    ] * 2
    assert rows[0]["request"]["prompt"].startswith("Place the product of image 1, unchanged, in this picture: tea")
    again = sent(client, **{name: value for name, value in job["request"].items() if name != "operation"})
    assert store.jobs.get(again["id"]).inputs == (stored,)
    piece = sent(client, campaign=job["id"], piece=2)
    assert store.jobs.get(piece["id"]).inputs == (stored,)


def test_a_model_that_does_not_edit_starts_from_the_products_picture_and_says_so(tmp_path: Any) -> None:
    settings = with_tables(Settings(_env_file=None, data_dir=tmp_path))
    models = {name: MODELS[name] for name in ("Qwen-Image", "Qwen-Image-Edit-2509")}
    client = create_app(settings, models).test_client()
    image = uploaded(client, png(64, 48))
    store: JobStore = client.application.extensions["qwen-image-studio"].store
    job = sent(client, brief="tea", image=image, model="Qwen-Image")
    assert plan_of(store, job).job["operation"] == "generate"
    assert "Qwen-Image does not edit" in job["warnings"][0]
    job = sent(client, brief="tea", image=image)
    assert (plan_of(store, job).job["operation"], job["warnings"]) == ("edit", [])
    param, message = refused(send(client, brief="tea", model="Qwen-Image-Edit-2509"))
    assert (param, "send a picture of the product" in message) == ("model", True)


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "param", "remedy"),
    [
        ({}, "brief", "say in one sentence what, for whom and when"),
        ({"brief": "<think>so</think>"}, "brief", "nothing of it is left"),
        ({"brief": "a" * 2001}, "brief", "2000"),
        ({"brief": f'tea "{"a" * 201}"'}, "brief", "at most 200 can be lettered"),
        ({"brief": "tea", "languages": ["fr"]}, "languages[0]", "'en' or 'zh'"),
        ({"brief": "tea", "channels": ["billboard"]}, "channels[0]", "'post'"),
        ({"brief": "tea", "channels": "story, fax"}, "channels[1]", "(you sent 'fax')"),
        ({"brief": "tea", "direction": {"colour": "red"}}, "direction.colour", "not a parameter"),
        ({"brief": "tea", "direction": "red"}, "direction", 'takes an object such as {"style": "watercolour"}'),
        ({"brief": "tea", "direction": {"palette": ["red"] * 9}}, "direction.palette", "at most 8"),
        ({"pieces": [{"channel": "post", "language": "en", "headline": "NEW"}]}, "pieces[0].prompt", "send a brief"),
        ({"pieces": [{"channel": "post", "language": "en", "prompt": "tea"}]}, "pieces[0].headline", "required"),
        ({"pieces": [PIECES[0]] * 25}, "pieces", "at most 24"),
        ({"pieces": [{**PIECES[0], "prompt": "a" * 8001}]}, "pieces[0].prompt", "8000"),
        ({"pieces": [{**PIECES[0], "prompt": "a" * 7999}], "direction": FLAT}, "pieces[0]", "shorten it, or the style"),
        ({"pieces": [{**PIECES[0], "headline": "<|x|>"}]}, "pieces[0].headline", "send another"),
        ({"pieces": [{**PIECES[0], "text": "x"}]}, "pieces[0].text", "not a parameter"),
        ({"brief": "tea", "style": "nobody-saved-it"}, "style", "no"),
        ({"brief": "tea", "style": "a b"}, "style", "takes letters"),
        ({"brief": "tea", "image": "img_none"}, "image", "there is no image"),
        ({"brief": "tea", "direction": {"reference": "img_none"}}, "image", "there is no image"),
        ({"brief": "tea", "steps": 151}, "steps", "150"),
        ({"brief": "tea", "tier": "none"}, "tier", "quality"),
        ({"brief": "tea", "model": "none"}, "model", "it has: miniature"),
        ({"brief": "tea", "piece": 1}, "piece", "send that one's id as campaign"),
        ({"brief": "tea", "headline": "NEW"}, "headline", "send that one's id as campaign"),
        ({"campaign": "job_none"}, "piece", "counted from 1"),
        ({"campaign": "job_none", "piece": 1}, "campaign", "send the id of a job of operation campaign"),
        ({"campaign": "job_none", "piece": 1, "brief": "tea"}, "brief", "leave out campaign"),
        ({"campaign": "job_none", "piece": 1, "direction": FLAT}, "direction", "leave out campaign"),
        ({"campaign": "job_none", "piece": 25}, "piece", "24"),
        ({"campaign": 5, "piece": 1}, "campaign", "string"),
    ],
    ids=map(str, range(31)),
)  # fmt: skip
def test_bad_input_is_refused_with_field_and_remedy(
    client: FlaskClient, params: dict[str, Any], param: str, remedy: str
) -> None:
    named, message = refused(send(client, **params))
    assert named == param
    assert remedy in message


def test_half_a_character_is_refused(client: FlaskClient) -> None:
    body = json.dumps({"operation": "campaign", "pieces": [{**PIECES[0], "headline": "N\ud800"}]})
    answer = client.post("/v1/jobs", data=body, content_type="application/json")
    assert refused(answer)[0] == "pieces[0].headline"


def test_a_piece_that_is_not_there_and_a_job_that_is_no_campaign_are_refused(client: FlaskClient) -> None:
    job = sent(client, pieces=PIECES)
    assert refused(send(client, campaign=job["id"], piece=3)) == (
        "piece", "piece: that campaign has 2 pieces, so send 1 to 2.",
    )  # fmt: skip
    picture = client.post("/v1/jobs", json={"operation": "generate", "prompt": "tea"}).get_json()
    assert refused(send(client, campaign=picture["id"], piece=1))[0] == "campaign"


def test_a_campaign_of_another_owner_is_not_there(client: FlaskClient, keys: KeyStore) -> None:
    ann, bob = ({"Authorization": f"Bearer {keys.add(name, name)}"} for name in ("ann", "bob"))
    job = send(client, ann, pieces=PIECES).get_json()
    assert refused(send(client, bob, campaign=job["id"], piece=1))[0] == "campaign"
    assert send(client, ann, campaign=job["id"], piece=1).status_code == 202


def test_a_campaign_is_no_row_of_a_batch_and_takes_one_picture(client: FlaskClient) -> None:
    batch = {"operation": "batch", "job": {"operation": "campaign", "brief": "{{a}}"}, "rows": [{"a": "tea"}]}
    answer = client.post("/v1/jobs", json=batch)
    assert "a row of a batch cannot be a campaign" in refused(answer)[1]
    params = json.dumps({"operation": "campaign", "brief": "tea"})
    two = [(BytesIO(png()), "a.png"), (BytesIO(png()), "b.png")]
    assert refused(client.post("/v1/jobs", data={"params": params, "image[]": two}))[0] == "image"
    assert refused(client.post("/v1/jobs", data={"params": params, "mask": (BytesIO(png()), "a.png")}))[0] == "mask"


# -- as batches are ------------------------------------------------------------------------------------------------


@pytest.fixture
def keys(parts: Services) -> KeyStore:
    """The keys of the server."""
    return KeyStore(parts.store.database)


@pytest.mark.parametrize(("scope", "status"), [(Scope.GENERATE, 202), (Scope.EDIT, 403)])
def test_a_key_needs_the_scope_of_what_is_painted(
    client: FlaskClient, keys: KeyStore, scope: Scope, status: int
) -> None:
    headers = {"Authorization": f"Bearer {keys.add('one', 'shop', [scope])}"}
    assert send(client, headers, brief="tea").status_code == status


def test_limits_count_all_pictures_of_a_campaign(client: FlaskClient, keys: KeyStore) -> None:
    limits = KeyLimits(key=Limits(images_per_day=5))
    headers = {"Authorization": f"Bearer {keys.add('one', 'shop', limits=limits)}"}
    assert send(client, headers, brief="tea").status_code == 202
    answer = send(client, headers, brief="tea")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (429, "quota_exceeded")


def test_pieces_are_as_large_as_a_key_may_ask_for(client: FlaskClient, store: JobStore, keys: KeyStore) -> None:
    limits = KeyLimits(key=Limits(max_pixels=96 * 96))
    headers = {"Authorization": f"Bearer {keys.add('one', 'shop', limits=limits)}"}
    answer = send(client, headers, brief="tea", channels=list(Channel))
    assert answer.status_code == 202, answer.text
    for size in column(store, answer.get_json(), "size"):
        width, height = map(int, size.split("x"))
        assert 64 * 64 < width * height <= 96 * 96


def test_a_campaign_that_is_held_waits_for_a_reviewer(client: FlaskClient, light: Worker, worker: Worker) -> None:
    job = sent(client, pieces=PIECES, hold=True, steps=2)
    run(light, worker)
    resting = look(client, job["id"])
    assert (resting["state"], resting["held"], resting["archive_url"]) == ("review", 2, None)
    assert resting["request"]["hold"] is True


def test_one_cancel_ends_all_pieces(client: FlaskClient, light: Worker) -> None:
    job = sent(client, pieces=PIECES)
    assert light.run_next()
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200
    assert look(client, job["id"])["state"] == "cancelled"
    assert {row["state"] for row in rows_of(client, job["id"])} == {"cancelled"}


def test_a_campaign_of_which_a_piece_fails_succeeds_and_says_so(
    client: FlaskClient, light: Worker, worker: Worker
) -> None:
    pieces = [PIECES[0], {**PIECES[1], "prompt": "bug@1 always"}]
    job = sent(client, pieces=pieces, steps=2)
    run(light, worker)
    done = look(client, job["id"])
    assert (done["state"], done["rows"]["succeeded"], done["rows"]["failed"]) == ("succeeded", 1, 1)
    assert any("1 of 2 rows failed" in warning for warning in done["warnings"])
    with zipfile.ZipFile(BytesIO(client.get(done["archive_url"]).data)) as archive:
        texts = archive.read("texts.csv").decode("utf-8-sig").splitlines()
    assert texts[1:] == ["1,post,en,NEW,From Monday,row-001.png,128x128", "2,wide_banner,zh,新品,,,"]


def test_a_blocked_term_is_found_wherever_it_is_said(app: Flask, tmp_path: Any) -> None:
    terms = tmp_path / "terms.txt"
    terms.write_text("gun\n")
    settings = with_tables(Settings(_env_file=None, data_dir=tmp_path / "b", models="miniature", blocked_terms=terms))
    client = create_app(settings, {"miniature": MODELS["miniature"]}).test_client()
    for params, param in (
        ({"brief": "a gun"}, "brief"),
        ({"brief": "tea", "audience": "gun owners"}, "audience"),
        ({"brief": "tea", "direction": {"style": "gun metal"}}, "direction.style"),
        ({"pieces": [PIECES[0], {**PIECES[1], "headline": "gun"}]}, "pieces[1].headline"),
    ):
        error = send(client, **params).get_json()["error"]
        assert (error["code"], error["param"]) == ("content_blocked", param)


def test_a_brief_loses_thoughts_and_says_so(client: FlaskClient, store: JobStore) -> None:
    job = sent(client, brief="<think>christmas</think>tea, as post")
    assert "thoughts" in job["warnings"][0].casefold() or "thinking" in job["warnings"][0].casefold()
    assert "christmas" not in json.dumps(job["request"])
    assert len(plan_of(store, job).table) == 1


def test_lettering_that_no_piece_has_is_warned_of(client: FlaskClient) -> None:
    assert "'福' is lettered nowhere" in sent(client, brief='tea, "NEW" and "福", in English')["warnings"][0]


def test_a_campaign_is_found_by_its_brief(client: FlaskClient, store: JobStore) -> None:
    assert store.jobs.get(sent(client, brief=BRIEF)["id"]).prompt == BRIEF
    assert store.jobs.get(sent(client, pieces=PIECES)["id"]).prompt == "NEW"
