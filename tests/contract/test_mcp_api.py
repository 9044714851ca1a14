"""The Model Context Protocol without a model: tools, errors, keys, limits, review and the log, message by message."""

import base64
import json
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image

from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.operations.request import OPERATIONS
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.mcp.pictures import PREVIEW_BYTES
from qwen_image_studio.web.mcp.tools import HIDDEN, PAINT_TOOLS, UNLISTED
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.contract.doors import OWN_PAGE, guest_of_new_image, signed_in
from tests.contract.test_bad_input import ANY_JSON
from tests.contract.test_call_log import rows
from tests.support.database import with_tables
from tests.support.mcp import BOTH, called, error_of, posted, refused, result_of, text_of
from tests.support.pictures import png
from tests.support.waiting import until
from tests.support.worker import scripted_worker, working

CUP = {"prompt": "a cup", "steps": 2}


@pytest.fixture
def keys(parts: Services) -> KeyStore:
    """The application's keys."""
    return parts.keys


def jobs(client: FlaskClient, **headers: str) -> list[dict[str, Any]]:
    return list(client.get("/v1/jobs", headers=headers).get_json()["data"])


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def pictures(result: dict[str, Any]) -> list[Image.Image]:
    images = [each for each in result["content"] if each["type"] == "image"]
    return [Image.open(BytesIO(base64.b64decode(each["data"]))) for each in images]


# -- the list of tools ---------------------------------------------------------------------------------------------


def listed(client: FlaskClient, **headers: str) -> dict[str, dict[str, Any]]:
    return {tool["name"]: tool for tool in result_of(posted(client, "tools/list", **headers))["tools"]}


def test_each_tool_has_the_parameters_of_its_operations_and_no_list_of_its_own(client: FlaskClient) -> None:
    tools = listed(client)
    assert tools.keys() == {*PAINT_TOOLS, "image_job"}
    assert {"image_generation", "image_edit", "image_outpaint"} <= tools.keys()
    assert ("image_layers" in tools) == ("layers" in OPERATIONS)
    for name, tool in PAINT_TOOLS.items():
        fields = {field for operation in tool.operations for field in OPERATIONS[operation].model_fields}
        assert tools[name]["inputSchema"]["properties"].keys() == fields - HIDDEN - UNLISTED | {"wait", "inline"}
    assert {"mask", "region", "prefer"} <= tools["image_edit"]["inputSchema"]["properties"].keys()


def test_a_description_says_values_limits_and_default_and_no_schema_needs_a_second_look(client: FlaskClient) -> None:
    """Dify drops enum and default; others read no references, and no numbers above what JavaScript has."""
    tools = listed(client)
    parameters = tools["image_generation"]["inputSchema"]["properties"]
    assert parameters["tier"]["description"].endswith("One of: quality, balanced, turbo, draft. Default: quality.")
    assert "1 to 10. Default: 1." in parameters["n"]["description"]
    assert "There are: miniature." in parameters["model"]["description"]
    assert "Default: 20" in parameters["wait"]["description"]
    assert "Above 0 to 1." in parameters["strength"]["description"]
    edit = tools["image_edit"]["inputSchema"]["properties"]
    assert "Only with a mask or region." in edit["feather"]["description"]
    assert "Not with a mask or region." in edit["aspect_ratio"]["description"]
    assert "data URL" in edit["image"]["description"]
    assert "file" not in edit["image"]["description"] + edit["mask"]["description"]
    for tool in tools.values():
        for schema in (tool["inputSchema"], tool["outputSchema"]):
            Draft202012Validator.check_schema(schema)
            written = json.dumps(schema)
            assert not [word for word in ("$ref", "$defs", '"null"', '"title"', '"pattern"') if word in written]
        assert all(each["description"] for each in tool["inputSchema"]["properties"].values()), tool["name"]
        assert len(tool["description"]) > 100
    assert "18446744073709551615" not in json.dumps(tools)


def test_a_key_is_shown_the_tools_that_it_may_use(client: FlaskClient, keys: KeyStore) -> None:
    only = {"Authorization": f"Bearer {keys.add('painter', 'shop', [Scope.GENERATE])}"}
    assert listed(client, **only).keys() == {"image_generation", "image_job"}
    answer = posted(
        client, "tools/call", {"name": "image_edit", "arguments": {"prompt": "x", "image": "img_1"}}, **only
    )
    assert (answer.status_code, error_of(answer)["data"]["code"]) == (200, "scope_missing")
    assert "keys scopes painter generate,edit" in error_of(answer)["message"]


