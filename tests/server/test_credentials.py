"""Content credentials: what is signed, what refuses to sign, and who says so; judged by c2pa's own reader."""

import logging
import shutil
import sys
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.credentials import Credentials, Ingredient, made, open_credentials, read_certificate, signing
from qwen_image_studio.credentials.manifest import PAINTED, PAINTED_OVER
from qwen_image_studio.host.credentials import check_credentials, examine_credentials
from qwen_image_studio.host.report import Report
from qwen_image_studio.imaging import Origin, encode
from qwen_image_studio.settings import Settings
from tests.support.authority import (
    EMAIL,
    KEYS,
    TLS,
    Issued,
    Silence,
    TimeStamps,
    actions,
    active,
    authority,
    seen,
    self_signed,
)
from tests.support.loopback import LoopbackServer
from tests.support.studio import free_port

FACTS: Origin = {"prompt": "a 红 cup", "model": "Qwen-Image", "seed": 2**32 - 1, "guidance_scale": 4.5}
PLAIN = Settings(_env_file=None)
DEAD = "http://127.0.0.1:{}/"


def plain(output_format: OutputFormat = OutputFormat.PNG) -> bytes:
    """A file as the gallery encodes it."""
    return encode(Image.effect_noise((64, 48), 80).convert("RGB"), output_format, FACTS)


def credentials(issued: Issued | None = None, **more: Any) -> Credentials:
    """A signer."""
    found = open_credentials((issued or authority().issue()).settings(PLAIN, **more))
    assert found is not None
    return found


