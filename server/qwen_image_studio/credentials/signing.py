"""Signing: statements put into the files of pictures, with a time-stamp where there is an authority that answers."""

import io
import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.credentials.certificate import PURPOSES, Certificate, missing, now, read_certificate
from qwen_image_studio.credentials.manifest import Statement
from qwen_image_studio.settings import Settings

TSA_S = 5.0
"""Longest wait for a time-stamp, in seconds. What asks for it has no bound of its own that a caller could set."""
TSA_PAUSE_S = 60.0
"""Seconds for which an authority that did not answer is not asked again, so that a batch does not wait each time."""
_CONTEXT: Mapping[str, Mapping[str, Any]] = {
    # Nothing is fetched but the time-stamp; whether a certificate is trusted is for readers to decide.
    "verify": {"verify_after_sign": False, "verify_trust": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Signed:
    """A signed file."""

    data: bytes
    warning: str | None = None
    """What the picture's owner should know."""


class Credentials:
    """The signer of one process. Its methods may be called from any thread."""

    def __init__(self, certificate: Certificate, tsa_url: str = "") -> None:
        self.certificate, self._tsa_url = certificate, tsa_url
        self._tsa_rests_until = 0.0

    def signed(self, data: bytes, mime_type: str, statement: Statement) -> Signed:
        """Return the file (PNG, JPEG or WebP) with the statement in it, signed. Without an answer of the time-stamping
        authority it has no time-stamp, and a warning says so.

        Raises StudioError ``signing_failed`` where the certificate may not sign now, or signing fails.
        """
        if (reason := self.certificate.refused(now())) is not None:
            _log.error("STUDIO_C2PA_CERTIFICATE: %s", reason)
            raise _failed("its certificate cannot be used")
        warning = None
        if self._tsa_url:
            if (stamped := self._stamped(data, mime_type, statement)) is not None:
                return Signed(stamped)
            warning = (
                "The time-stamping authority did not answer, so the content credentials have no time-stamp; readers "
                f"accept them until the certificate ends, on {self.certificate.ends:%Y-%m-%d}."
            )
        return Signed(_signed(self.certificate, data, mime_type, statement), warning)

    def _stamped(self, data: bytes, mime_type: str, statement: Statement) -> bytes | None:
        """Return the signed file with a time-stamp; None where the authority gives none in time."""
        if time.monotonic() < self._tsa_rests_until:
            return None
        try:
            return _within(TSA_S, lambda: _signed(self.certificate, data, mime_type, statement, self._tsa_url))
        except (StudioError, TimeoutError) as error:
            self._tsa_rests_until = time.monotonic() + TSA_PAUSE_S
            cause = error.__cause__ or error
            _log.warning("STUDIO_C2PA_TSA_URL gave no time-stamp (%s); it is left alone for a minute", cause)
            return None


def open_credentials(settings: Settings) -> Credentials | None:
    """Return the signer that the settings name; None where pictures are not signed. Raises CannotServe for settings
    that do not go together, for a certificate or key that is none, and where the extra is not installed.
    """
    chain, key, tsa = settings.c2pa_certificate, settings.c2pa_key.get_secret_value(), settings.c2pa_tsa_url
    if not (chain or key or tsa):
        return None
    if not (chain and key):
        lacking = "STUDIO_C2PA_KEY" if chain else "STUDIO_C2PA_CERTIFICATE"
        given = "STUDIO_C2PA_CERTIFICATE" if chain else "STUDIO_C2PA_KEY" if key else "STUDIO_C2PA_TSA_URL"
        raise CannotServe(
            f"{given} is set without {lacking}; set that too, or take it out: then pictures are not signed."
        )
    if tsa and (urlsplit(tsa).scheme not in {"http", "https"} or not urlsplit(tsa).hostname):
        raise CannotServe(
            "STUDIO_C2PA_TSA_URL is no address of a time-stamping authority; write one such as "
            "http://timestamp.example.com, or leave it empty."
        )
    try:
        import c2pa  # noqa: F401 - whether it is there
    except ImportError as error:
        raise missing(error) from error
    return Credentials(read_certificate(settings), tsa)


def _signed(certificate: Certificate, data: bytes, mime_type: str, statement: Statement, tsa_url: str = "") -> bytes:
    import c2pa

    info = c2pa.C2paSignerInfo(
        certificate.algorithm.encode(), certificate.chain.encode(), certificate.key.encode(), tsa_url.encode() or None
    )
    signed = io.BytesIO()
    try:
        with c2pa.Signer.from_info(info) as signer:
            builder = c2pa.Builder(dict(statement.manifest), c2pa.Context.from_dict(_CONTEXT))
            for about, each in statement.ingredients:
                builder.add_ingredient(dict(about), each.mime_type, io.BytesIO(each.data))
            builder.sign(signer, mime_type, io.BytesIO(data), signed)
    except c2pa.C2paError as error:
        raise _failed(f"c2pa refused it ({error})") from error
    return signed.getvalue()


def _failed(why: str) -> StudioError:
    message = f"The picture could not be signed with content credentials: {why}; 'qwen-image-studio doctor' tells more."
    return StudioError("signing_failed", message)


def _within(seconds: float, work: Callable[[], bytes]) -> bytes:
    """Return what the work returns, and raise what it raises. Raises TimeoutError where it takes longer; it is then
    left to itself, since nothing can end a call into the library.
    """
    done: queue.SimpleQueue[tuple[bytes | None, StudioError | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except StudioError as error:
            done.put((None, error))

    threading.Thread(target=run, daemon=True, name="time-stamp").start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if result is None:
        raise error or TimeoutError("no answer")
    return result


def read_back(signed: bytes, mime_type: str, certificate: Certificate) -> Mapping[str, Any]:
    """Return what c2pa's reader says of a signed file, where it trusts the top of the certificate's own chain. Raises
    StudioError ``signing_failed`` where there is nothing that it can read.
    """
    import c2pa

    top = "-----BEGIN" + certificate.chain.rsplit("-----BEGIN", 1)[1]
    trust = {"trust_anchors": top, "trust_config": "\n".join(PURPOSES)}
    context = {**_CONTEXT, "trust": trust, "verify": {**_CONTEXT["verify"], "verify_trust": True}}
    try:
        with c2pa.Reader(mime_type, io.BytesIO(signed), context=c2pa.Context.from_dict(context)) as reader:
            return dict(json.loads(reader.json()))
    except c2pa.C2paError as error:
        raise _failed(f"c2pa's reader refuses it ({error})") from error