# -- results -------------------------------------------------------------------------------------------------------


def test_a_result_is_a_text_the_images_variables_and_the_price(settings: Settings, keys: KeyStore) -> None:
    priced = with_tables(settings.model_copy(update={"mcp_price": "0.02 USD"}))
    app = create_app(priced, configured_models(priced, card_gib=0))
    client, parts = app.test_client(), app.extensions["qwen-image-studio"]
    with working(scripted_worker(parts)):
        result = called(client, "image_generation", **CUP, n=2, seed=7)
        again = called(client, "image_generation", **CUP, n=2, seed=7)
    text, found = text_of(result), result["structuredContent"]
    assert text.startswith("2 images by miniature")
    assert text.endswith("\n")
    for word in (
        found["job_id"],
        *found["image_ids"],
        *found["image_urls"],
        "128x128 PNG",
        "seed 7",
        "seed 8",
        "Note: ",
    ):
        assert word in text
    assert [image.size for image in pictures(result)] == [(128, 128)] * 2
    assert (found["state"], found["count"], found["seed"], found["width"]) == ("succeeded", 2, 7, 128)
    Draft202012Validator(listed(client)["image_generation"]["outputSchema"]).validate(found)
    assert result["_meta"]["usage"] == {"total_price": "0.04", "currency": "USD"}
    assert again["_meta"]["usage"]["total_price"] == "0.00", "what is there already costs nothing"
    assert "earlier job" in text_of(again)


def test_an_image_comes_in_by_its_id_its_link_as_data_url_and_as_base64(
    client: FlaskClient, worker: Worker, parts: Services
) -> None:
    with working(worker):
        painted = called(client, "image_generation", **CUP, inline="none")["structuredContent"]
        sent = [
            painted["image_id"],
            painted["image_url"],
            data_url(png(64, 64)),
            base64.b64encode(png(64, 64)).decode(),
        ]
        for image in sent:
            for said in (image, [image], json.dumps([image])):
                made = called(client, "image_edit", prompt="make it red", image=said, steps=2)
                assert len(pictures(made)) == 1
        two = called(client, "image_edit", prompt="both", image=[data_url(png(64, 64)), data_url(png(32, 32))], steps=2)
    assert len(parts.store.jobs.get(two["structuredContent"]["job_id"]).inputs) == 2


def test_a_mask_or_a_region_makes_an_edit_of_a_part(client: FlaskClient, worker: Worker, parts: Services) -> None:
    image, mask = data_url(png(64, 64)), data_url(png(64, 64, "white"))
    box = {"x": 0, "y": 0, "width": 16, "height": 16}
    with working(worker):
        for more in ({"mask": mask}, {"region": box}, {"region": json.dumps(box)}):
            made = called(client, "image_edit", prompt="a cat", image=image, steps=2, **more)
            assert parts.store.jobs.get(made["structuredContent"]["job_id"]).operation == "inpaint"
        whole = called(client, "image_edit", prompt="a cat", image=image, steps=2, mask="")
        wide = called(client, "image_outpaint", image=image, aspect_ratio="2:1", steps=2)
    assert parts.store.jobs.get(whole["structuredContent"]["job_id"]).operation == "edit"
    assert pictures(wide)[0].size == (128, 64)


