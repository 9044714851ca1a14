"""The headers that tell a caller what is left of its limits, by the IETF's draft-ietf-httpapi-ratelimit-headers.

OpenAI's `x-ratelimit-…` headers have a place for requests and one for tokens. Here images of a day and of a month are
limited as well, and all of it for a key and for a person of it; the draft's names each.
"""

import math
from collections.abc import Mapping, Sequence

from flask import Flask, Response, g, request

from qwen_image_studio.contract.caller import Caller, person_of
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.jobs.limits import Use
from qwen_image_studio.system.threads import LOOKS
from qwen_image_studio.web.routing import declared, services

LIMIT_HEADERS = {
    "RateLimit-Policy": "Limits of the API key, and of the person of it: how many (q), within how many seconds (w), of "
    "what (qu; requests where it is left out). Sent where something is limited.",
    "RateLimit": "What is left of each (r), and in how many seconds all of it is free again (t).",
}
"""Meaning of each header."""
_UNITS = {"images_per_day": "images", "images_per_month": "images", "jobs_at_once": "concurrent-requests"}


def tell_limits(app: Flask) -> None:
    """Have every answer of a route that submits jobs tell what is left."""
    app.after_request(_tell)


def _tell(response: Response) -> Response:
    """Add the headers; a guest of a link is not told of the key's limits, but of his own by /v1/me."""
    route, who = declared(request.endpoint), g.get("caller")
    if route is None or not route.submits or who is None or who.guest is not None or not who.limits.counts:
        return response
    if response.status_code < 300 or response.status_code == 429:
        try:
            uses = LOOKS.run(lambda: _uses(who))
        except StudioError:  # the database is busy; the answer is worth more than its headers
            return response
        response.headers.update(as_headers(uses, services().store.database.now()))
    return response


def _uses(who: Caller) -> Sequence[Use]:
    submission = g.get("submission")
    person = person_of(None if submission is None else submission.request.user)
    return services().store.allowance.uses(who, person, services().store.database.now())


def as_headers(uses: Sequence[Use], now: float) -> Mapping[str, str]:
    """Return limits as the draft's two headers, which are lists of structured fields (RFC 9651)."""
    policies, left = zip(*(_fields(use, now) for use in uses), strict=True)
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)}


def _fields(use: Use, now: float) -> tuple[str, str]:
    """Return the policy of a limit, and what is left of it."""
    name = f'"{use.name}{"_of_person" if use.of_person else ""}"'.replace("_", "-")
    policy, left = [name, f"q={use.limit}"], [name, f"r={use.left}"]
    if use.window_s is not None and use.resets_at is not None:
        policy.append(f"w={use.window_s:.0f}")
        left.append(f"t={max(0, math.ceil(use.resets_at - now))}")
    if use.name in _UNITS:
        policy.append(f'qu="{_UNITS[use.name]}"')
    return ";".join(policy), ";".join(left)