def signed(signer: Credentials, output_format: OutputFormat = OutputFormat.PNG) -> bytes:
    """A signed file."""
    return signer.signed(plain(output_format), output_format.mime_type, made(FACTS, paints=True)).data


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("output_format", OutputFormat)
def test_a_reader_trusts_what_was_signed_and_nothing_that_was_changed(kind: str, output_format: OutputFormat) -> None:
    signer = credentials(authority().issue(kind))
    file = signed(signer, output_format)
    manifest = active(seen(file, output_format.mime_type))
    assert manifest["signature_info"]["common_name"] == "Throwaway signer"
    assert manifest["signature_info"]["alg"].lower() == kind == signer.certificate.algorithm
    for place in (file.index(b"jumdc2pa") + 2000, len(file) // 2, len(file) - 40):
        changed = bytearray(file)
        changed[place] ^= 1
        said = seen(bytes(changed), output_format.mime_type)
        assert said is None or said["validation_state"] == "Invalid", place


def test_what_made_a_picture_is_said() -> None:
    [created] = actions(active(seen(signed(credentials()), "image/png")))
    assert (created["action"], created["digitalSourceType"]) == ("c2pa.created", PAINTED)
    assert created["softwareAgent"] == {"name": "Qwen-Image"}
    assert created["parameters"]["qwen_image_studio"] == FACTS


@pytest.mark.parametrize("prompt", ["half a pair \ud83d", "nothing \0 within", "“quoted” \\ {braces}\n" * 900])
def test_any_prompt_can_be_signed(prompt: str) -> None:
    file = credentials().signed(plain(), "image/png", made({**FACTS, "prompt": prompt}, paints=True)).data
    [created] = actions(active(seen(file, "image/png")))
    signed_prompt = created["parameters"]["qwen_image_studio"]["prompt"]
    assert signed_prompt == prompt.encode("utf-8", "backslashreplace").decode()


def test_inputs_keep_their_own_credentials_and_are_told_apart() -> None:
    signer = credentials()
    inputs = [Ingredient(signed(signer, OutputFormat.WEBP), "image/webp"), *2 * [Ingredient(plain(), "image/png")]]
    said = made({**FACTS, "model": "Qwen-Image-Edit"}, inputs, paints=True, has_mask=True)
    found = seen(signer.signed(plain(OutputFormat.JPEG), "image/jpeg", said).data, "image/jpeg")
    manifest = active(found)
    opened, edited = actions(manifest)
    assert (opened["action"], edited["action"], edited["digitalSourceType"]) == (
        "c2pa.opened", "c2pa.edited", PAINTED_OVER,
    )  # fmt: skip
    told = [(each["title"], each["relationship"], "active_manifest" in each) for each in manifest["ingredients"]]
    assert told == [("image 1", "parentOf", True), ("image 2", "inputTo", False), ("mask", "inputTo", False)]
    assert found is not None
    assert actions(found["manifests"][manifest["ingredients"][0]["active_manifest"]])[0]["softwareAgent"] == {
        "name": "Qwen-Image"
    }
    assert [len(each["parameters"]["ingredients"]) for each in (opened, edited)] == [1, 2]


def test_two_signatures_differ() -> None:
    signer, file = credentials(), plain()
    one, other = (signer.signed(file, "image/png", made(FACTS, paints=True)).data for _ in range(2))
    assert one != other


# -- settings ----------------------------------------------------------------------------------------------------------


def test_without_settings_nothing_is_signed() -> None:
    assert open_credentials(PLAIN) is None
    check_credentials(PLAIN)


def _wrong_key(folder: Path) -> dict[str, Any]:
    return authority().issue().files(folder) | {"c2pa_key": authority().issue().key}


def _with(**more: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: authority().issue().files(folder) | more


WRONG = {
    "no key": (_with(c2pa_key=""), "STUDIO_C2PA_CERTIFICATE is set without STUDIO_C2PA_KEY"),
    "no certificate": (_with(c2pa_certificate=""), "STUDIO_C2PA_KEY is set without STUDIO_C2PA_CERTIFICATE"),
    "an authority alone": (lambda _: {"c2pa_tsa_url": "http://tsa"}, "STUDIO_C2PA_TSA_URL is set without"),
    "no address": (_with(c2pa_tsa_url="tsa"), "STUDIO_C2PA_TSA_URL is no address"),
    "no file": (_with(c2pa_certificate="/nowhere/chain.pem"), "STUDIO_C2PA_CERTIFICATE names no file"),
    "no file of a key": (_with(c2pa_key="/nowhere/key.pem"), "STUDIO_C2PA_KEY names no file"),
    "no chain": (_with(c2pa_certificate="-----BEGIN nothing"), "STUDIO_C2PA_CERTIFICATE is no certificate chain"),
    "no private key": (_with(c2pa_key="-----BEGIN nothing"), "STUDIO_C2PA_KEY is no private key"),
    "another's key": (_wrong_key, "STUDIO_C2PA_KEY is not the key of the first certificate"),
}


@pytest.mark.parametrize("case", WRONG)
def test_settings_that_do_not_go_together_are_named_and_no_key_is(case: str, tmp_path: Path) -> None:
    settings, sentence = WRONG[case]
    asked = Settings(_env_file=None, **settings(tmp_path))
    with pytest.raises(CannotServe) as refused:
        check_credentials(asked)
    assert str(refused.value).startswith(sentence)
    assert "PRIVATE" not in f"{refused.value}{asked!r}"


def test_a_pem_may_stand_in_one_line_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    issued = authority().issue()
    monkeypatch.setenv("STUDIO_C2PA_CERTIFICATE", issued.chain.replace("\n", "\\n"))
    monkeypatch.setenv("STUDIO_C2PA_KEY", issued.key.replace("\n", "\\n"))
    assert read_certificate(Settings(_env_file=None)).key == issued.key


@pytest.mark.parametrize("package", ["c2pa", "cryptography"])
def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    issued = authority().issue()
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CannotServe, match=r"pip install 'qwen-image-studio\[credentials\]'"):
        open_credentials(issued.settings(PLAIN))


# -- certificates ------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], Issued], str]] = {
    "expired": (lambda: authority().issue(days=(-9, -1)), "it has expired on"),
    "not yet valid": (lambda: authority().issue(days=(1, 9)), "it is not valid before"),
    "for web sites": (lambda: authority().issue(purposes=(TLS,)), "its extended key usage has none of"),
    "for nothing": (lambda: authority().issue(purposes=()), "its extended key usage has none of"),
    "for anything": (lambda: authority().issue(purposes=("2.5.29.37.0",)), "its extended key usage allows any purpose"),
    "its own": (self_signed, "it signs itself"),
    "a foreign chain": (lambda: _with_another_root(), "its chain is broken"),
}


def _with_another_root() -> Issued:
    issued = authority().issue(with_root=False)
    return Issued(issued.chain + self_signed().chain, issued.key)


def _doctor(settings: Settings) -> tuple[str, bool]:
    report = Report()
    examine_credentials(report, settings)
    return "\n".join(report.lines), report.healthy


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_not_sign_is_told_at_the_start_and_by_doctor(case: str) -> None:
    issue, sentence = REFUSED[case]
    settings = issue().settings(PLAIN)
    with pytest.raises(CannotServe, match=sentence):
        check_credentials(settings)
    told, healthy = _doctor(settings)
    assert sentence in told
    assert not healthy


@pytest.mark.parametrize("purpose", [EMAIL, "1.3.6.1.5.5.7.3.36"])
def test_certificates_of_other_purposes_sign_too(purpose: str) -> None:
    settings = authority().issue(purposes=(purpose,)).settings(PLAIN)
    check_credentials(settings)
    told, healthy = _doctor(settings)
    assert "read back by c2pa as trusted" in told
    assert healthy