def test_a_preview_is_small_and_its_file_still_says_what_made_it(
    client: FlaskClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = {"prompt": "a cup", "steps": 2, "n": 3, "seed": 5}
    with working(worker):
        whole, enough = (called(client, "image_generation", **ask, inline=inline) for inline in ("full", "preview"))
        least = min(len(base64.b64decode(each["data"])) for each in whole["content"][1:])
        monkeypatch.setattr("qwen_image_studio.web.mcp.pictures.PREVIEW_BYTES", 3 * (least - 1))
        monkeypatch.setattr("qwen_image_studio.web.mcp.pictures.PREVIEW_SIDE", 48)
        small = called(client, "image_generation", **ask, inline="preview")
        none = called(client, "image_generation", **ask, inline="none")
    for result, kind, side in ((whole, "PNG", 128), (enough, "PNG", 128), (small, "WEBP", 48)):
        assert [(image.format, max(image.size)) for image in pictures(result)] == [(kind, side)] * 3
        assert all(b"AIGC" in base64.b64decode(each["data"]) for each in result["content"][1:])
        assert len(text_of(result).split("http")) == 5, "three links, and that of the ZIP"
    assert pictures(none) == []


def test_the_base64_of_a_preview_stays_below_a_megabyte() -> None:
    assert PREVIEW_BYTES * 4 / 3 < 1_000_000 - 50_000


def test_who_follows_the_progress_gets_events_whose_numbers_grow(client: FlaskClient, worker: Worker) -> None:
    params = {
        "name": "image_generation",
        "arguments": {"prompt": "pace=0.1", "steps": 6},
        "_meta": {"progressToken": "t"},
    }
    with working(worker):
        answer = posted(client, "tools/call", params)
        one = posted(client, "tools/call", params, Accept="application/json")
    assert answer.mimetype == "text/event-stream"
    *told, last = events(answer.text)
    assert all(each["method"] == "notifications/progress" for each in told)
    numbers = [each["params"]["progress"] for each in told]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] > 1
    assert {each["params"]["progressToken"] for each in told} == {"t"}
    assert last["result"]["structuredContent"]["count"] == 1
    assert one.mimetype == "application/json"
    assert one.get_json()["result"]["structuredContent"]["count"] == 1


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize("follows", [True, False])
def test_a_silent_answer_shows_that_it_is_alive(
    client: FlaskClient, app: Flask, worker: Worker, monkeypatch: pytest.MonkeyPatch, follows: bool
) -> None:
    """In events by comments; in JSON by white space, so that an image of any size is one value."""
    monkeypatch.setattr("qwen_image_studio.web.mcp.streaming.PING_S", 0.0)
    monkeypatch.setattr("qwen_image_studio.web.waiting.LOOK_S", 0.05)
    params: dict[str, Any] = {"name": "image_generation", "arguments": {**CUP, "wait": 60}}
    if follows:
        params["_meta"] = {"progressToken": 1}
    body = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params}
    pieces = client.post("/mcp", json=body, headers={"Accept": BOTH}).iter_encoded()
    seen = b""
    while seen.count(b"still here" if follows else b"\n") < 3:
        seen += next(pieces)
    assert worker.run_next()
    seen += b"".join(pieces)
    whole = events(seen.decode())[-1] if follows else json.loads(seen)
    assert (whole["id"], whole["result"]["structuredContent"]["count"]) == (5, 1)


# -- a long job ----------------------------------------------------------------------------------------------------


def test_a_job_that_takes_longer_is_fetched_by_its_id(client: FlaskClient, worker: Worker) -> None:
    begun = called(client, "image_generation", **CUP, wait=0)
    job_id = begun["structuredContent"]["job_id"]
    assert (begun["structuredContent"]["state"], pictures(begun)) == ("queued", [])
    assert f"Call image_job with job_id {job_id}" in text_of(begun)
    looked = called(client, "image_job", job_id=job_id, wait=0)
    assert looked["structuredContent"]["state"] == "queued"
    assert worker.run_next()
    fetched = called(client, "image_job", job_id=job_id)
    assert len(pictures(fetched)) == fetched["structuredContent"]["count"] == 1


def test_a_job_is_cancelled_by_its_id(client: FlaskClient) -> None:
    job_id = called(client, "image_generation", **CUP, wait=0)["structuredContent"]["job_id"]
    done = called(client, "image_job", job_id=job_id, action="cancel")
    assert done["structuredContent"]["state"] == "cancelled"
    assert "was cancelled" in text_of(done)
    again = refused(client, "image_job", job_id=job_id)
    assert (again["data"]["code"], job_id in again["message"]) == ("job_finished", True)
    assert refused(client, "image_job", job_id="job_1")["data"]["code"] == "not_found"
    assert refused(client, "image_job")["data"]["param"] == "job_id"


def test_a_job_that_fails_is_an_error(client: FlaskClient, worker: Worker) -> None:
    with working(worker):
        error = refused(client, "image_generation", prompt="memory@1 always", steps=2)
    assert (error["code"], error["data"]["code"]) == (-32603, "out_of_memory")
    assert "smaller size" in error["message"]


