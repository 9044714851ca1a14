"""What a host without weights knows of those that workers have: enough to recognise an equal request."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen_image_studio.contract.loras import LoraUse
from qwen_image_studio.contract.words import Tier, WorkerState
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.loading import told
from qwen_image_studio.loading.offering import Offering
from qwen_image_studio.loading.told import Revisions
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.models.table import Model
from qwen_image_studio.settings import Settings
from tests.support.database import with_tables
from tests.support.plans import a_plan


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A server's settings."""
    return with_tables(Settings(_env_file=None, data_dir=tmp_path, models="miniature", devices="cpu"))


@pytest.fixture
def store(settings: Settings) -> Iterator[JobStore]:
    """Its job store."""
    with open_store(settings) as store:
        yield store


@pytest.fixture
def model(settings: Settings) -> Model:
    """The model that it serves, whose weights are here."""
    return configured_models(settings, card_gib=0)["miniature"]


@pytest.fixture
def report(settings: Settings, store: JobStore, model: Model) -> Iterator[None]:
    """Have two workers, which have the weights, say so; what looks from here on finds none."""
    offers = Offering({model.name: model}, "cpu", settings).now().as_row()
    for name in ("a/cpu/1", "b/cpu/2"):
        store.workers.note(WorkerReport(name, "cpu", WorkerState.READY, None, "", time.time(), offers=offers))
    with pytest.MonkeyPatch.context() as gone:
        gone.setattr(told, "revision_of", lambda _: None)
        yield


@pytest.mark.parametrize("tier", [Tier.QUALITY, Tier.TURBO])
def test_a_host_without_weights_tells_them_as_one_with_them_does(
    store: JobStore, model: Model, request: pytest.FixtureRequest, tier: Tier
) -> None:
    here = Revisions(store).of(model, a_plan(tier=tier))
    request.getfixturevalue("report")
    assert here is not None
    assert Revisions(store).of(model, a_plan(tier=tier)) == here


@pytest.mark.usefixtures("report")
@pytest.mark.parametrize(
    "changed", [{"revision": "another"}, {"revision": None}], ids=["other weights", "weights that are on their way"]
)
def test_workers_with_other_weights_tell_nothing(store: JobStore, model: Model, changed: dict[str, str | None]) -> None:
    other = store.workers.all()[0]
    offers = {"models": {"miniature": {**(other.offers or {})["models"]["miniature"], **changed}}}
    store.workers.note(WorkerReport("c/cpu/3", "cpu", WorkerState.READY, None, "", time.time(), offers=offers))
    assert Revisions(store).of(model, a_plan()) is None


@pytest.mark.usefixtures("report")
def test_a_lora_that_no_worker_has_tells_nothing(store: JobStore, model: Model) -> None:
    assert Revisions(store).of(model, a_plan(loras=(LoraUse(name="ink", scale=1.0),))) is None
