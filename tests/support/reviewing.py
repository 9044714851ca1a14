"""Held pictures, and everybody who may ask for them: keys of an owner, a reviewer, an operator and a stranger."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from flask import Flask
from PIL import Image
from werkzeug.test import TestResponse

from qwen_image_studio.contract.words import HeldFor, Lane, Review, Scope, State
from qwen_image_studio.gallery.attempt import Attempt
from qwen_image_studio.jobs import StoredImage
from qwen_image_studio.planning.engine import Painted
from qwen_image_studio.planning.plan import PaintPlan, read_plan
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.pictures import png

PAINTS = (Scope.GENERATE, Scope.EDIT)
KEYS: Mapping[str, tuple[str, tuple[Scope, ...]]] = {
    "owner": ("shop", PAINTS),
    "reviewer": ("shop", (*PAINTS, Scope.REVIEW)),
    "operator": ("ops", (*PAINTS, Scope.OPERATE)),
    "rival": ("rival", (*PAINTS, Scope.REVIEW)),
}
"""Owner and scopes of each caller's key; the fifth caller has none."""
WHO = (*KEYS, "nobody")


@dataclass(frozen=True)
class Scene:
    """A job of the shop's with a held picture, and whoever asks for it."""

    app: Flask
    parts: Services
    headers: Mapping[str, Mapping[str, str]]
    job_id: str
    image: StoredImage
    secret: bytes
    """The bytes of the held picture."""

    def ask(self, who: str, method: str, path: str, **options: Any) -> TestResponse:
        """One request."""
        with self.app.test_client() as client:
            return client.open(path, method=method, headers=self.headers[who], **options)

    @property
    def input_id(self) -> str:
        """The upload that it was made from."""
        return self.parts.store.jobs.get(self.job_id).inputs[0]

    def submit(self, who: str, **params: Any) -> TestResponse:
        """Submit a job as JSON."""
        return self.ask(who, "POST", "/v1/jobs", json=params)

    def verdict(self, who: str, state: str, image_id: str = "", **more: Any) -> TestResponse:
        """Decide on the picture."""
        return self.ask(who, "POST", f"/v1/images/{image_id or self.image.id}/review", json={"state": state, **more})

    def view(self, who: str = "owner", job_id: str = "") -> dict[str, Any]:
        """The job as somebody sees it."""
        answer = self.ask(who, "GET", f"/v1/jobs/{job_id or self.job_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.get_json())


def headers_of(parts: Services) -> dict[str, dict[str, str]]:
    """The headers of each caller, with new keys."""
    made = {who: parts.keys.add(who, owner, scopes) for who, (owner, scopes) in KEYS.items()}
    return {**{who: {"Authorization": f"Bearer {key}"} for who, key in made.items()}, "nobody": {}}


def held_edit(app: Flask, parts: Services, worker: Worker) -> Scene:
    """An edit of an upload that asked to be held, in a conversation; painted."""
    headers = headers_of(parts)
    params = {"operation": "edit", "prompt": "make it green", "steps": 2, "hold": True, "conversation": "c1"}
    with app.test_client() as client:
        data = {"params": json.dumps(params), "image": (BytesIO(png()), "a.png")}
        answer = client.post("/v1/jobs", data=data, headers=headers["owner"])
    assert answer.status_code == 202, answer.text
    assert worker.run_next()
    job_id = answer.get_json()["id"]
    (image,) = parts.store.images.of_jobs([job_id])[job_id]
    return Scene(app, parts, headers, job_id, image, parts.gallery.open(image.key))


def painted_and_held(parts: Services, *held: bool) -> list[str]:
    """Play the worker: paint the next job, and hold those of its images; their ids."""
    lease = parts.store.leases.claim("w", Lane.PAINT, list(parts.models))
    assert lease is not None
    attempt, plan = Attempt(parts.gallery, lease), read_plan(lease.job.plan)
    assert isinstance(plan, PaintPlan)
    for seed in plan.seeds:
        attempt.store(Painted(Image.new("RGB", (64, 64), (seed % 256, 0, 0)), seed), plan)
    images = list(_held(attempt.stored, held))
    state = parts.store.leases.finish(lease, images, [])
    assert state is (State.REVIEW if any(held) else State.SUCCEEDED)
    return [image.id for image in images]


def _held(images: list[StoredImage], held: tuple[bool, ...]) -> Iterator[StoredImage]:
    for image, is_held in zip(images, held, strict=True):
        yield replace(image, review=Review.HELD, held_for=HeldFor.SAFETY, scores={"nsfw": 0.6}) if is_held else image