def test_a_call_is_taken_back_by_who_made_it_and_nobody_else(
    app: Flask, client: FlaskClient, keys: KeyStore, parts: Services
) -> None:
    """Clients count from 1, so the number of a request says nothing without the session."""
    key = {"Authorization": f"Bearer {keys.add('chat')}"}
    began = posted(
        client,
        "initialize",
        {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
        **key,
    )
    mine = {**key, "Mcp-Session-Id": began.headers["Mcp-Session-Id"]}
    body = {
        "jsonrpc": "2.0",
        "id": 9,
        "method": "tools/call",
        "params": {"name": "image_generation", "arguments": {**CUP, "wait": 60}},
    }
    answers: list[Any] = []
    caller = threading.Thread(
        target=lambda: answers.append(app.test_client().post("/mcp", json=body, headers=mine, buffered=True))
    )
    caller.start()
    until(lambda: jobs(client, **key))

    def noted(number: Any, headers: dict[str, str]) -> int:
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
        return client.post("/mcp", json=note, headers=headers).status_code

    other = {"Authorization": f"Bearer {keys.add('other')}", "Mcp-Session-Id": mine["Mcp-Session-Id"]}
    strangers = [(9, other), (9, {**key, "Mcp-Session-Id": "another"}), (9, key), (8, mine), ("9", mine), (None, mine)]
    assert [noted(number, headers) for number, headers in strangers] == [202] * 6
    assert [job["state"] for job in jobs(client, **key)] == ["queued"]
    assert noted(9, mine) == 202
    caller.join()
    assert answers[0].get_json()["error"]["data"]["code"] == "job_finished"
    assert noted(9, mine) == 202
    assert [job["state"] for job in jobs(client, **key)] == ["cancelled"]


# -- what is refused -----------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("image_generation", {"promp": "x"}, "unknown_parameter", "did you mean 'prompt'"),
    ("image_generation", {"prompt": "x", "user": "bob"}, "unknown_parameter", "'user'"),
    ("image_generation", {"prompt": "x", "webhook_url": "https://a.example"}, "unknown_parameter", "'webhook_url'"),
    ("image_generation", {"prompt": "x", "operation": "edit"}, "unknown_parameter", "'operation'"),
    ("image_generation", {}, "invalid_value", "prompt: "),
    ("image_generation", {"prompt": "x", "steps": 1000}, "invalid_value", "steps: "),
    ("image_generation", {"prompt": "x", "wait": 1e9}, "invalid_value", "wait: "),
    ("image_generation", {"prompt": "x", "inline": "big"}, "invalid_value", "inline: "),
    ("image_generation", {"prompt": "x", "model": "no-such"}, "unknown_model", "model 'no-such' is not on this server"),
    ("image_edit", {"prompt": "x"}, "invalid_value", "image: "),
    ("image_edit", {"prompt": "x", "image": "img_1"}, "image_not_found", "image: "),
    ("image_edit", {"prompt": "x", "image": "http://127.0.0.1/a.png"}, "url_not_allowed", "image: "),
    ("image_edit", {"prompt": "x", "image": "data:image/png;base64,AAAA"}, "unsupported_image", "is not a picture"),
    ("image_edit", {"prompt": "x", "image": "img_1", "feather": 3}, "unknown_parameter", "send a mask or region"),
    ("image_edit", {"prompt": "x", "image": "img_1", "mask": "img_2", "size": "9x9"}, "unknown_parameter", "with a"),
    ("image_outpaint", {"image": "img_1"}, "invalid_value", "how far to go"),
    ("image_job", {"job_id": "job_1", "action": "list"}, "invalid_value", "action: "),
    ("image_job", {"job_id": "job_1", "prompt": "x"}, "unknown_parameter", "'prompt'"),
    ("image_magic", {}, "unknown_operation", "image_generation, image_edit, image_outpaint"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "arguments", "code", "said"), REFUSED)
def test_a_refusal_is_an_error_of_json_rpc_that_names_field_and_remedy(
    client: FlaskClient, tool: str, arguments: dict[str, Any], code: str, said: str
) -> None:
    """Dify takes isError for a success, and reads the body of no answer but one with status 200."""
    answer = posted(client, "tools/call", {"name": tool, "arguments": arguments})
    error = error_of(answer)
    assert (answer.status_code, error["data"]["code"]) == (200, code)
    assert said in error["message"]
    assert "openapi" not in error["message"]
    assert error["data"]["request_id"] == answer.headers["X-Request-Id"]
    assert jobs(client) == []


