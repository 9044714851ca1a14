"""Moving a server: the rows of its database and the files of its images, to where the settings keep them now.

The source is only read, and whatever runs on it is refused or waits. A move that was cut off goes on when it is run
again: rows that are there are compared, and so are files. Only at its end can a server open the target.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import parse_qs, unquote, urlsplit

from sqlalchemy import Connection, make_url

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.copying import Copied, Copying, installation_of
from qwen_image_studio.gallery.copying import CopiedFiles, Named, check_owner, compare_files, copy_files
from qwen_image_studio.gallery.gallery import open_files
from qwen_image_studio.gallery.store import FileStore
from qwen_image_studio.host.source import held_still, named_files, named_previews, refuse_served, stopped
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.secret_key import take_over

Tell = Callable[[str, int, int], None]
"""Told how far a move is: of what, how many are done, and how many there are."""
_SCRATCH = ".move-"


@dataclass(frozen=True)
class Moved:
    """What was moved, or compared."""

    rows: Copied | None
    """None where the database stays."""
    files: CopiedFiles | None
    """None where the files stay."""
    advice: str = ""
    """What is left to do about the key that signs links; empty where nothing is."""

    @property
    def is_whole(self) -> bool:
        """Return whether the target has all that the source has."""
        return not (self.rows and self.rows.differing) and not (self.files and self.files.differing)


def move(settings: Settings, source: Settings, tell: Tell, *, check: bool = False) -> Moved:
    """Move what `source` names to where `settings` keep it; with `check`, only compare.

    Raises CannotServe, before anything is changed, where a server runs on either, where the target has the data of
    another, and where both are the same.
    """
    rows, files = database_place(source) != database_place(settings), files_place(source) != files_place(settings)
    if not rows and not files:
        raise CannotServe(
            "There is nothing to move: database and images are where the settings say. Set STUDIO_DATABASE_URL, "
            "STUDIO_STORAGE_URL or STUDIO_DATA_DIR to where they are to go, and name the folder in which they are."
        )
    with stopped(source.data_dir, settings.data_dir), _scratch(settings.data_dir) as scratch:
        with held_still(source, scratch) as connection:
            moving = _Moving(settings, source, connection, tell)
            if check:
                return moving.compare(rows=rows, files=files)
            return moving.run(rows=rows, files=files)


@contextmanager
def _scratch(data_dir: Path) -> Iterator[Path]:
    """Make a folder in the data folder for the block; what a move that was cut off has left goes."""
    for left in data_dir.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left)
    folder = Path(mkdtemp(prefix=_SCRATCH, dir=data_dir))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class _Moving:
    """One move that is under way; `connection` reads the source."""

    def __init__(self, settings: Settings, source: Settings, connection: Connection, tell: Tell) -> None:
        self._settings, self._source, self._tell = settings, source, tell
        self._connection = connection

    def run(self, *, rows: bool, files: bool) -> Moved:
        """Copy the files, and then the rows; a server can open the target's database only after both."""
        with self._copying(rows) as copying:
            if files:
                check_owner(open_files(self._settings), *self._named())
            if copying is not None:
                copying.begin()
            advice = take_over(self._settings, self._source.data_dir)
            copied = copy_files(*self._stores(), *self._named(), self._tell_files) if files else None
            return Moved(copying.run() if copying is not None else None, copied, advice)

    def compare(self, *, rows: bool, files: bool) -> Moved:
        """Compare rows and files."""
        with self._copying(rows) as copying:
            compared = copying.compare() if copying is not None else None
            return Moved(compared, compare_files(*self._stores(), *self._named(), self._tell_files) if files else None)

    @contextmanager
    def _copying(self, rows: bool) -> Iterator[Copying | None]:
        """Open the target's database, where rows are moved."""
        if not rows:
            yield None
            return
        with closing(Database(self._settings)) as target:
            refuse_served(target)
            yield Copying(self._connection, target, self._tell)

    def _stores(self) -> tuple[FileStore, FileStore]:
        return open_files(self._source), open_files(self._settings)

    def _named(self) -> tuple[Named, str]:
        named = named_files(self._connection) | named_previews(self._connection)
        return named, installation_of(self._connection)

    def _tell_files(self, done: int, in_all: int) -> None:
        self._tell("files", done, in_all)


# -- which place is which ------------------------------------------------------------------------------------------


def database_place(settings: Settings) -> tuple[object, ...]:
    """Return what is the same for two settings whose database is the same."""
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite":
        return ("sqlite", Path(url.database or "").resolve())
    return (url.get_backend_name(), url.host, url.port or 5432, url.database, url.query.get("options"))


def files_place(settings: Settings) -> tuple[object, ...]:
    """Return what is the same for two settings whose image files are the same."""
    url = urlsplit(settings.storage_url)
    if url.scheme in {"", "file"}:
        folder = Path(unquote(url.path)) if url.path else settings.data_dir / "images"
        return ("file", folder.resolve())
    return (url.scheme, url.netloc, url.path.strip("/"), tuple(parse_qs(url.query).get("endpoint", ())))
