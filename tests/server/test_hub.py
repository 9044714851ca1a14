"""Pulling from a hub: pinned, resumed, checked, and told in a sentence where it fails."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.models import fetching
from qwen_image_studio.models.folders import Kind, find_folder, patterns_of, place_of
from qwen_image_studio.models.hub import NotPulled, Pulled, file_of, pull, source_in_words
from qwen_image_studio.models.pins import LISTING, PIN, commit_of, read_pin, snapshot, storage
from qwen_image_studio.models.revision import revision_of
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.models.verifying import verify, verify_files
from tests.support.hub import Hub, a_tensor, digest, files_of_a_model

MODEL = MODELS["Qwen-Image"]
NAME = MODEL.repository
PATTERNS = patterns_of(MODEL, MODEL.part_names)
LARGE = "transformer/diffusion_pytorch_model.safetensors"
FILES = files_of_a_model()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has the model, and an empty cache on this machine."""
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(fetching, "PAUSE_S", 0.0)
        monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        hub.add(NAME, FILES)
        yield hub


def pulled(**options: object) -> Pulled:
    """Pull the model."""
    return pull(NAME, PATTERNS, **options)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder that are not hidden."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def partials() -> list[Path]:
    """Beginnings of files in the model's cache."""
    return list(storage(NAME).rglob("*.partial"))


def test_what_the_family_needs_is_brought_and_nothing_else(hub: Hub) -> None:
    brought = pulled()
    needed = {path: data for path, data in FILES.items() if path not in {"README.md", "assets/picture.safetensors"}}
    assert content(brought.folder) == needed
    assert brought.size == sum(map(len, needed.values()))
    assert brought.fetched == sum(map(len, set(needed.values()))), "what is the same is fetched once"
    assert (brought.folder / LARGE).is_symlink()
    assert snapshot_download(NAME, local_files_only=True) == str(brought.folder), "as the hub's own client lays it"
    assert (brought.folder / LARGE).resolve().name == digest(FILES[LARGE])
    tokens = {(seen.path.startswith("/content/"), seen.token) for seen in hub.seen if NAME in seen.path}
    assert tokens == {(False, "Bearer hf_secret"), (True, None)}, "whoever stores the content is told no secret"
    assert partials() == []