def test_a_wrong_key_is_401_without_a_riddle(client: FlaskClient, keys: KeyStore) -> None:
    keys.add("ann")
    answers = [posted(client, "tools/list"), posted(client, "tools/list", Authorization="Bearer wrong")]
    for answer in answers:
        assert (answer.status_code, error_of(answer)["data"]["code"]) == (401, "invalid_api_key")
        assert (answer.get_json()["jsonrpc"], answer.get_json()["id"]) == ("2.0", None)
        assert "WWW-Authenticate" not in answer.headers
    for path in (
        "oauth-protected-resource",
        "oauth-protected-resource/mcp",
        "oauth-authorization-server",
        "openid-configuration",
    ):
        answer = client.get(f"/.well-known/{path}")
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "not_found")


def test_limits_and_a_full_queue_say_when_to_come_again(client: FlaskClient, keys: KeyStore) -> None:
    limits = KeyLimits(key=Limits(requests_per_minute=1))
    key = {"Authorization": f"Bearer {keys.add('chat', limits=limits)}"}
    ask = {"name": "image_generation", "arguments": {**CUP, "wait": 0}}
    assert "r=0" in posted(client, "tools/call", ask, **key).headers["RateLimit"]
    error = error_of(posted(client, "tools/call", ask, **key))
    assert (error["code"], error["data"]["code"]) == (-32014, "rate_limited")
    assert 0 < error["data"]["retry_after"] <= 60
    assert f"in {error['data']['retry_after']} seconds" in error["message"]
    free = {"Authorization": f"Bearer {keys.add('free')}"}
    answers = [posted(client, "tools/call", ask, **free) for _ in range(31)]
    full = error_of(answers[-1])
    assert full["data"]["code"] == "queue_full"
    assert f"Try again in {full['data']['retry_after']} seconds." in full["message"]


