"""What a key may do: every route with every scope, and without a key."""

import re
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import Scope
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.web.openai.routes import AZURE_BASES
from qwen_image_studio.web.routing import SAFE_METHODS, Route, Services
from qwen_image_studio.worker.loop import Worker
from tests.contract.doors import guest_of_new_image
from tests.support.pictures import png
from tests.support.refusals import error_code

NOBODY, GUEST, KEY, REVIEWER, OPERATOR = "nobody", "guest", "key", "reviewer", "operator"
WHOEVER = {NOBODY, GUEST, KEY, REVIEWER, OPERATOR}
_ALL, _KNOWN, _WITH_KEY = frozenset(WHOEVER), frozenset(WHOEVER - {NOBODY}), frozenset({KEY, REVIEWER, OPERATOR})
_PAINTERS, _OPERATORS = frozenset({KEY}), frozenset({OPERATOR})
MAY: dict[str, frozenset[str]] = {
    # no data, or with a signature of its own
    **dict.fromkeys(("ops.health", "ops.health_of_others", "ops.live", "ops.ready", "ops.accepts"), _ALL),
    **dict.fromkeys(("ops.openapi", "files.file", "page.index", "page.static"), _ALL),
    **dict.fromkeys(("session.sign_in", "session.sign_out"), _ALL),
    # with any key, and by a link as far as it goes
    **dict.fromkeys(("account.me", "jobs.index", "jobs.show", "jobs.events", "events.events"), _KNOWN),
    **dict.fromkeys(("images.index", "images.show", "images.chain", "images.content"), _KNOWN),
    **dict.fromkeys(("ops.models", "ops.model", "ops.templates"), _KNOWN),
    **dict.fromkeys(("jobs.submit", "jobs.cancel", "images.upload"), _PAINTERS | {GUEST}),
    # with a key
    **dict.fromkeys(("account.usage", "jobs.archive", "styles.index", "styles.show"), _WITH_KEY),
    **dict.fromkeys(("huggingface.look", "hf_inference.look"), _WITH_KEY),
    # with a key that may do it
    **dict.fromkeys(("jobs.delete", "images.delete", "styles.save", "styles.delete"), _PAINTERS),
    **dict.fromkeys(("openai.generate", "openai.edit", "openai.variation"), _PAINTERS),
    **dict.fromkeys((f"{name}.{what}" for name in AZURE_BASES for what in ("generations", "edits")), _PAINTERS),
    **dict.fromkeys(("huggingface.infer", "hf_inference.infer", "mcp.exchange"), _PAINTERS),
    "review.decide": _OPERATORS | {REVIEWER},
    **dict.fromkeys(("deliveries.index", "deliveries.resend", "operators.queue", "operators.cancel"), _OPERATORS),
    **dict.fromkeys(("operators.calls", "ops.metrics", "account.keys"), _OPERATORS),
}
"""Who may use each route: nobody who is known, the bearer of a link, and keys with the usual scopes, with `review` and
with `operate` alone. A new route is to be added here."""
PAINTS = frozenset({Scope.GENERATE, Scope.EDIT})
NEEDS: dict[str, frozenset[Scope]] = {
    **dict.fromkeys(("jobs.submit", "jobs.cancel", "jobs.delete", "images.upload", "images.delete"), PAINTS),
    **dict.fromkeys(("styles.save", "styles.delete", "huggingface.infer", "hf_inference.infer"), PAINTS),
    "mcp.exchange": PAINTS,
    **dict.fromkeys((name for name, who in MAY.items() if who == _OPERATORS), frozenset({Scope.OPERATE})),
    **dict.fromkeys(("openai.generate", *(f"{name}.generations" for name in AZURE_BASES)), frozenset({Scope.GENERATE})),
    **dict.fromkeys(("openai.edit", *(f"{name}.edits" for name in AZURE_BASES)), frozenset({Scope.EDIT})),
    "openai.variation": frozenset({Scope.EDIT}),
    "review.decide": frozenset({Scope.REVIEW, Scope.OPERATE}),
}
"""Of which scopes a route needs one; a route that is not listed is read with any key, or needs none."""
GENERATE = {"operation": "generate", "prompt": "a cup", "steps": 2}
OPERATIONS: list[tuple[dict[str, Any], Scope]] = [
    (GENERATE, Scope.GENERATE),
    ({"operation": "edit", "prompt": "make it red"}, Scope.EDIT),
    ({"operation": "inpaint", "prompt": "a cat", "region": {"x": 0, "y": 0, "width": 9, "height": 9}}, Scope.EDIT),
    ({"operation": "outpaint", "prompt": "a beach", "left": 16}, Scope.EDIT),
    ({"operation": "adjust", "prompt": "rotate it 90 degrees"}, Scope.EDIT),
]
"""A request of each operation, without its image, and the scope that it needs."""


