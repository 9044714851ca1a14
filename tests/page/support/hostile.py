"""A server whose every text wants to be markup: prompts, templates, LoRAs, styles, persons, reasons, notes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.page.support.studios import SMALL, OwnStudio
from tests.support.pictures import png
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

NASTY = '"><img src=x onerror=alert(1)>'
"""What closes an attribute, and would run where it became markup."""

_TEMPLATES = f"""
[[templates]]
id = "nasty"
version = 1
operation = "{{operation}}"
title = {{{{ en = '{NASTY} title', zh = '{NASTY} 标题' }}}}
text = {{{{ en = '{NASTY} {{{{word}}}}', zh = '{NASTY} {{{{word}}}}' }}}}
slots.word = {{{{ type = "text", about = {{{{ en = '{NASTY} about', zh = '{NASTY} 说明' }}}} }}}}
"""
_LORAS = f"""
[[loras]]
name = "nasty"
models = ["miniature"]
file = "nasty.safetensors"
licence = '{NASTY}'
about = {{ en = '{NASTY} lora', zh = '{NASTY} 风格' }}
words = {{ en = ['{NASTY} word'], zh = ['{NASTY} 词'] }}
"""


def hostile_studio(own_studio: OwnStudio, folder: Path) -> tuple[Studio, str]:
    """Start such a server, and paint and judge on it; also the id of a picture that waits for nobody."""
    (folder / "nasty.safetensors").write_bytes(b"one")
    templates, loras = folder / "templates.toml", folder / "loras.toml"
    both = [_TEMPLATES.format(operation=each).replace('"nasty"', f'"nasty_{each}"') for each in ("generate", "edit")]
    templates.write_text("".join(both), encoding="utf-8")
    loras.write_text(_LORAS, encoding="utf-8")
    studio = own_studio(settings={**SCRIPTED, "templates": templates, "loras": loras})
    ask = _asks(studio)
    texts = {"prompt": NASTY, "negative_prompt": NASTY, "user": NASTY, "conversation": NASTY, **SMALL}
    shown = studio.finished(studio.submit(**texts)["id"])["images"][0]["id"]
    studio.finished(studio.submit(**{**texts, "prompt": f"{NASTY} bug@1 always"})["id"])
    rows = [{"text": f"{NASTY} {number}"} for number in range(2)] + [{"text": f"{NASTY} bug@1 always"}]
    campaign = studio.submit(operation="campaign", brief=f"{NASTY} a sale", channels=["post"], prompt="", steps=2)
    wish = {"operation": "batch", "job": {"operation": "generate", "prompt": "{{text}}", **SMALL}, "rows": rows}
    batch = ask("POST", "/v1/jobs", wish)
    edit = studio.edit(png(), prompt=NASTY, hold=True, user=NASTY, steps=2).json()
    for job in (campaign, batch):
        studio.finished(job["id"])
    held = [_held(studio, studio.submit(**{**texts, "hold": True, "seed": seed})["id"]) for seed in (1, 2)]
    _held(studio, edit["id"])
    verdict = {"reasons": [NASTY], "note": NASTY, "user": NASTY}
    ask("POST", f"/v1/images/{held[0]}/review", {"state": "rejected", **verdict})
    ask("POST", f"/v1/images/{held[1]}/review", {"state": "approved", **verdict})
    _held(studio, studio.submit(**{**texts, "hold": True, "seed": 3})["id"])
    ask("PUT", "/v1/styles/nasty", {"style": NASTY, "palette": [NASTY], "negative_prompt": NASTY})
    return studio, shown


def _asks(studio: Studio) -> Callable[[str, str, object], dict[str, Any]]:
    def ask(method: str, path: str, body: object) -> dict[str, Any]:
        answer = studio.request(method, path, json=body)
        assert answer.ok, answer.text
        return dict(answer.json())

    return ask


def _held(studio: Studio, job_id: str) -> str:
    until(lambda: studio.job(job_id, wait=5)["state"] == "review")
    listed = studio.request("GET", "/v1/images", params={"review": "held", "limit": 100}).json()["data"]
    return next(str(image["id"]) for image in listed if image["job_id"] == job_id)