def test_blocked_terms_are_refused(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "blocked.txt"
    file.write_text("gun\n", encoding="utf-8")
    strict = settings.model_copy(update={"blocked_terms": file})
    client = create_app(strict, configured_models(strict, card_gib=0)).test_client()
    error = refused(client, "image_generation", prompt="a gun")
    assert (error["code"], error["data"]["code"]) == (-32602, "content_blocked")


def test_a_held_image_is_told_of_and_comes_after_the_verdict(client: FlaskClient, worker: Worker, store: Any) -> None:
    with working(worker):
        result = called(client, "image_generation", **CUP, hold=True)
    found = result["structuredContent"]
    assert (found["state"], found["held"], found["count"], pictures(result)) == ("review", 1, 0, [])
    assert "1 image waits for a reviewer" in text_of(result)
    assert found["job_id"] in text_of(result)
    [image] = store.images.of_jobs([found["job_id"]])[found["job_id"]]
    assert client.post(f"/v1/images/{image.id}/review", json={"state": "approved"}).status_code == 200
    assert len(pictures(called(client, "image_job", job_id=found["job_id"]))) == 1


# -- who asks ------------------------------------------------------------------------------------------------------


def test_a_header_names_the_person_and_others_what_holds_for_all_calls(client: FlaskClient) -> None:
    ask = {"name": "image_generation", "arguments": CUP}
    headers = {"X-Studio-User": "Zoë".encode().decode("latin-1"), "X-Studio-Wait": "0", "X-Studio-Inline": "none"}
    assert result_of(posted(client, "tools/call", ask, **headers))["structuredContent"]["state"] == "queued"
    assert result_of(posted(client, "tools/call", ask, X_Studio_Wait="0"))["structuredContent"]["state"] == "queued"
    assert [job["user"] for job in jobs(client)] == [None, "Zoë"]
    for name, value in (("X-Studio-Wait", "soon"), ("X-Studio-Inline", "huge"), ("X-Studio-User", "x" * 1001)):
        error = error_of(posted(client, "tools/call", {"name": "image_generation", "arguments": CUP}, **{name: value}))
        assert (error["data"]["param"], error["message"].startswith(f"{name}: ")) == (name, True)
    said = {"name": "image_generation", "arguments": {**CUP, "wait": "later"}}
    assert error_of(posted(client, "tools/call", said, X_Studio_Wait="0"))["data"]["param"] == "wait"


def test_a_browser_comes_in_neither_by_a_session_nor_by_a_link(app: Flask, keys: KeyStore, worker: Worker) -> None:
    key = keys.add("ann")
    person, guest = signed_in(app, key), guest_of_new_image(app, worker, key)
    answer = posted(person, "tools/list", **OWN_PAGE)
    assert (answer.status_code, error_of(answer)["data"]["code"]) == (401, "invalid_api_key")
    assert posted(guest, "tools/list", **OWN_PAGE).status_code == 404


@pytest.mark.parametrize(
    ("allowed", "headers", "is_open"),
    [
        ("", {}, True),
        ("", {"Origin": "https://evil.example"}, False),
        ("", {"Origin": "null"}, False),
        ("", {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}, True),
        ("https://chat.example", {"Origin": "https://chat.example"}, True),
        ("https://chat.example", {"Origin": "https://evil.example"}, False),
        ("*", {"Origin": "https://evil.example"}, True),
    ],
    ids=str,
)
def test_a_page_has_to_be_allowed_even_with_a_key(
    settings: Settings, keys: KeyStore, allowed: str, headers: dict[str, str], is_open: bool
) -> None:
    """As the protocol wants it, against pages that point their name at this machine."""
    ready = Settings(data_dir=settings.data_dir, models="miniature", allowed_origins=allowed)
    client = create_app(ready, configured_models(ready, card_gib=0)).test_client()
    answer = posted(client, "tools/list", Authorization=f"Bearer {keys.add('ann')}", **headers)
    assert answer.status_code == (200 if is_open else 403), answer.text
    if is_open and allowed:
        assert "Mcp-Session-Id" in answer.headers["Access-Control-Expose-Headers"]
    if not is_open:
        assert "STUDIO_ALLOWED_ORIGINS" in error_of(answer)["message"]


def test_the_call_log_has_jobs_refusals_and_cancels_but_nothing_that_only_reads(
    app: Flask, client: FlaskClient, keys: KeyStore
) -> None:
    key = {"Authorization": f"Bearer {keys.add('chat', 'shop')}", "X-Studio-User": "ann"}
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    posted(client, "initialize", params, **key)
    client.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=key)
    assert [client.open("/mcp", method=method, headers=key).status_code for method in ("GET", "DELETE")] == [405, 405]
    posted(client, "tools/list", **key)
    begun = posted(client, "tools/call", {"name": "image_generation", "arguments": {**CUP, "wait": 0}}, **key)
    job_id = result_of(begun)["structuredContent"]["job_id"]
    posted(client, "tools/call", {"name": "image_job", "arguments": {"job_id": job_id, "wait": 0}}, **key)
    posted(client, "tools/call", {"name": "image_generation", "arguments": {"prompt": "x", "model": "none"}}, **key)
    posted(client, "tools/call", {"name": "image_job", "arguments": {"job_id": job_id, "action": "cancel"}}, **key)
    found = rows(app)
    assert sorted((row.outcome, row.status, row.route) for row in found) == [
        ("cancelled", None, ""),
        ("refused:unknown_model", 422, "/mcp"),
        ("succeeded", 200, "/mcp"),
    ]
    assert {row.key for row in found} == {"chat"}
    assert {row.person for row in found if row.operation} == {"ann"}


# -- the protocol itself -------------------------------------------------------------------------------------------


