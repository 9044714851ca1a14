"""Why a connection failed, told by the classes of the errors: here, and in the process as the SDK patches it."""

import ssl
import subprocess
from pathlib import Path

import pytest
import requests
from urllib3.exceptions import MaxRetryError, NameResolutionError, NewConnectionError, ProtocolError, SSLError

from tests.support import ROOT
from tests.support.scripted import ScriptedStudio
from tests.support.studio import free_port
from tools.connection import SERVER_URL, explain, is_final

PROGRAM = """
import dify_plugin, requests, sys
from tools.connection import explain, is_final
for url in sys.argv[1:]:
    try:
        requests.get(url, timeout=5)
    except requests.RequestException as error:
        print(is_final(error), explain(error, url, "server_url"))
"""


def test_causes_are_told_apart_in_the_process_as_the_sdk_patches_it(sdk_python: Path, scripted: ScriptedStudio) -> None:
    told = {
        "http://no-such-host.invalid": "False The host name no-such-host.invalid is not known",
        f"http://127.0.0.1:{free_port()}": "False 127.0.0.1:{port} refused the connection: nothing listens there",
        "http://255.255.255.255:9": "False 255.255.255.255:9 cannot be reached from the plugin daemon",
        scripted.url.replace("http:", "https:"): "True 127.0.0.1:{port} does not speak TLS as asked",
        "http://[abc": "True server_url is not a usable address",
    }
    done = subprocess.run([str(sdk_python), "-c", PROGRAM, *told], cwd=ROOT, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == len(told), done.stderr
    for line, (url, said) in zip(lines, told.items(), strict=True):
        assert line.startswith(said.replace("{port}", url.rpartition(":")[2]))


def raised(kind: type[requests.RequestException], reason: Exception) -> requests.RequestException:
    """What requests raises for a failure of urllib3's."""
    return kind(MaxRetryError(None, "/", reason))  # type: ignore[arg-type]


def caused_by(error: Exception, cause: Exception) -> Exception:
    """An error as ``raise error from cause`` leaves it."""
    error.__cause__ = cause
    return error


REFUSED = caused_by(NewConnectionError(None, "in other words"), ConnectionRefusedError(111, "ditto"))  # type: ignore[arg-type]
UNKNOWN = NameResolutionError("a", None, OSError("so"))  # type: ignore[arg-type]
UNVERIFIED = SSLError(ssl.SSLCertVerificationError(1, "in other words"))
CONNECTION, TLS = requests.exceptions.ConnectionError, requests.exceptions.SSLError


@pytest.mark.parametrize(
    ("error", "said", "final"),
    [
        (raised(CONNECTION, REFUSED), "refused the connection", False),
        (raised(CONNECTION, UNKNOWN), "is not known where the plugin daemon runs", False),
        (raised(CONNECTION, NewConnectionError(None, "refused")), "cannot be reached", False),  # type: ignore[arg-type]
        (CONNECTION(ProtocolError("certificate refused", ConnectionResetError())), " broke off.", False),
        (raised(TLS, UNVERIFIED), "could not be verified", True),
        (raised(TLS, SSLError(ssl.SSLError(1, "no certificate here"))), "does not speak TLS as asked", True),
        (raised(TLS, SSLError(ssl.SSLEOFError(8, "in other words"))), " broke off.", False),
    ],
)
def test_a_cause_is_found_by_its_class_whatever_the_message_says(
    error: requests.RequestException, said: str, final: bool
) -> None:
    assert said in explain(error, "http://a", SERVER_URL)
    assert is_final(error) is final


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:1080", "http:///no-host", "http://[::1", "http://a:99999", "ftp://a"]
)
def test_a_proxy_whose_address_cannot_be_used_is_not_put_down_to_server_url(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    url = "http://gpu-box:8300"
    with pytest.raises(requests.RequestException) as caught:
        requests.get(url, timeout=5)
    said = explain(caught.value, url, SERVER_URL)
    assert said.startswith("gpu-box:8300 cannot be reached: the address of the proxy")
    assert "add gpu-box to NO_PROXY" in said
    assert is_final(caught.value)
