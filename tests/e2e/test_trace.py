"""How far a request travels in the code: the files that `make trace` sees, held against two bounds and the docs."""

import re
from pathlib import Path

import pytest

from benchmarks.calls import ROOT
from benchmarks.trace import STAGES, Journey, trace
from tests.support.database import runs_on_postgresql

SUBMIT_FILES = 72 + 8 * runs_on_postgresql()
"""Files of the server that a submit may touch. Besides its own way of 27 files it passes what a service for many people
asks of it, a file or two for each: the address that it came from, limits of the key, usage, the policy on prompts, what
is kept to ask for it again, callbacks, the call log; and a dozen for what spares painting: art directions, the keys of
its pictures (their policy, the model's revision, alike prompts), the job that it may share, the pictures that may
answer it; half a dozen for speeds: the tier's row, the LoRAs that may be asked for, and where a LoRA's file is;
three for the page: its sessions and the guests of studio links; and eight for many hosts: the turns that PostgreSQL
wants taken, the bell's port, announcer and kind, what workers offer; on PostgreSQL also its clock, and what hosts tell
of themselves."""
SPINE_FILES = 12
"""Files that may hand a generate on."""


@pytest.fixture(scope="module")
def journeys() -> dict[str, Journey]:
    """One generate, one masked edit and one batch row, from the Dify tool to the picture and back."""
    return {journey.name: journey for journey in trace()}


def spine() -> list[str]:
    """The files that the architecture page lists as the way of a request."""
    page = (ROOT / "docs/architecture.md").read_text()
    section = page.partition("## One request, followed by go-to-definition")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `([^`]+)`", section, re.MULTILINE)


def test_a_submit_touches_few_files_of_the_server(journeys: dict[str, Journey]) -> None:
    touched = journeys["generate"].touched("submit", "server/")
    assert "server/qwen_image_studio/intake.py" in touched
    assert len(touched) <= SUBMIT_FILES, "\n".join(touched)


def test_the_listed_files_hand_a_generate_on_in_their_order(journeys: dict[str, Journey]) -> None:
    files = spine()
    assert 2 <= len(files) <= SPINE_FILES
    after = 0
    for file in files:
        at = next((call.at for call in journeys["generate"].calls if call.file == file and call.at > after), None)
        assert at is not None, f"no call into {file} after one into the file before it in the list"
        after = at


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("generate", {"tools/image_generation.py", "operations/generate.py", "gallery/attempt.py"}),
        ("masked edit", {"tools/image_edit.py", "operations/inpaint.py", "imaging/masks.py", "painting/hold.py"}),
        ("batch of one row", {"tools/image_batch.py", "operations/batch.py", "worker/batches.py", "painting/qwen.py"}),
    ],
)
def test_each_journey_is_seen_on_both_sides_and_in_every_stage(
    journeys: dict[str, Journey], name: str, files: set[str]
) -> None:
    journey = journeys[name]
    assert {stage for stage in STAGES if journey.touched(stage, "server/")} == set(STAGES)
    assert files <= {call.file.removeprefix("server/qwen_image_studio/") for call in journey.calls}


def test_every_file_of_a_journey_is_ours_and_printed(
    journeys: dict[str, Journey], capsys: pytest.CaptureFixture[str]
) -> None:
    for journey in journeys.values():
        journey.show()
    printed = capsys.readouterr().out
    for file in {call.file for journey in journeys.values() for call in journey.calls}:
        assert Path(ROOT, file).is_file()
        assert file in printed
