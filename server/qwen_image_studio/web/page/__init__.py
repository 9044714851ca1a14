"""The studio page: a shell of HTML at ``/``, and its scripts, styles and icons below a hash of all of them.

They hold nothing that is anybody's: every datum comes through ``/v1``. All files are read and packed once, at start.
"""

import base64
import gzip
import hashlib
import json
import mimetypes
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flask import Blueprint, Flask, Response, current_app, request
from werkzeug.exceptions import NotFound

from qwen_image_studio.settings import Settings
from qwen_image_studio.web.routing import route

blueprint = Blueprint("page", __name__)

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
_EXTENSION = "qwen-image-studio-page"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".svg": "image/svg+xml"}
_YEAR_S = 365 * 86400
_COMMENT = re.compile(
    rb"/\*\*(?:[^*]|\*(?!/))*\*/[ \t]*|^[ \t]*//[^\n]*|(?<=[;{},>]) //[^\n'\"`]*$|[ \t]+$", re.MULTILINE
)
"""Pattern of a comment, and of the blanks that one leaves at the end of a line."""


@dataclass(frozen=True)
class Page:
    """The page of one application, as it is sent."""

    html: bytes
    policy: str
    """Value of Content-Security-Policy."""
    build: str
    """Hash of all files, part of their addresses."""
    files: Mapping[str, bytes]
    """Static files by their paths."""
    packed: Mapping[str, bytes]
    """The same files by gzip."""
    tags: Mapping[str, str]
    """Entity tags of the files by their paths, and of the HTML by an empty one."""


def open_page(settings: Settings) -> Page:
    """Return the page of a server with these settings."""
    files = read_files()
    digest = hashlib.sha256()
    for path, content in files.items():
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    build = digest.hexdigest()[:16]
    address = f"{urlsplit(settings.address).path}/static/{build}"
    imports = _import_map(address)
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    html = html.replace("{static}", address).replace("{imports}", imports)
    packed = {path: pack(content) for path, content in files.items()}
    shell = html.encode()
    tags = {path: hashlib.sha256(content).hexdigest()[:32] for path, content in {**files, "": shell}.items()}
    return Page(shell, policy_of(imports, settings), build, files, packed, tags)


def read_files() -> Mapping[str, bytes]:
    """Return what is sent of every static file, by their paths."""
    return {file.relative_to(STATIC).as_posix(): _sent(file) for file in sorted(STATIC.rglob("*")) if file.is_file()}


def _sent(file: Path) -> bytes:
    """Return what is sent of a file: our own scripts go without their comments, a quarter of them, and keep their
    lines, so that the browser's errors name those of the file. tests/page/test_sent.py holds that nothing else changes.
    """
    content = file.read_bytes()
    if not file.is_relative_to(STATIC / "js"):
        return content
    return _COMMENT.sub(lambda found: b"\n" * found[0].count(b"\n"), content)


def pack(content: bytes) -> bytes:
    """Return a file by gzip, the same bytes each time."""
    return gzip.compress(content, mtime=0)


def _import_map(address: str) -> str:
    """Return the import map: addresses of the libraries by the names under which they import each other."""
    table = tomllib.loads((FOLDER / "vendor.toml").read_text(encoding="utf-8"))
    named = {
        bare: f"{address}/vendor/{Path(file).name}"
        for library in table["library"]
        for bare, file in zip(library["bare"], library["files"], strict=True)
    }
    return json.dumps({"imports": named})


def policy_of(imports: str, settings: Settings) -> str:
    """Return the page's content security policy (CSP level 3, Trusted Types): nothing runs but its own files and this
    import map, and no text becomes markup.
    """
    hashed = base64.b64encode(hashlib.sha256(imports.encode()).digest()).decode()
    framed = " ".join(settings.frame_ancestors) or "'none'"
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' 'sha256-{hashed}'",
            "style-src 'self'",
            "img-src 'self' blob:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            f"frame-ancestors {framed}",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def serve_page(app: Flask, settings: Settings) -> None:
    """Have the application serve the page."""
    app.extensions[_EXTENSION] = open_page(settings)
    app.register_blueprint(blueprint)


def _page() -> Page:
    page: Page = current_app.extensions[_EXTENSION]
    return page


@route(blueprint, "GET", "/", returns={200: "text/html", 304: None}, needs_key=False)
def index() -> Response:
    """Get the studio page."""
    page = _page()
    response = Response(page.html, mimetype="text/html")
    response.headers["Content-Security-Policy"] = page.policy
    response.headers["Cache-Control"] = "no-cache"  # so that a new version is seen at once; an equal one costs no bytes
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return _own(response, page.tags[""])


@route(
    blueprint,
    "GET",
    "/static/<build>/<path:path>",
    returns={200: "*/*", 304: None},
    errors=("not_found",),
    needs_key=False,
)
def static(build: str, path: str) -> Response:
    """Get a script, style or icon of the studio page; what an address holds never changes."""
    page = _page()
    content = page.files.get(path) if build == page.build else None
    if content is None:
        raise NotFound
    kind = _TYPES.get(Path(path).suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
    packs = request.accept_encodings.quality("gzip") > 0
    response = Response(page.packed[path] if packs else content, mimetype=kind)
    if packs:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = f"public, max-age={_YEAR_S}, immutable"
    return _own(response, page.tags[path])


def _own(response: Response, tag: str) -> Response:
    """Keep a file of the page to the page, and send none that the browser has already (If-None-Match)."""
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.set_etag(tag, weak=True)  # the same whether it travels compressed or not
    if request.if_none_match.contains_weak(tag):
        response.status_code, response.data = 304, b""
    return response
