"""Two hosts with a network between them, and a cable that is pulled while one paints: nothing counts twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.fleet import Fleet, Host
from tests.support.network import Network
from tests.support.servers.fixtures import need_servers
from tests.support.servers.postgresql import DATABASE, USER, PostgreSQL
from tests.support.waiting import until

LEASE_S = 4.0


@pytest.fixture
def network() -> Iterator[Network]:
    """A network of two hosts."""
    need_servers("PostgreSQL")
    with Network() as made:
        yield made


@pytest.fixture
def fleet(network: Network, tmp_path: Path) -> Iterator[Fleet]:
    """A web process on this machine, and two hosts behind the switch."""
    database = PostgreSQL(listen_addresses=f"127.0.0.1,{network.address}")
    with (database.cluster / "pg_hba.conf").open("a") as file:
        file.write(f"host all all {network.range} trust\n")
    url = f"postgresql://{USER}@{network.address}:{database.port}/{DATABASE}"
    with database, Fleet(tmp_path, url, lease_s=LEASE_S) as made:
        made.migrate()
        made.host("web").start("web")
        for name in ("near", "far"):
            made.host(name, prefix=network.plug(name))
        yield made


def test_a_worker_behind_a_cut_cable_loses_its_job_and_nothing_counts_twice(fleet: Fleet, network: Network) -> None:
    web, near, far = fleet.hosts
    idle, cut_off = near.start("worker"), far.start("worker")
    fleet.wait()
    until(lambda: states(web) == ["ready", "ready"])
    idle.freeze()
    job = submit(web, "pace=0.3 preview", steps=60)
    until(lambda: look(web, job)["progress"]["step"] > 2)
    network.cut("far")
    idle.thaw()
    until(lambda: look(web, job)["attempt"] == 2)
    network.heal("far")
    until(lambda: f"job {job}: lost lease" in far.log.read_text())
    done = until(lambda: (seen := look(web, job))["state"] == "succeeded" and seen)
    assert (near.painted(), far.painted()) == (1, 0), "a painting ends with its lease"
    idle.end()
    after = submit(web, "pace=0.01", steps=2)
    until(lambda: look(web, after)["state"] == "succeeded")
    assert far.painted() == 1, "the host that was cut off goes on"
    assert look(web, job) | LINKS == done | LINKS, "it ended once"
    kept = {path.name for path in fleet.pictures.rglob("*") if job in path.name}
    assert len(kept) == 2, f"a picture and its thumbnail: {kept}"
    assert cut_off.starts == 1


def test_a_picture_that_is_done_behind_a_cut_cable_does_not_count(fleet: Fleet, network: Network) -> None:
    web, near, far = fleet.hosts
    idle, cut_off = near.start("worker"), far.start("worker")
    fleet.wait()
    until(lambda: states(web) == ["ready", "ready"])
    idle.freeze()
    job = submit(web, "pace=0.1", steps=40)
    until(lambda: look(web, job)["progress"]["step"] > 2)
    network.cut("far")
    until(lambda: far.painted() == 1)
    idle.thaw()
    done = until(lambda: (seen := look(web, job))["state"] == "succeeded" and seen)
    assert done["attempt"] == 2
    until(lambda: "The job store is busy" in far.log.read_text())  # the end that it cannot write is tried again
    network.heal("far")
    idle.end()
    after = submit(web, "pace=0.01", steps=2)
    until(lambda: look(web, after)["state"] == "succeeded")  # by the host that was cut off
    assert look(web, job) | LINKS == done | LINKS, "it ended once"
    assert cut_off.starts == 1, "a model is not loaded again for that"


LINKS = {"images": None, "archive_url": None}
"""What is signed anew at each look."""


def submit(web: Host, prompt: str, steps: int) -> str:
    """Submit a job; its id."""
    body = {"operation": "generate", "prompt": prompt, "width": 64, "height": 64, "steps": steps}
    answer = requests.post(f"{web.processes[0].url}/v1/jobs", json=body, timeout=60)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def look(web: Host, job: str) -> dict[str, Any]:
    """Look at a job."""
    return dict(requests.get(f"{web.processes[0].url}/v1/jobs/{job}", timeout=60).json())


def states(web: Host) -> list[str]:
    """The states of all workers that the web process knows of."""
    health = requests.get(f"{web.processes[0].url}/v1/health", timeout=60).json()
    return [worker["state"] for worker in health["workers"]]
