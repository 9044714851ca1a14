"""Content credentials, checked before the server starts and by ``doctor``: certificate, key, clock and a trial."""

import logging
from contextlib import closing
from datetime import datetime, timedelta

from PIL import Image

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.credentials import Credentials, Signed, made, open_credentials
from qwen_image_studio.credentials.certificate import now
from qwen_image_studio.credentials.signing import read_back
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.host.report import Report
from qwen_image_studio.imaging import encode
from qwen_image_studio.settings import Settings

_log = logging.getLogger(__name__)

SOON = timedelta(days=30)
"""How long before its end a certificate is warned of."""
CLOCK_S = 60.0
"""Seconds by which this machine's clock may differ from another before it is named."""
_FACTS = {"model": "trial"}


def check_credentials(settings: Settings) -> None:
    """Raise CannotServe where pictures are to be signed and cannot be: wrong settings, a certificate that may not sign
    now, or a trial picture that c2pa's own reader refuses. One that ends soon is named in the log.
    """
    if (credentials := open_credentials(settings)) is None:
        return
    certificate = credentials.certificate
    if (reason := certificate.refused(now())) is not None:
        raise CannotServe(f"STUDIO_C2PA_CERTIFICATE ({certificate.subject}) cannot sign: {reason}.")
    try:
        state, told = tried(credentials)
    except StudioError as error:
        raise CannotServe(f"STUDIO_C2PA_CERTIFICATE ({certificate.subject}) cannot sign: {error.message}") from error
    if state == "Invalid":
        raise CannotServe(f"STUDIO_C2PA_CERTIFICATE ({certificate.subject}): a trial is refused by readers: {told}.")
    if (sentence := ends_soon(credentials, now())) is not None:
        _log.warning("STUDIO_C2PA_CERTIFICATE: %s", sentence)


def examine_credentials(report: Report, settings: Settings) -> None:
    """Add what there is to say of the operator's certificate, and of the clocks by which it counts."""
    report.head("Content credentials")
    try:
        credentials = open_credentials(settings)
    except CannotServe as error:
        report.bad(str(error), "docs/credentials.md says how to set them up")
        return
    if credentials is None:
        report.note("pictures are not signed (STUDIO_C2PA_CERTIFICATE and STUDIO_C2PA_KEY have them signed)")
        return
    certificate = credentials.certificate
    report.good(
        f"signs as {certificate.subject}, {certificate.algorithm}; certificate and key belong together; valid from "
        f"{certificate.begins:%Y-%m-%d} to {certificate.ends:%Y-%m-%d}"
    )
    _examine_dates(report, credentials)
    if certificate.refused(now()) is None:
        _examine_trial(report, credentials)
    _examine_clock(report, settings)
    if settings.c2pa_tsa_url:
        _examine_time_stamp(report, Credentials(certificate, settings.c2pa_tsa_url))
    else:
        report.note("no time-stamps: readers refuse the pictures once the certificate has ended (STUDIO_C2PA_TSA_URL)")


def tried(credentials: Credentials) -> tuple[str, str]:
    """Sign a grey picture of each kind of file and read it back; return c2pa's word for the worst, and why.

    Raises StudioError ``signing_failed``.
    """
    signer = Credentials(credentials.certificate)
    states: dict[str, str] = {}
    for each in OutputFormat:
        signed = _trial(signer, each)
        said = read_back(signed.data, each.mime_type, credentials.certificate)
        reasons = [str(one.get("explanation", one["code"])) for one in said.get("validation_status", ())]
        states[str(said["validation_state"])] = "; ".join(dict.fromkeys(reasons))
    worst = next(each for each in ("Invalid", "Valid", "Trusted") if each in states)
    return worst, states[worst]


def _trial(signer: Credentials, output_format: OutputFormat) -> Signed:
    plain = encode(Image.new("RGB", (64, 64), "gray"), output_format, _FACTS)
    return signer.signed(plain, output_format.mime_type, made(_FACTS, paints=True))


def ends_soon(credentials: Credentials, moment: datetime) -> str | None:
    """Return a sentence where the certificate ends within a month; None otherwise."""
    ends = credentials.certificate.ends
    if not moment <= ends <= moment + SOON:
        return None
    return f"it ends on {ends:%Y-%m-%d}, and from then on no picture can be made; renew it in time"


def _examine_dates(report: Report, credentials: Credentials) -> None:
    for fault in credentials.certificate.faults:
        report.bad(f"the certificate: {fault}", "have one made for signing C2PA claims: docs/credentials.md")
    refused = credentials.certificate.refused(now())
    if refused and refused not in credentials.certificate.faults:
        report.bad(f"the certificate: {refused}", "renew it, or set this machine's clock")
    elif sentence := ends_soon(credentials, now()):
        report.note(f"the certificate: {sentence}")


def _examine_trial(report: Report, credentials: Credentials) -> None:
    try:
        state, told = tried(credentials)
    except StudioError as error:
        report.bad(error.message, "have the certificate made for signing C2PA claims: docs/credentials.md")
        return
    if state == "Invalid":
        report.bad(f"a trial is refused by c2pa's reader: {told}", "docs/credentials.md says what it asks for")
    elif state == "Valid":
        report.note(
            f"a trial is signed and read back; there is no authority's certificate in the chain to hold it to ({told})"
        )
    else:
        report.good("a trial PNG, JPEG and WebP are signed, and read back by c2pa as trusted by the chain's own top")
    report.note("whether strangers trust it is decided by their lists, such as C2PA's trust list")


def _examine_clock(report: Report, settings: Settings) -> None:
    """Compare clocks: signatures count by this machine's, where no authority stamps them."""
    if settings.database.startswith("sqlite"):
        report.note(f"this machine's clock says {now():%Y-%m-%d %H:%M:%S} UTC; no other is here to compare it with")
        return
    try:
        with closing(open_database(settings)) as database:
            apart = database.now() - now().timestamp()
    except (CannotServe, StudioError):  # the section on the database says what is wrong with it
        return
    if abs(apart) > CLOCK_S:
        report.bad(f"this machine's clock and the database's are {abs(apart):.0f} s apart", "set them by NTP")
    else:
        report.good(f"this machine's clock and the database's are {abs(apart):.1f} s apart")


def _examine_time_stamp(report: Report, credentials: Credentials) -> None:
    try:
        stamped = _trial(credentials, OutputFormat.PNG)
        said = read_back(stamped.data, "image/png", credentials.certificate)
    except StudioError as error:
        report.bad(error.message, "correct the certificate first")
        return
    if stamped.warning is not None:
        report.bad("the time-stamping authority does not answer", "correct STUDIO_C2PA_TSA_URL, or leave it empty")
        return
    told = str(said["manifests"][said["active_manifest"]]["signature_info"].get("time", ""))
    report.good(f"the time-stamping authority answers: {told}")
    apart = abs((datetime.fromisoformat(told) - now()).total_seconds()) if told else 0.0
    if apart > CLOCK_S:
        report.bad(f"this machine's clock and the authority's are {apart:.0f} s apart", "set this machine's by NTP")