def test_a_transcript_of_dify(client: FlaskClient, keys: KeyStore, worker: Worker) -> None:
    """What Dify sends: no version header, no progress token, nothing empty; and a look for a stream, and for a session
    to end, since it was given one.
    """
    headers = {"Authorization": f"Bearer {keys.add('dify')}", "Accept": BOTH, "User-Agent": "python-httpx/0.28.1"}
    hello = {
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {"sampling": {}, "roots": {"listChanged": True}},
            "clientInfo": {"name": "Dify", "version": "1.16.0"},
        },
        "jsonrpc": "2.0",
        "id": 0,
    }
    answer = client.post("/mcp", json=hello, headers=headers)
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.get_json()["result"]["protocolVersion"] == "2025-06-18"
    assert answer.get_json()["id"] == 0
    session = {**headers, "mcp-session-id": answer.headers["mcp-session-id"]}
    note = client.post("/mcp", json={"method": "notifications/initialized", "jsonrpc": "2.0"}, headers=session)
    assert (note.status_code, note.data) == (202, b"")
    assert client.get("/mcp", headers=session).status_code == 405
    tools = client.post("/mcp", json={"method": "tools/list", "jsonrpc": "2.0", "id": 1}, headers=session).get_json()
    types = {
        kind
        for tool in tools["result"]["tools"]
        for kind in map(type_in_dify, tool["inputSchema"]["properties"].values())
    }
    assert types <= {"string", "number", "boolean", "array", "object"}
    ask = {"name": "image_generation", "arguments": {"prompt": "a cup", "steps": 2.0, "n": 1, "tier": "quality"}}
    with working(worker):
        answer = client.post(
            "/mcp", json={"method": "tools/call", "params": ask, "jsonrpc": "2.0", "id": 1}, headers=session
        )
        result = answer.get_json()["result"]
    assert answer.mimetype == "application/json"
    assert "isError" not in result or result["isError"] is False
    assert text_of(result)[-1] == "\n"
    assert text_of(result).strip()[0] not in "{["
    variables = tools["result"]["tools"][0]["outputSchema"]["properties"]
    assert variables.keys() == result["structuredContent"].keys()
    assert None not in result["structuredContent"].values(), "a node needs each variable"
    assert client.delete("/mcp", headers=session).status_code == 405


def type_in_dify(schema: dict[str, Any]) -> str:
    """The type that Dify takes a parameter for: its own, or that of the first alternative."""
    kind = schema.get("type") or schema["anyOf"][0]["type"]
    return "number" if kind == "integer" else str(kind)


ENVELOPE = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


def modern(client: FlaskClient, method: str, params: dict[str, Any] | None = None, **headers: str) -> Any:
    sent = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": method, **headers}
    return posted(client, method, {"_meta": ENVELOPE, **(params or {})}, **sent)


def test_the_version_without_handshake_has_an_envelope_that_says_what_the_headers_say(client: FlaskClient) -> None:
    found = result_of(modern(client, "server/discover"))
    assert (found["supportedVersions"], found["resultType"]) == (["2026-07-28"], "complete")
    tools = result_of(modern(client, "tools/list"))
    assert (tools["cacheScope"], tools["ttlMs"] > 0) == ("private", True)
    assert tools["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "qwen-image-studio"
    ask = {"name": "image_generation", "arguments": {**CUP, "wait": 0}}
    encoded = f"=?base64?{base64.b64encode(b'image_generation').decode()}?="
    for name in ("image_generation", encoded):
        assert result_of(modern(client, "tools/call", ask, Mcp_Name=name))["structuredContent"]["state"] == "queued"
    for answer, status, code in (
        (modern(client, "tools/call", ask), 400, -32020),
        (modern(client, "tools/call", ask, Mcp_Name="image_edit"), 400, -32020),
        (modern(client, "tools/call", ask, Mcp_Name="=?base64?!?="), 400, -32020),
        (modern(client, "tools/list", Mcp_Method="tools/call"), 400, -32020),
        (modern(client, "tools/list", {"_meta": {}}), 400, -32602),
        (modern(client, "tools/list", MCP_Protocol_Version="2027-01-01"), 400, -32022),
        (modern(client, "initialize"), 404, -32601),
        (modern(client, "prompts/list"), 404, -32601),
        (
            modern(
                client, "tools/call", {"name": "image_generation", "arguments": {"n": 99}}, Mcp_Name="image_generation"
            ),
            400,
            -32602,
        ),
    ):
        assert (answer.status_code, error_of(answer)["code"], answer.get_json()["id"]) == (status, code, 1), answer.text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, -32602),
        (b"{", 400, -32602),
        (b"[]", 400, -32602),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', 400, -32602),
        (b"{}", 400, -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":3}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}', 200, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":3}}', 200, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"image_job","arguments":[]}}', 200, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"resources/list"}', 200, -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"nope"}', 200, -32601),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}', 400, -32602),
        (b"[" * 5000, 400, -32602),
    ],
)
def test_what_is_no_message_is_said_so(client: FlaskClient, body: bytes, status: int, code: int) -> None:
    answer = client.post("/mcp", data=body, content_type="application/json")
    assert (answer.status_code, error_of(answer)["code"]) == (status, code), answer.text