def test_a_file_system_without_links_has_the_files_themselves(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    brought = pulled()
    assert content(brought.folder) == {path: FILES[path] for path in content(brought.folder)}
    assert not any(path.is_symlink() for path in brought.folder.rglob("*"))
    hub.seen.clear()
    assert pulled() == replace(brought, fetched=0)
    assert hub.seen == []


def test_the_first_commit_stays_until_it_is_moved(hub: Hub) -> None:
    first = pulled().commit
    hub.seen.clear()
    newer = hub.add(NAME, {**FILES, LARGE: a_tensor(9)})
    assert pulled().commit == commit_of(NAME) == revision_of(MODEL) == first
    assert hub.seen == [], "a commit's files never change"
    left_over = storage(NAME) / "blobs/of-another-commit.partial"
    left_over.write_bytes(b"x")
    assert pulled(latest=True).commit == commit_of(NAME) == newer
    assert not left_over.exists()
    assert hub.starts("vae/config.json") == [], "what is the same is taken from the cache"
    assert hub.starts(LARGE) == [0]
    assert pulled(revision=first).commit == commit_of(NAME) == first
    tagged = hub.add(NAME, {**FILES, "vae/config.json": b'{"a": 1}'}, "v2")
    assert pulled(revision="v2").commit == commit_of(NAME) == tagged
    pin = read_pin(NAME)
    assert pin is not None
    assert (pin.revision, pin.endpoint) == ("v2", hub.url)


def test_a_connection_that_breaks_off_is_taken_up_where_it_was(hub: Hub) -> None:
    hub.cuts[LARGE] = [1000, 500]
    assert content(pulled().folder)[LARGE] == FILES[LARGE]
    assert hub.starts(LARGE) == [0, 1000, 1500]


def test_a_hub_that_sends_no_parts_sends_the_whole_again(hub: Hub) -> None:
    hub.cuts[LARGE], hub.ranges = [1000], False
    assert content(pulled().folder)[LARGE] == FILES[LARGE]


def test_a_pull_goes_on_with_the_commit_and_the_bytes_of_one_that_was_given_up(hub: Hub) -> None:
    hub.cuts[LARGE] = [1000, *[0] * fetching.TRIES]
    with pytest.raises(NotPulled, match="check the network"):
        pulled()
    (beginning,) = partials()
    assert beginning.read_bytes() == FILES[LARGE][:1000]
    first = commit_of(NAME)
    hub.add(NAME, {**FILES, LARGE: a_tensor(9)})
    hub.seen.clear()
    again = pulled()
    assert again.commit == first
    assert content(again.folder)[LARGE] == FILES[LARGE]
    assert hub.starts(LARGE) == [1000]


def test_a_lie_about_a_sum_is_asked_again_once_and_then_refused(hub: Hub) -> None:
    hub.lies[LARGE] = 1
    assert content(pulled().folder)[LARGE] == FILES[LARGE]
    assert hub.starts(LARGE) == [0, 0]
    shutil.rmtree(storage(NAME))
    hub.lies[LARGE] = 2
    with pytest.raises(NotPulled, match=f"{LARGE} came twice with another content .* and was removed") as caught:
        pulled()
    assert digest(FILES[LARGE])[:12] in str(caught.value)
    assert partials() == []
    assert not (snapshot(NAME, commit_of(NAME) or "") / LARGE).exists()
    assert content(pulled().folder)[LARGE] == FILES[LARGE], "a hub that is right again is believed"


def test_a_listing_that_lied_is_asked_for_again(hub: Hub) -> None:
    hub.sizes[LARGE] = 1500
    with pytest.raises(NotPulled, match="another content"):
        pulled()
    hub.sizes.clear()
    assert content(pulled().folder)[LARGE] == FILES[LARGE]


def test_a_listing_with_a_file_that_is_not_there_is_asked_for_again(hub: Hub) -> None:
    hub.refusals[LARGE] = [(404, "EntryNotFound")]
    with pytest.raises(NotPulled, match="a file that is listed is not there"):
        pulled()
    pulled()
    assert len([seen for seen in hub.seen if seen.path.startswith("/api/")]) == 2


def test_what_another_tool_brought_stays_in_use_until_a_pull_is_whole(hub: Hub) -> None:
    lay_as_the_client_does(hub)
    before = commit_of(NAME)
    hub.add(NAME, {**FILES, LARGE: a_tensor(9)})
    hub.refusals[LARGE] = [(403, "")]
    with pytest.raises(NotPulled, match="answered 403"):
        pulled()
    assert commit_of(NAME) == before
    assert pulled().commit == commit_of(NAME) != before


def test_a_small_file_is_checked_by_the_sum_that_git_has(hub: Hub) -> None:
    hub.lies["vae/config.json"] = 2
    with pytest.raises(NotPulled, match=r"vae/config\.json came twice"):
        pulled()


def test_a_beginning_that_was_spoilt_is_thrown_away(hub: Hub) -> None:
    beginning = storage(NAME) / "blobs" / f"{digest(FILES[LARGE])}.partial"
    beginning.parent.mkdir(parents=True)
    beginning.write_bytes(b"x" * 1000)
    assert content(pulled().folder)[LARGE] == FILES[LARGE]
    assert hub.starts(LARGE) == [1000, 0]


def test_too_small_a_disk_is_told_before_the_first_byte(hub: Hub) -> None:
    hub.sizes[LARGE] = 10**18
    with pytest.raises(NotPulled, match=r"needs 1000000000\.0 GB more in .*: .* GB are missing\. .* HF_HOME") as caught:
        pulled()
    assert str(constants.HF_HUB_CACHE) in str(caught.value)
    assert str(constants.HF_HUB_CACHE) not in caught.value.reason
    assert [seen.path for seen in hub.seen if "/api/" not in seen.path] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_disk_that_fills_up_meanwhile_is_told(hub: Hub) -> None:
    beginning = storage(NAME) / "blobs" / f"{digest(FILES[LARGE])}.partial"
    beginning.parent.mkdir(parents=True)
    beginning.symlink_to("/dev/full")
    with pytest.raises(NotPulled, match=r"the disk is full\. Make room in .* and pull again"):
        pulled()


REFUSALS = {
    "gated": ((403, "GatedRepo"), "terms have to be accepted"),
    "unknown": ((401, "RepoNotFound"), "no such repository .* HF_TOKEN"),
    "broken": ((500, ""), r"answered 500; try again later, or another mirror \(HF_ENDPOINT\)"),
}


@pytest.mark.parametrize(("refusal", "said"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_told_with_its_remedy(hub: Hub, refusal: tuple[int, str], said: str) -> None:
    hub.refusals[NAME] = [refusal]
    with pytest.raises(NotPulled, match=said) as caught:
        pulled()
    assert hub.url in str(caught.value)
    hub.refusals[NAME] = [refusal]
    with pytest.raises(StudioError, match=said) as refused:
        find_folder(MODEL, MODEL.part_names)
    assert refused.value.code == "model_unavailable"
    assert hub.url not in refused.value.message


def test_a_moment_of_trouble_with_a_file_is_waited_for(hub: Hub) -> None:
    hub.refusals[LARGE] = [(503, ""), (429, "")]
    assert content(pulled().folder)[LARGE] == FILES[LARGE]
    hub.refusals["vae/config.json"] = [(404, "EntryNotFound")]
    shutil.rmtree(storage(NAME))
    with pytest.raises(NotPulled, match="listed is not there"):
        pulled()


def test_the_home_of_a_user_who_is_not_here_is_a_folder_that_is_not_there() -> None:
    model = replace(MODEL, repository="~nobody-here/weights")
    assert place_of(model) is None
    with pytest.raises(StudioError, match="there is no such folder"):
        find_folder(model, ["vae"])


def test_what_is_no_hub_and_what_is_no_name_is_not_believed(hub: Hub) -> None:
    with pytest.raises(NotPulled, match="has no revision v9"):
        pulled(revision="v9")
    for name in ("vae/../../../escaped.json", "vae/\0.json", "vae/\ud800.json"):
        hub.add(NAME, {**FILES, name: b"{}"})
        with pytest.raises(NotPulled, match="does not answer as a hub does; check HF_ENDPOINT"):
            pulled()
    hub.add(NAME, FILES)
    for size in (-1, 1e400, 2.5e9):
        hub.sizes[LARGE] = size  # type: ignore[assignment] # as it may come
        with pytest.raises(NotPulled, match="does not answer as a hub does; check HF_ENDPOINT"):
            pulled()
    hub.is_hub = False
    with pytest.raises(NotPulled, match="does not answer as a hub does; check HF_ENDPOINT"):
        pulled()


def test_offline_nothing_is_asked_and_what_is_here_does(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pulled()
    hub.seen.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pulled() == replace(first, fetched=0)
    assert find_folder(MODEL, MODEL.part_names) == first.folder
    (first.folder / LARGE).resolve().unlink()
    for repository in (NAME, "Qwen/Qwen-Image-2512"):
        with pytest.raises(NotPulled, match="HF_HUB_OFFLINE is set; unset it, or name a folder"):
            pull(repository, PATTERNS)
    assert hub.seen == []
    assert "HF_HUB_OFFLINE" in source_in_words()


def test_a_cache_that_another_tool_filled_is_checked_once_and_kept(hub: Hub) -> None:
    lay_as_the_client_does(hub)
    assert find_folder(MODEL, MODEL.part_names) == snapshot(NAME, commit_of(NAME) or "")
    assert read_pin(NAME) is None
    assert hub.seen == []
    damaged = snapshot(NAME, commit_of(NAME) or "") / LARGE
    damaged.resolve().write_bytes(a_tensor(8))
    assert pulled().fetched == len(FILES[LARGE])
    assert hub.starts("vae/config.json") == []
    assert damaged.read_bytes() == FILES[LARGE]


def lay_as_the_client_does(hub: Hub) -> None:
    """Lay the hub's newest commit as huggingface_hub's client would."""
    commit = hub.repositories[NAME].names["main"]
    for path, data in FILES.items():
        content, here = storage(NAME) / "blobs" / digest(data), snapshot(NAME, commit) / path
        content.parent.mkdir(parents=True, exist_ok=True)
        here.parent.mkdir(parents=True, exist_ok=True)
        content.write_bytes(data)
        here.symlink_to(os.path.relpath(content, here.parent))
    (storage(NAME) / "refs").mkdir()
    (storage(NAME) / "refs/main").write_text(commit)


def test_an_encoder_that_another_model_has_is_not_fetched_again(hub: Hub) -> None:
    pulled()
    hub.add("Qwen/Qwen-Image-2512", {**FILES, LARGE: a_tensor(7)})
    hub.seen.clear()
    other = pull("Qwen/Qwen-Image-2512", PATTERNS)
    assert other.fetched == len(FILES[LARGE])
    assert content(other.folder)["vae/diffusion_pytorch_model.safetensors"] == a_tensor(3)
    shutil.rmtree(storage(NAME))
    assert content(other.folder)["vae/diffusion_pytorch_model.safetensors"] == a_tensor(3)


def test_how_far_it_is_can_be_read_in_the_log(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    find_folder(MODEL, MODEL.part_names)
    told = [record.getMessage() for record in caplog.records if record.name.endswith("models.progress")]
    assert told[0].startswith(f"{NAME}: fetching: ")
    assert " of " in told[-1]


def test_two_pulls_at_once_fetch_everything_once(hub: Hub) -> None:
    hub.gates[LARGE] = threading.Event()
    done: list[Pulled] = []
    both = [threading.Thread(target=lambda: done.append(pulled())) for _ in range(2)]
    for each in both:
        each.start()
    assert hub.reached.wait(60)
    hub.gates[LARGE].set()
    for each in both:
        each.join()
    assert [brought.folder for brought in done] == [snapshot(NAME, commit_of(NAME) or "")] * 2
    assert hub.starts(LARGE) == [0]


@pytest.mark.parametrize(
    "about", [{"size": "x"}, {"digest": None}, {"digest": "abc"}, {"path": "vae/../../../../x.json"}]
)
def test_a_listing_that_was_spoilt_is_asked_for_again(hub: Hub, about: dict[str, object]) -> None:
    folder = pulled().folder
    listed = json.loads((folder / LISTING).read_text())["files"]
    path, true = next((path, each) for path, each in listed.items() if path.startswith("vae/"))
    spoilt = {**listed, str(about.pop("path", path)): {**true, **about}}
    (folder / LISTING).write_text(json.dumps({"files": spoilt}))
    assert verify_files(folder, PATTERNS, lambda count: None).sound
    assert pulled().fetched == 0
    assert json.loads((folder / LISTING).read_text())["files"] == listed


@pytest.mark.parametrize("name", [b"", b"\xff", b"../../..", b"main"])
def test_a_cache_whose_name_of_a_commit_is_spoilt_has_none(hub: Hub, name: bytes) -> None:
    folder = pulled().folder
    (storage(NAME) / PIN).unlink()
    (storage(NAME) / "refs" / "main").write_bytes(name)
    assert commit_of(NAME) is None
    assert pulled().folder == folder


def test_a_loras_file_is_pulled_once(hub: Hub, tmp_path: Path) -> None:
    hub.add("owner/loras", {"a/[v1].safetensors": a_tensor(1), "a/v.safetensors": a_tensor(2)})
    path = file_of("owner/loras", "a/[v1].safetensors")
    assert path.read_bytes() == a_tensor(1)
    assert [path.name for path in storage("owner/loras").rglob("*.safetensors")] == ["[v1].safetensors"]
    hub.seen.clear()
    assert file_of("owner/loras", "a/[v1].safetensors") == path
    assert file_of(str(tmp_path), "mine.safetensors") == tmp_path / "mine.safetensors"
    assert hub.seen == []


# -- copies, and ModelScope ------------------------------------------------------------------------------------------


def test_a_copied_folder_brings_its_sums_along(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(pulled().folder, tmp_path / "copied"))
    shutil.rmtree(constants.HF_HUB_CACHE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = replace(MODEL, repository=str(folder))
    assert find_folder(model, model.part_names) == folder
    place = place_of(model)
    assert place is not None
    found = verify(model, place, lambda count: None)
    assert (found.sound, found.summed) == (True, len(FILES) - 2)
    (folder / LARGE).write_bytes(a_tensor(9))
    (folder / "scheduler/scheduler_config.json").unlink()
    found = verify(model, place, lambda count: None)
    assert found.damaged == (LARGE,)
    assert set(found.missing) >= {"scheduler/scheduler_config.json"}


def test_a_copied_cache_is_the_same_commit(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pulled()
    hub.add(NAME, {**FILES, LARGE: a_tensor(9)})
    for links in (True, False):
        copy = shutil.copytree(constants.HF_HUB_CACHE, tmp_path / f"copy-{links}", symlinks=links)
        with monkeypatch.context() as patched:
            patched.setattr(constants, "HF_HUB_CACHE", str(copy))
            patched.setattr(constants, "HF_HUB_OFFLINE", True)
            assert revision_of(MODEL) == first.commit
            assert pulled().fetched == 0
            assert content(find_folder(MODEL, MODEL.part_names)) == content(first.folder)


LAYOUTS = {
    "2026": "models/Qwen--Qwen-Image-2.1/snapshots/master",
    "2026, a tag": "models/Qwen--Qwen-Image-2.1/snapshots/v1",
    "2025, without a setting": "hub/models/Qwen/Qwen-Image-2___1",
    "2025": "models/Qwen/Qwen-Image-2___1",
    "older, without a setting": "hub/Qwen/Qwen-Image-2___1",
    "older": "Qwen/Qwen-Image-2___1",
    "with its dots": "models/Qwen/Qwen-Image-2.1",
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_what_modelscope_has_laid_is_found(hub: Hub, layout: str) -> None:
    model = MODELS["Qwen-Image-2.1"]
    folder = Path(os.environ["MODELSCOPE_CACHE"]) / layout
    for path, data in files_of_a_model(processor=True).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / ".msc").write_bytes(b"an index of ModelScope's")
    assert find_folder(model, model.part_names) == folder
    place = place_of(model)
    assert place is not None
    assert place.kind is Kind.MODELSCOPE
    assert len(revision_of(model) or "") == 64
    assert verify(model, place, lambda count: None).summed == 0
    (folder / LARGE).write_bytes(FILES[LARGE][:-1])
    assert verify(model, place, lambda count: None).damaged == (LARGE,)
    assert hub.seen == []


def test_a_whole_folder_of_modelscope_goes_before_a_cache_that_is_not_whole(hub: Hub) -> None:
    hub.cuts[LARGE] = [0] * fetching.TRIES
    with pytest.raises(NotPulled):
        pulled()
    folder = Path(os.environ["MODELSCOPE_CACHE"]) / "models/Qwen/Qwen-Image"
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    assert find_folder(MODEL, MODEL.part_names) == folder
    pulled()
    place = place_of(MODEL)
    assert place is not None
    assert (place.kind, (place.folder / LISTING).is_file()) == (Kind.HUB, True)
