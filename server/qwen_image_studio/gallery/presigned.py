"""Presigned addresses (SigV4): who has one can GET one file of a private bucket until it expires.

They are signed for the beginning of the hour, which boto3's own presigning cannot do. The signature covers the method:
a HEAD is refused.
"""

import time
from typing import Any

from qwen_image_studio.gallery.direct import LONGEST_S, Address, this_hour
from qwen_image_studio.gallery.names import check_key, mime_type_of
from qwen_image_studio.gallery.s3 import S3Store, as_storage_failed

_UNKNOWN_S = 900
"""Time for which temporary credentials that do not tell their end are relied on at least, in seconds."""
_STEP_S = 300
_CACHED = f"private, max-age={LONGEST_S}, immutable"


class Presigned:
    """The addresses of files in one bucket."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def of(self, key: str, until: float, now: float) -> Address | None:
        """Return an address of the file, which shows it in the browser with its own type and name; None where the
        credentials end within minutes. Raises StudioError ``storage_failed``.
        """
        check_key(key)
        start, end = this_hour(now, until)
        with as_storage_failed():
            credentials = self._store.credentials
            if credentials is None:
                raise _no_credentials()
            keys = credentials.get_frozen_credentials()
            if keys.token is not None:
                # They differ at each renewal anyway, and a time before they were made might be refused.
                start, end = int(now), _end_with(credentials, now, end)
            if end - now < min(_STEP_S, int(until) - now):
                return None
            return Address(self._signed(key, keys, start, end), end)

    def _signed(self, key: str, keys: Any, start: int, end: int) -> str:
        from botocore.awsrequest import AWSRequest

        meta = self._store.client.meta
        request = AWSRequest(
            method="GET",
            url=self._store.bucket.address(meta.endpoint_url, key),
            params={
                "response-content-type": mime_type_of(key),
                "response-content-disposition": f'inline; filename="{key.rpartition("/")[2]}"',
                "response-cache-control": _CACHED,
            },
        )
        _signer(keys, meta.region_name, start, end).add_auth(request)
        return str(request.url)


def _signer(keys: Any, region: str, start: int, end: int) -> Any:
    """Return what signs a request for the time between two Unix seconds."""
    from botocore.auth import SIGV4_TIMESTAMP, S3SigV4QueryAuth

    class Dated(S3SigV4QueryAuth):  # type: ignore[misc] # botocore has no types
        """Signs for a time that is given."""

        def _modify_request_before_signing(self, request: Any) -> None:
            request.context["timestamp"] = time.strftime(SIGV4_TIMESTAMP, time.gmtime(start))
            super()._modify_request_before_signing(request)

    return Dated(keys, "s3", region, expires=end - start)


def _end_with(credentials: Any, now: float, end: int) -> int:
    """Return the end, or an earlier one where temporary credentials do not last so long."""
    if not hasattr(credentials, "refresh_needed"):  # fixed ones, from the environment or a file
        return min(end, int(now // _UNKNOWN_S + 2) * _UNKNOWN_S)
    while end > now and credentials.refresh_needed(refresh_in=end - now):
        end -= _STEP_S
    return end


def _no_credentials() -> Exception:
    from botocore.exceptions import NoCredentialsError

    return NoCredentialsError()  # type: ignore[no-any-return]
