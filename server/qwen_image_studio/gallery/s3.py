"""A file store in a bucket of an object store that speaks S3: AWS, Aliyun OSS, MinIO and others.

boto3 is imported when the first file is put or opened, so a server with files on its own disk neither needs nor loads
it. A put is one request with the whole file: stores show whole objects only, and one whose sender dies is never seen.
"""

import io
import logging
import mimetypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import IO, Any

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.gallery.bucket import Bucket, bucket_of
from qwen_image_studio.gallery.direct import HOUR_S
from qwen_image_studio.gallery.names import check_key, no_such_image
from qwen_image_studio.gallery.store import StoredFile
from qwen_image_studio.settings import Settings

PIECE_BYTES = 64 * 1024
CACHED = f"max-age={HOUR_S}, immutable"
"""What every file says of itself to caches. A CDN forgets a deleted picture within the hour; `private` would keep it
from caching at all.
"""
_CONNECTIONS = 64
_READS = 2
"""Requests for the same place in a file, the first included, before a reader gives up."""
_THERE_IS_ONE = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_NO_CONDITIONS = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "501", "400"})
"""Codes of stores that know no conditional put."""
_TEMPORARY = {
    "EndpointConnectionError": "it cannot be reached",
    "ConnectTimeoutError": "it cannot be reached",
    "ConnectionClosedError": "it closed the connection",
    "ReadTimeoutError": "it did not answer in time",
    "ProxyConnectionError": "the proxy cannot be reached",
    "NoCredentialsError": "there are no credentials for it",
    "CredentialRetrievalError": "its credentials cannot be had",
}


class S3Store:
    """The files below the prefix of one bucket."""

    def __init__(self, bucket: Bucket, access_key: str = "", secret_key: str = "") -> None:
        """Without keys, credentials are found as AWS's own tools find them. Nothing is connected to yet."""
        self.bucket, self._keys = bucket, (access_key, secret_key)
        self._lock = threading.Lock()
        self._session: Any = None
        self._client: Any = None

    def put(self, key: str, data: bytes, mime_type: str) -> None:
        """Store ``data`` under ``key``; it is durable when the store has answered."""
        self._put(check_key(key), data, mime_type)

    def put_once(self, key: str, data: bytes, mime_type: str) -> bool:
        """Store ``data`` under a key that has no file yet; return whether it was stored. Of two that try at the same
        time one is refused, where the store knows conditional puts; else the later one wins.
        """
        if self._finds("head_object", check_key(key)):
            return False
        try:
            self._put(key, data, mime_type, IfNoneMatch="*")
        except StudioError as error:
            if code_of(error) in _THERE_IS_ONE:
                return False
            if code_of(error) not in _NO_CONDITIONS:
                raise
            self._put(key, data, mime_type)
        return True

    def open(self, key: str) -> StoredFile:
        """Open the file that was put under ``key``."""
        return self._opened(check_key(key))

    def delete(self, key: str) -> None:
        """Delete the file; a missing one is no error. A bucket with versions keeps the earlier ones."""
        self._finds("delete_object", check_key(key))

    def keys(self) -> Iterator[tuple[str, float]]:
        """Yield the key of every file, and when it was stored by the store's clock, in Unix seconds; a page of the
        list at a time is in memory.
        """
        with as_storage_failed():
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket.name, Prefix=self.bucket.prefix):
                for each in page.get("Contents", ()):
                    yield each["Key"].removeprefix(self.bucket.prefix), each["LastModified"].timestamp()

    @property
    def client(self) -> Any:
        """The client of this process. Raises the errors of botocore."""
        with self._lock:
            if self._client is None:
                self._connect()
            return self._client

    @property
    def credentials(self) -> Any:
        """The credentials that the client signs with; those of a role renew themselves. None where there are none."""
        _ = self.client
        return self._session.get_credentials()

    def _connect(self) -> None:
        import boto3
        from botocore.config import Config

        logging.getLogger("botocore").setLevel(logging.WARNING)  # in finer detail it writes signatures
        access_key, secret_key = (each or None for each in self._keys)
        session = boto3.session.Session(access_key, secret_key, region_name=self.bucket.region)
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": self.bucket.style.value},
            # Checksums of newer versions make some requests of a form that other stores refuse.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=2,
            read_timeout=10,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=_CONNECTIONS,
        )
        self._client = session.client("s3", endpoint_url=self.bucket.endpoint, config=config)
        self._session = session

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket.name, "Key": f"{self.bucket.prefix}{key}"}

    def _put(self, key: str, data: bytes, mime_type: str, **condition: str) -> None:
        kind = mime_type or "application/octet-stream"
        with as_storage_failed():
            self.client.put_object(**self._place(key), Body=data, ContentType=kind, CacheControl=CACHED, **condition)

    def _finds(self, call: str, key: str) -> bool:
        """Make a call about a file; return whether there is one, as far as the store tells."""
        try:
            with as_storage_failed():
                getattr(self.client, call)(**self._place(key))
        except StudioError as error:
            if error.code != "not_found":
                raise
            return False
        return True

    def _opened(self, key: str) -> StoredFile:
        with as_storage_failed():
            found = self.client.get_object(**self._place(key))
        tag, size = found["ETag"], int(found["ContentLength"])

        def again(at: int) -> Any:
            with as_storage_failed():
                asked = self.client.get_object(**self._place(key), Range=f"bytes={at}-", IfMatch=tag)
            return asked["Body"]

        stream: IO[bytes] = io.BufferedReader(_Reader(found["Body"], size, again), PIECE_BYTES)
        kind = mimetypes.guess_type(key)[0] or found.get("ContentType") or "application/octet-stream"
        return StoredFile(stream, size, tag.removeprefix("W/").strip('"'), kind)


