"""The trial of an object store before a server starts: list, put, read a part, delete; what is wrong in one line."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.gallery.s3 import S3Store, as_storage_failed, code_of

RIGHTS = "s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject on its files"
_DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden", "MethodNotAllowed"})
_UNKNOWN_KEYS = frozenset({
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidSecurity",
    "InvalidSecurityToken",
})  # fmt: skip
_ELSEWHERE = frozenset({
    "PermanentRedirect", "TemporaryRedirect", "301", "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
})  # fmt: skip
_WITHOUT_KEYS = frozenset({
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound",
    "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError",
})  # fmt: skip
_CONTENT = b"A trial of Qwen-Image Studio; it may be deleted."


def try_store(store: S3Store) -> None:
    """Do once what a server does with its store.

    Raises CannotServe where the store or the settings have to be changed, and StudioError ``storage_failed`` where the
    store only does not answer now.
    """
    key = f"trial-{secrets.token_hex(8)}"
    steps: dict[str, Callable[[], None]] = {
        "list the files": lambda: _look(store),
        "put a file": lambda: store.put(key, _CONTENT, "text/plain"),
        "read a file": lambda: _read_part(store, key),
        "delete a file": lambda: store.delete(key),
    }
    for doing, call in steps.items():
        try:
            call()
        except StudioError as error:
            with suppress(StudioError):
                store.delete(key)
            _explain(error, doing, store)


def _look(store: S3Store) -> None:
    """List one page of files, and compare the region that the store tells."""
    with as_storage_failed():
        answer = store.client.list_objects_v2(Bucket=store.bucket.name, Prefix=store.bucket.prefix, MaxKeys=1)
        signed_for = store.client.meta.region_name
    region = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
    if region and region != signed_for:
        raise _wrong_region(store, region)


def _read_part(store: S3Store, key: str) -> None:
    with store.open(key).stream as stream:
        stream.seek(2)
        if stream.read(5) != _CONTENT[2:7]:
            raise CannotServe(
                f"STUDIO_STORAGE_URL: {_named(store)} gives back other bytes than were put, or knows no ranges; use "
                "another store."
            )


def _explain(error: StudioError, doing: str, store: S3Store) -> NoReturn:
    """Raise CannotServe for what waiting does not mend, and the error itself for the rest."""
    code, cause, bucket = code_of(error), error.__cause__, _named(store)
    if code == "NoSuchBucket":
        message = f"there is no {bucket}; create it, or correct the name, endpoint or region"
    elif code in _ELSEWHERE:
        raise _wrong_region(store, _told_region(cause)) from error
    elif code in _UNKNOWN_KEYS:
        message = (
            f"{bucket} does not accept the credentials ({code}); correct STUDIO_STORAGE_ACCESS_KEY and "
            "STUDIO_STORAGE_SECRET_KEY, or what AWS's own tools find"
        )
    elif code in _DENIED:
        message = f"the credentials may not {doing} in {bucket} ({code}); allow {RIGHTS}"
    elif code == "RequestTimeTooSkewed":
        message = f"the clock of this machine is too far from that of {bucket}; set it (NTP)"
    elif type(cause).__name__ in _WITHOUT_KEYS:
        message = (
            f"there are no credentials for {bucket} ({type(cause).__name__}); set STUDIO_STORAGE_ACCESS_KEY and "
            "STUDIO_STORAGE_SECRET_KEY, or give the machine a role"
        )
    elif type(cause).__name__ == "SSLError":
        message = f"the certificate of {bucket} is not trusted; correct the endpoint, or set AWS_CA_BUNDLE"
    elif error.code == "not_found":
        message = f"{bucket} does not have a file that was just put; use a store that shows files at once"
    else:
        raise error
    raise CannotServe(f"STUDIO_STORAGE_URL: {message}.") from error


def _wrong_region(store: S3Store, region: str) -> CannotServe:
    there = f"lies in the region {region}; write region={region}" if region else "lies in another region; correct it"
    return CannotServe(f"STUDIO_STORAGE_URL: {_named(store)} {there}.")


def _told_region(cause: Any) -> str:
    answer = getattr(cause, "response", {})
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(answer.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region") or "")


def _named(store: S3Store) -> str:
    where = f" at {store.bucket.endpoint}" if store.bucket.endpoint else ""
    return f"bucket '{store.bucket.name}'{where}"