def test_what_asks_for_no_answer_gets_none(client: FlaskClient) -> None:
    for body in (
        {"method": "notifications/cancelled", "params": {"requestId": 1}},
        {"method": "x/y"},
        {"id": 1, "result": {}},
    ):
        answer = client.post("/mcp", json={"jsonrpc": "2.0", **body})
        assert (answer.status_code, answer.data) == (202, b"")
    assert result_of(posted(client, "ping")) == {}
    plain = client.post("/mcp", data="x", content_type="text/plain")
    assert (plain.status_code, error_of(plain)["data"]["code"]) == (415, "unsupported_media_type")
    assert "POST" in error_of(client.get("/mcp"))["message"]
    assert "POST" in client.get("/mcp").headers["Allow"]


def test_a_body_may_be_as_large_as_pictures_are_elsewhere(client: FlaskClient) -> None:
    noise = Image.effect_noise((1400, 1400), 90).convert("RGB")
    buffer = BytesIO()
    noise.save(buffer, "PNG")
    picture = buffer.getvalue()
    assert len(picture) > 4 * 1024 * 1024, "the protocol's own package stops there"
    error = refused(client, "image_edit", prompt="x", image=data_url(picture), wait=0)
    assert error["data"]["code"] == "image_too_large", "which these settings say, with 2 MB for an image"
    assert refused(client, "image_generation", prompt="x" * 2_000_000)["data"]["param"] == "prompt"


_KNOWN = st.sampled_from(
    ["tools/call", "tools/list", "initialize", "ping", "server/discover", "notifications/cancelled"]
)
_MESSAGE = st.fixed_dictionaries(
    {"jsonrpc": st.sampled_from(["2.0", "1.0"]) | ANY_JSON},
    optional={"id": st.integers() | st.text() | ANY_JSON, "method": _KNOWN | st.text() | ANY_JSON, "params": ANY_JSON},
)
_CALL = st.fixed_dictionaries(
    {
        "jsonrpc": st.just("2.0"),
        "id": st.integers(0, 9),
        "method": st.just("tools/call"),
        "params": st.fixed_dictionaries(
            {"name": st.sampled_from(["image_generation", "image_edit", "image_outpaint", "image_job"])},
            optional={
                "arguments": st.dictionaries(
                    st.sampled_from(
                        [
                            "prompt",
                            "image",
                            "mask",
                            "region",
                            "n",
                            "steps",
                            "wait",
                            "inline",
                            "job_id",
                            "loras",
                            "slots",
                        ]
                    )
                    | st.text(),
                    ANY_JSON,
                )
                | ANY_JSON,
                "_meta": ANY_JSON,
            },
        ),
    }
)
_VERSION = st.sampled_from(["2025-06-18", "2026-07-28", "2024-11-05", "1999-01-01", "é"])


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """An application that waits for nothing."""
    folder = tmp_path_factory.mktemp("mcp")
    ready = with_tables(Settings(data_dir=folder / "data", models="miniature", mcp_wait_s=0, queue_limit=5))
    app = create_app(ready, configured_models(ready, card_gib=0))
    app.testing = False
    with app.test_client() as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr("qwen_image_studio.contract.mcp.MAX_WAIT_S", 0.0)
        patch.setattr("qwen_image_studio.web.waiting.LOOK_S", 0.01)
        yield client


@given(message=_MESSAGE | _CALL, version=st.none() | _VERSION)
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
def test_no_message_is_answered_with_a_fault(fuzzed: FlaskClient, message: Any, version: str | None) -> None:
    arguments = message.get("params", {}).get("arguments", {}) if isinstance(message.get("params"), dict) else {}
    if isinstance(arguments, dict):
        arguments.pop("wait", None)  # it would be waited for
    headers = {"Accept": BOTH, **({} if version is None else {"MCP-Protocol-Version": version})}
    answer = fuzzed.post("/mcp", json=message, headers=headers, buffered=True)
    assert answer.status_code in {200, 202, 400, 404, 413}, answer.text
    if answer.status_code == 202:
        return
    for body in events(answer.text) if answer.mimetype == "text/event-stream" else [answer.get_json()]:
        assert body["jsonrpc"] == "2.0"
        assert body.get("error", {}).get("data", {}) is None or "internal_error" not in json.dumps(body.get("error"))