class _Reader(io.RawIOBase):
    """The bytes of an object: one request from the place where reading begins, and another after each jump."""

    def __init__(self, body: Any, size: int, again: Callable[[int], Any]) -> None:
        """`body` is the object from its beginning; `again` asks for it from a place on, as long as it is the same."""
        self._body, self._size, self._again = body, size, again
        self._at = 0

    def readable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return true."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; nothing is asked for before it is read."""
        to = offset + (0, self._at, self._size)[whence]
        if to < 0:
            raise ValueError(f"position {to} is before the beginning")
        if to != self._at:
            self._drop()
        self._at = to
        return to

    def readinto(self, buffer: Any) -> int:
        """Read some bytes. Raises StudioError ``storage_failed``."""
        if not len(buffer) or self._at >= self._size:
            return 0
        piece = self._read(min(len(buffer), self._size - self._at))
        buffer[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        """Read what is left. Raises StudioError ``storage_failed``."""
        pieces = []
        while self._at < self._size:
            pieces.append(self._read(self._size - self._at))
        return b"".join(pieces)

    def close(self) -> None:
        """Let go of the connection."""
        self._drop()
        super().close()

    def _read(self, most: int) -> bytes:
        """Read at least a byte; where the connection breaks, from the same place anew."""
        for reads in range(_READS, 0, -1):
            try:
                with as_storage_failed():
                    if self._body is None:
                        self._body = self._again(self._at)
                    piece: bytes = self._body.read(most)
                    if not piece:
                        raise ConnectionError("the answer ended too early")
            except StudioError as error:
                self._drop()
                if reads == 1 or error.code != "storage_failed" or code_of(error):
                    raise
            else:
                self._at += len(piece)
                return piece
        raise AssertionError("the last read returns or raises")

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()


def open_s3(settings: Settings) -> S3Store:
    """Open the bucket that STUDIO_STORAGE_URL names, without asking for it yet. Raises CannotServe where the settings
    or the packages do not do.
    """
    bucket = bucket_of(settings.storage_url)
    access_key = settings.storage_access_key.get_secret_value()
    secret_key = settings.storage_secret_key.get_secret_value()
    if bool(access_key) != bool(secret_key):
        missing = "STUDIO_STORAGE_SECRET_KEY" if access_key else "STUDIO_STORAGE_ACCESS_KEY"
        raise CannotServe(f"{missing} is empty; set both keys of the object store, or neither.")
    if find_spec("boto3") is None:
        raise CannotServe(
            "STUDIO_STORAGE_URL: object stores need boto3, which is not installed; pip install 'qwen-image-studio[s3]'."
        )
    return S3Store(bucket, access_key, secret_key)


# -- errors --------------------------------------------------------------------------------------------------------


@contextmanager
def as_storage_failed() -> Iterator[None]:
    """Raise StudioError ``not_found`` for a missing file, and ``storage_failed`` for all else that a store or the way
    to it does. What the store writes is left out, since it may repeat what was signed.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        if _is_missing(error):
            raise no_such_image() from None
        raise _failed(reason_of(error)) from error
    except (BotoCoreError, HTTPError, OSError, RuntimeError) as error:  # RuntimeError: expired credentials
        raise _failed(_TEMPORARY.get(type(error).__name__, type(error).__name__)) from error


def code_of(error: BaseException) -> str:
    """Return the store's code behind an error, such as AccessDenied; empty where it gave no answer."""
    answer = getattr(error.__cause__ or error, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def reason_of(error: Any) -> str:
    """Return what a store answered, in a few words."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "no status")
    code = str(error.response.get("Error", {}).get("Code", ""))[:60]
    return f"HTTP {status}" if code in {"", str(status)} else f"{code}, HTTP {status}"


def _is_missing(error: Any) -> bool:
    return error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404", "NotFound", "NoSuchVersion"}


def _failed(reason: str) -> StudioError:
    return StudioError("storage_failed", f"The image store failed ({reason}). Try again later.")
