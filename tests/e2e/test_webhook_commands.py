"""``qwen-image-studio webhooks`` as an operator meets it, beside a running server and without one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_command_line import assert_one_line, run_here
from tests.support.receiver import Receiver, status
from tests.support.studio import SCRIPTED, Studio
from tests.support.waiting import until

URL = "https://hooks.example/studio"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose server has the keys shop and desk."""
    for name in ("shop", "desk"):
        assert run_here(tmp_path, "keys", "add", name).returncode == 0
    return tmp_path


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes what it gets."""
    with Receiver() as receiver:
        yield receiver


def test_each_key_has_a_secret_of_its_own_that_can_be_changed(folder: Path) -> None:
    shop, desk, none = (run_here(folder, "webhooks", "secret", *name).stdout for name in (["shop"], ["desk"], []))
    assert {len(each.strip()) for each in (shop, desk, none)} == {len("whsec_") + 32}
    assert len({shop, desk, none}) == 3
    assert run_here(folder, "webhooks", "secret", "shop").stdout == shop
    changed = run_here(folder, "webhooks", "rotate", "shop", "--overlap", "1h").stdout
    assert changed != shop
    assert run_here(folder, "webhooks", "secret", "shop").stdout == changed
    assert run_here(folder, "webhooks", "secret", "desk").stdout == desk
    for command in (["secret", "nobody"], ["rotate", "nobody"], ["set", "nobody", URL], ["unset", "nobody"]):
        assert_one_line(run_here(folder, "webhooks", *command), "nobody", "keys list")


@pytest.mark.parametrize("url", ["hooks.example", "ftp://hooks.example/", "http://10.0.0.1/", "http://localhost:80/"])
def test_an_address_that_is_not_to_be_called_is_not_set(folder: Path, url: str) -> None:
    assert_one_line(run_here(folder, "webhooks", "set", "shop", url), "url", "may not be called")
    assert_one_line(run_here(folder, "webhooks", "test", "shop"), "no address")


def test_a_test_event_says_what_came_back(folder: Path, receiver: Receiver) -> None:
    allow = {"webhook_allow": receiver.host}
    told = run_here(folder, "webhooks", "set", "shop", f"{receiver.url}/shop", **allow)
    assert (told.returncode, receiver.url in told.stdout) == (0, True)
    assert "answered 204" in run_here(folder, "webhooks", "test", "shop", **allow).stdout
    url = f"{receiver.url}/any"
    assert run_here(folder, "webhooks", "test", url, "--key", "desk", **allow).returncode == 0
    receiver.answer = status(500)
    assert_one_line(run_here(folder, "webhooks", "test", "shop", **allow), "500", "a word")
    assert [call.path for call in receiver.calls] == ["/shop", "/any", "/shop"]
    for call, key in zip(receiver.calls, ("shop", "desk", "shop"), strict=True):
        secret = run_here(folder, "webhooks", "secret", key).stdout.strip()
        assert call.verified(secret)["type"] == "webhook.test"
    assert run_here(folder, "webhooks", "unset", "shop").returncode == 0
    assert_one_line(run_here(folder, "webhooks", "test", "shop", **allow), "no address")
    assert_one_line(run_here(folder, "webhooks", "test", url, "--key", "nobody", **allow), "nobody")


def test_what_was_given_up_is_listed_and_sent_again_by_a_running_server(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = status(410)
    with Studio(tmp_path, **SCRIPTED, webhook_allow=receiver.host) as studio:
        jobs = [studio.submit(steps=2, webhook_url=f"{receiver.url}/hook?token=x")["id"] for _ in range(3)]
        until(lambda: all(job in run_here(tmp_path, "webhooks", "list", "--dead").stdout for job in jobs))
        listed = run_here(tmp_path, "webhooks", "list", "--dead")
        assert "0 wait, 3 were given up" in listed.stderr
        assert "token" not in listed.stdout
        lines = {line.split("\t")[3]: line.split("\t") for line in listed.stdout.splitlines()}
        one = lines[jobs[1]]
        assert (one[2], one[4], one[5], one[6]) == ("job.succeeded", receiver.host, "dead", "1")
        receiver.answer = status(204)
        assert "again: 1" in run_here(tmp_path, "webhooks", "resend", one[0]).stdout
        until(lambda: [call.id for call in receiver.calls].count(one[0]) == 2)
        assert "again: 2" in run_here(tmp_path, "webhooks", "resend", "--dead", "--since", "1h").stdout
        until(lambda: run_here(tmp_path, "webhooks", "list").stdout.count("delivered") == 3)
    assert len(receiver.calls) == 6
    assert len({call.id for call in receiver.calls}) == 3
    assert_one_line(run_here(tmp_path, "webhooks", "resend", "evt_none"), "0 of these 1 are there")
    assert run_here(tmp_path, "webhooks", "resend").returncode == 2
    assert run_here(tmp_path, "webhooks", "resend", "evt_none", "--dead").returncode == 2
