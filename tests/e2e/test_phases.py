"""The phases of a real painting: those of the page on the API, which together are the time that it took."""

import re

import pytest

from qwen_image_studio.jobs import open_store
from qwen_image_studio.settings import Settings
from tests.support import ROOT
from tests.support.pictures import png
from tests.support.studio import Studio

WORKED = {"loading", "encoding", "denoising", "decoding", "storing"}


def in_the_page() -> set[str]:
    """The phases of the table in docs/api.md."""
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    table = text.partition("| phase | time in which |")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| (\w+) \|", table, re.MULTILINE))


@pytest.mark.parametrize("operation", ["generate", "adjust"])
def test_the_phases_of_a_job_are_those_of_the_page_and_add_up_to_its_time(studio: Studio, operation: str) -> None:
    if operation == "generate":
        job = studio.submit(steps=4, width=128, height=128, n=2)
    else:
        job = studio.edit(png(), operation="adjust", prompt="rotate it 90 degrees").json()
    assert studio.finished(job["id"])["state"] == "succeeded"
    with open_store(Settings(_env_file=None, data_dir=studio.folder / "data")) as store:
        done = store.jobs.get(job["id"])
    assert done.measured is not None
    phases = done.measured.phases
    own = WORKED if operation == "generate" else {"loading", "adjusting", "storing"}
    assert set(phases) == {"waiting", "claiming", *own}
    assert set(phases) <= in_the_page()
    assert all(ms >= 0 for ms in phases.values())
    took_ms = ((done.finished_at or 0) - done.created_at) * 1000
    assert sum(ms for phase, ms in phases.items() if phase != "claiming") <= took_ms + 100
    painted = 2 * 4 * done.plan["paint_width"] * done.plan["paint_height"] / 1e6 if operation == "generate" else 0
    assert done.measured.megapixel_steps == pytest.approx(painted)
    assert (done.measured.device_s > 0) is (operation == "generate")
