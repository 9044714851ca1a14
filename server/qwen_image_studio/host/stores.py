"""What ``doctor`` says of what several hosts may share: the database, the bell, the store of images, the workers."""

import time
from secrets import token_hex
from urllib.parse import urlsplit

from sqlalchemy import text

from qwen_image_studio.contract.errors import CannotServe, StudioError
from qwen_image_studio.contract.words import WorkerState
from qwen_image_studio.database.connection import Database
from qwen_image_studio.database.damage import revision_of, shown
from qwen_image_studio.gallery import check_store, open_files
from qwen_image_studio.host.report import Report
from qwen_image_studio.jobs.news import open_bell
from qwen_image_studio.jobs.workers import SILENT_S, Workers
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.health import FORGOTTEN_S

_SKEW_S = 1.0
"""Difference between the database's clock and this host's that is told, in seconds."""
_FULL = 0.8
"""Share of PostgreSQL's connections from which they are few."""
HEARD_S = 8.0
"""Time within which a bell has to be heard, in seconds; opening its line takes a part of that."""
_DOCTOR = "doctor"


def examine_database(report: Report, database: Database) -> None:
    """Say what the database is, how far away, how large, and whether it has room for more connections."""
    with database.reading() as connection:
        revision = revision_of(connection)
        version = ".".join(map(str, connection.dialect.server_version_info or ()))
        size = connection.execute(text(_SIZE[connection.dialect.name])).scalar_one()
        began = time.monotonic()
        connection.execute(text("SELECT 1"))
        trip_ms = (time.monotonic() - began) * 1000
    kind = "PostgreSQL" if database.is_postgresql else "SQLite"
    report.good(
        f"{kind} {version}, {shown(database.engine.url)}, revision {revision}, {size / 1e6:.1f} MB; it answers "
        f"within {trip_ms:.1f} ms"
    )
    if database.is_postgresql:
        _examine_clock(report, database)
        _examine_connections(report, database)


_SIZE = {
    # Of this schema alone: others may share the database.
    "postgresql": "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class "
    "WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'",
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
}


def _examine_clock(report: Report, database: Database) -> None:
    ahead_s = database.now() - time.time()
    if abs(ahead_s) > _SKEW_S:
        where = "ahead of" if ahead_s > 0 else "behind"
        report.note(
            f"the database's clock is {abs(ahead_s):.1f} s {where} this host's: jobs go by the database's, and links "
            "expire by this host's; set both by NTP"
        )


def _examine_connections(report: Report, database: Database) -> None:
    with database.reading() as connection:
        used, most = connection.execute(
            text(
                "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), "
                "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
            )
        ).one()
    said = f"{used} of its {most} connections are in use"
    if used > most * _FULL:
        report.bad(said, "raise max_connections of PostgreSQL, or put PgBouncer before it")
    else:
        report.good(said)


def examine_bell(report: Report, settings: Settings, database: Database) -> None:
    """Ring the bell, and say whether that is heard."""
    own = "NOTIFY of the database" if database.is_postgresql else "pipes in DATA_DIR/bells"
    split = urlsplit(settings.broker_url)
    name = f"{split.scheme}://{split.hostname}" if settings.broker_url else own
    try:
        bell = open_bell(settings, database)
    except (CannotServe, StudioError) as error:
        report.bad(f"the bell cannot be rung ({name})", str(error))
        return
    ear = bell.listen(_DOCTOR)
    word, deadline, began = token_hex(4), time.monotonic() + HEARD_S, time.monotonic()
    try:
        while True:
            bell.ring(_DOCTOR, {word})
            if word in ear.wait(0.5):
                report.good(f"the bell is heard: {name}, after {(time.monotonic() - began) * 1000:.0f} ms")
                return
            if time.monotonic() > deadline:
                break
    finally:
        ear.close()
        bell.close()
    report.bad(
        f"the bell is not heard: {name}; until it is, every process looks at the database once a second",
        "see that the broker runs and that STUDIO_BROKER_URL is right; the log line before this report says why"
        if settings.broker_url
        else "see that connections for LISTEN reach PostgreSQL itself, and not PgBouncer in transaction mode"
        if database.is_postgresql
        else "see that STUDIO_DATA_DIR is on a file system that has named pipes",
    )


def examine_storage(report: Report, settings: Settings) -> None:
    """Put, read and delete a file, and say where files are and how links lead to them."""
    split = urlsplit(settings.storage_url)
    is_local = split.scheme in {"", "file"}
    place = (split.path or str(settings.data_dir / "images")) if is_local else f"{split.scheme}://{split.netloc}"
    try:
        check_store(settings)
        if is_local:
            _try_local(settings)
    except CannotServe as error:
        report.bad(f"images cannot be kept in {place}", str(error))
        return
    except StudioError as error:
        remedy = "see that it runs, and that this host reaches it" if not is_local else "free some space there"
        report.bad(f"images cannot be kept in {place}: {error}", remedy)
        return
    links = "links lead to this server"
    if not is_local:
        links = f"links lead to it ({settings.storage_links})" if settings.storage_links == "redirect" else links
    if settings.cdn_url:
        signed = f"signed as {settings.cdn_signing} checks it" if settings.cdn_signing else "unsigned: all are public"
        links = f"links lead to {settings.cdn_url}, {signed}"
    report.good(f"images in {place}: a file was put, read and deleted; {links}")


def _try_local(settings: Settings) -> None:
    files, key = open_files(settings), f"trial-{token_hex(8)}"
    files.put(key, b"trial", "text/plain")
    files.open(key).stream.close()
    files.delete(key)


def examine_workers(report: Report, database: Database) -> None:
    """Say which workers of all hosts have reported, and how long ago."""
    now = database.now()
    for one in Workers(database).all():
        silent_s = max(0.0, now - one.seen_at)
        doing = f", {one.model} loaded" if one.model else ""
        said = f"worker {one.name} of {one.host or 'this host'}: {one.state}{doing}, reported {silent_s:.0f} s ago"
        if silent_s > FORGOTTEN_S:
            report.note(f"{said}; it is gone")
        elif silent_s > SILENT_S:
            report.note(f"{said}; lost, or its server was stopped")
        elif one.state is WorkerState.FAILED:
            report.bad(said, one.message or "its log says why")
        else:
            report.good(said)