def test_a_chain_without_its_root_signs_and_doctor_says_what_it_cannot_see() -> None:
    settings = authority().issue(with_root=False).settings(PLAIN)
    check_credentials(settings)
    told, healthy = _doctor(settings)
    assert "no authority's certificate in the chain" in told
    assert healthy


def test_one_that_ends_soon_is_named(caplog: pytest.LogCaptureFixture) -> None:
    settings = authority().issue(days=(-1, 9)).settings(PLAIN)
    with caplog.at_level(logging.WARNING):
        check_credentials(settings)
    assert "renew it in time" in caplog.text
    assert "renew it in time" in _doctor(settings)[0]
    assert "renew it in time" not in _doctor(authority().issue().settings(PLAIN))[0]


def test_doctor_says_that_nothing_is_signed() -> None:
    told, healthy = _doctor(PLAIN)
    assert "pictures are not signed" in told
    assert healthy


def test_a_certificate_that_ends_while_the_server_runs_signs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = credentials()
    monkeypatch.setattr(signing, "now", lambda: signer.certificate.ends + timedelta(seconds=1))
    with pytest.raises(StudioError, match="could not be signed") as refused:
        signed(signer)
    assert refused.value.code == "signing_failed"


def test_the_key_is_in_no_text_of_the_certificate() -> None:
    certificate = credentials().certificate
    assert "PRIVATE" in certificate.key
    assert certificate.key not in repr(certificate)
    assert isinstance(PLAIN.c2pa_key, SecretStr)


# -- time-stamps -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl stamps the time here")
def test_an_authority_stamps_the_time_of_a_signature(tmp_path: Path) -> None:
    with TimeStamps(tmp_path) as stamps:
        made_now = credentials(c2pa_tsa_url=stamps.url).signed(plain(), "image/png", made(FACTS, paints=True))
        told, healthy = _doctor(authority().issue().settings(PLAIN, c2pa_tsa_url=stamps.url))
    assert made_now.warning is None
    said = seen(made_now.data, "image/png")
    assert active(said)["signature_info"]["time"]
    assert said is not None
    codes = {each["code"] for each in said["validation_results"]["activeManifest"]["success"]}
    assert {"timeStamp.validated", "timeStamp.trusted"} <= codes
    assert "the time-stamping authority answers: 20" in told
    assert healthy


def test_a_dead_authority_loses_no_picture() -> None:
    signer = credentials(c2pa_tsa_url=DEAD.format(free_port()))
    file = signer.signed(plain(), "image/png", made(FACTS, paints=True))
    assert file.warning is not None
    assert f"until the certificate ends, on {signer.certificate.ends:%Y-%m-%d}" in file.warning
    assert "time" not in active(seen(file.data, "image/png"))["signature_info"]
    told, healthy = _doctor(authority().issue().settings(PLAIN, c2pa_tsa_url=DEAD.format(free_port())))
    assert not healthy
    assert "the time-stamping authority does not answer" in told


class _Refusing(LoopbackServer):
    """An authority that stamps nothing, and counts who asks."""

    asked = 0

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Refuse."""
        handler.rfile.read(int(handler.headers["Content-Length"]))
        self.asked += 1
        handler.send_error(503)


def test_an_authority_that_refuses_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with _Refusing() as refusing:
        signer = credentials(c2pa_tsa_url=refusing.url)
        warnings = {signer.signed(plain(), "image/png", made(FACTS, paints=True)).warning for _ in range(3)}
        assert len(warnings) == refusing.asked == 1
        monkeypatch.setattr(signing, "TSA_PAUSE_S", -1.0)
        signer = credentials(c2pa_tsa_url=refusing.url)
        for _ in range(2):
            signer.signed(plain(), "image/png", made(FACTS, paints=True))
        assert refusing.asked == 3
    assert None not in warnings


def test_a_silent_authority_is_waited_for_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "TSA_S", 0.2)
    with Silence() as silence:
        file = credentials(c2pa_tsa_url=silence.url).signed(plain(), "image/png", made(FACTS, paints=True))
        silence.await_call()
    assert file.warning is not None
    active(seen(file.data, "image/png"))


def test_what_is_wrong_beside_the_authority_is_no_matter_of_time() -> None:
    signer = credentials(c2pa_tsa_url=DEAD.format(free_port()))
    with pytest.raises(StudioError, match="could not be signed"):
        signer.signed(b"no picture", "image/png", made(FACTS, paints=True))