@pytest.fixture
def keys(parts: Services) -> KeyStore:
    """The application's keys."""
    return parts.keys


def bearer(keys: KeyStore, *scopes: Scope) -> dict[str, str]:
    """The header of a new key of the shop's with these scopes and no other."""
    return {"Authorization": f"Bearer {keys.add('-'.join(['key', *scopes]), 'shop', scopes)}"}


def routes(app: Flask) -> list[tuple[str, str, str, Route]]:
    """Endpoint, method, path and declaration of every route."""
    return [
        (rule.endpoint, method, re.sub(r"<[^>]+>", "x1", rule.rule), view)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if isinstance(view := app.view_functions[rule.endpoint], Route)
    ]


def refused(answer: Any) -> bool:
    """Whether the scope was missing, and nothing else."""
    return bool(answer.status_code == 403 and error_code(answer) == "scope_missing")


def test_every_route_asks_each_key_for_the_scopes_of_the_table(
    app: Flask, client: FlaskClient, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen_image_studio.web.events.LONGEST_S", 0.0)
    headers = {scope: bearer(keys, scope) for scope in Scope}
    assert len(routes(app)) > 15
    for endpoint, method, path, route in routes(app):
        needed = NEEDS.get(endpoint, frozenset())
        assert set(route.scope) == needed, endpoint
        for scope in Scope:
            answer = client.open(path, method=method, headers=headers[scope], buffered=True)
            assert refused(answer) == bool(needed and scope not in needed), f"{endpoint} with {scope}"
        if route.needs_key:
            assert client.open(path, method=method).status_code == 401, endpoint


@pytest.mark.parametrize("who", sorted(WHOEVER))
def test_every_route_answers_whom_the_table_names_and_nobody_else(
    app: Flask, keys: KeyStore, worker: Worker, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """Whom it is not for is told so before anything else of the request is looked at."""
    monkeypatch.setattr("qwen_image_studio.web.events.LONGEST_S", 0.0)
    of_keys = {KEY: PAINTS, REVIEWER: {Scope.REVIEW}, OPERATOR: {Scope.OPERATE}}
    ann = keys.add("ann")
    bearers = {name: {"Authorization": f"Bearer {keys.add(name, 'shop', has)}"} for name, has in of_keys.items()}
    guest = guest_of_new_image(app, worker, ann)
    assert {rule.endpoint for rule in app.url_map.iter_rules()} == MAY.keys(), "say in MAY who may use it"
    for endpoint, method, path, _ in routes(app):
        if who == GUEST and guest.get_cookie("studio_session") is None:  # it has just signed out
            guest = guest_of_new_image(app, worker, ann)
        caller = guest if who == GUEST else app.test_client()
        answer = caller.open(path, method=method, headers=bearers.get(who), buffered=True)
        is_refused = {
            NOBODY: answer.status_code == 401,
            GUEST: answer.status_code == 404 and "who came by a link" in answer.text,
        }.get(who, refused(answer))
        assert is_refused != (who in MAY[endpoint]), f"{endpoint} for {who}: {answer.status_code} {answer.text[:200]}"


def test_whatever_changes_something_needs_a_scope(app: Flask) -> None:
    for endpoint, method, _, route in routes(app):
        is_door = endpoint in {"session.sign_in", "session.sign_out"}  # where nobody is known yet
        assert method in SAFE_METHODS or route.scope or is_door, f"{endpoint}: say scope= in its @route"
    assert NEEDS.keys() <= {endpoint for endpoint, *_ in routes(app)}


def test_a_scope_is_asked_for_before_the_body_is_read(client: FlaskClient, keys: KeyStore) -> None:
    reviewer = bearer(keys, Scope.REVIEW)
    assert refused(client.post("/v1/jobs", data=b"{", content_type="application/json", headers=reviewer))
    assert refused(client.post("/v1/images/edits", data=b"x", content_type="text/plain", headers=reviewer))


@pytest.mark.parametrize(("asked", "needed"), OPERATIONS, ids=[str(asked["operation"]) for asked, _ in OPERATIONS])
@pytest.mark.parametrize("scope", Scope)
def test_what_a_submission_needs_follows_from_its_operation(
    client: FlaskClient,
    parts: Services,
    keys: KeyStore,
    worker: Worker,
    asked: dict[str, Any],
    needed: Scope,
    scope: Scope,
) -> None:
    artist = {"Authorization": f"Bearer {keys.add('artist', 'shop')}"}
    made = client.post("/v1/jobs", json=GENERATE, headers=artist).get_json()
    assert worker.run_next()
    [image] = parts.store.images.of_jobs([made["id"]])[made["id"]]
    body = asked if needed is Scope.GENERATE else {**asked, "image": image.id}
    batch = {"operation": "batch", "job": {**body, "user": "{{user}}"}, "rows": [{"user": "ann"}, {"user": "bob"}]}
    headers = bearer(keys, scope)
    for sent in (body, batch):
        answer = client.post("/v1/jobs", json=sent, headers=headers)
        assert refused(answer) == (scope is not needed), answer.text
        assert answer.status_code in {202, 403}


def test_each_row_of_a_batch_needs_the_scope_of_its_operation(client: FlaskClient, keys: KeyStore) -> None:
    job = {"operation": "{{operation}}", "prompt": "a cup", "image": "{{image}}"}
    rows = [{"operation": "generate"}, {"operation": "edit", "image": "https://pictures.example/cup.png"}]
    headers = bearer(keys, Scope.GENERATE)
    answer = client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": rows}, headers=headers)
    assert refused(answer)
    assert answer.get_json()["error"]["param"] == "rows[1]"


def test_the_refusal_names_the_scope_and_the_command_that_gives_it(client: FlaskClient, keys: KeyStore) -> None:
    key = keys.add("dify", "shop", [Scope.GENERATE])
    headers, data = {"Authorization": f"Bearer {key}"}, {"prompt": "make it red", "image": (BytesIO(png()), "a.png")}
    error = client.post("/v1/images/edits", data=data, headers=headers).get_json()["error"]
    assert "lacks the scope edit" in error["message"]
    assert "qwen-image-studio keys scopes dify generate,edit" in error["message"]
    keys.grant("dify", [Scope.GENERATE, Scope.EDIT])
    assert not refused(client.delete("/v1/images/x1", headers=headers))


def test_without_keys_this_machine_may_do_everything(client: FlaskClient) -> None:
    assert client.post("/v1/jobs", json=GENERATE).status_code == 202
    assert client.delete("/v1/images/x1").status_code == 404


def either(scope: str) -> list[dict[str, list[str]]]:
    """The key in either of its headers."""
    return [{"key": [scope]}, {"azure_key": [scope]}]


def test_the_contract_tells_which_scopes_a_route_needs(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    assert paths["/v1/images/edits"]["post"]["security"] == either("edit")
    assert paths["/v1/jobs"]["post"]["security"] == [*either("generate"), *either("edit")]
    assert "scope_missing" in paths["/v1/jobs"]["post"]["responses"]["403"]["description"]
    assert "security" not in paths["/v1/jobs"]["get"]
