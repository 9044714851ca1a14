"""``qwen-image-studio webhooks``: whom a key's callbacks go to, their secrets, and what has become of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

import click

from qwen_image_studio.commands.times import age, shown
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.post import check_address, post
from qwen_image_studio.guard.receivers import Receivers
from qwen_image_studio.jobs.news import DELIVERIES, DUE
from qwen_image_studio.jobs.outbox import Delivery
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.settings import Settings
from qwen_image_studio.worker.callback import trial


@click.group()
def webhooks() -> None:
    """Callbacks: addresses, secrets, and what has become of them."""


@contextmanager
def _receivers() -> Iterator[Receivers]:
    database = open_database(Settings())
    try:
        yield Receivers(database)
    finally:
        database.close()


@webhooks.command("set")
@click.argument("key")
@click.argument("url")
def set_address(key: str, url: str) -> None:
    """Tell URL of the end of each job of the API key KEY that names no address itself."""
    check_address(url, allow=Settings().webhook_allow, param="url")
    with _receivers() as receivers:
        receivers.set_address(key, url)
        click.echo(f"{key}: {url}\nIts secret: qwen-image-studio webhooks secret {key}")


@webhooks.command("unset")
@click.argument("key")
def unset_address(key: str) -> None:
    """Tell nobody of them any more; jobs that name an address themselves still do."""
    with _receivers() as receivers:
        receivers.set_address(key, None)


@webhooks.command("secret")
@click.argument("key", default="")
def secret(key: str) -> None:
    """Print the secret that signs the callbacks of KEY; without KEY, those of a server without keys."""
    with _receivers() as receivers:
        click.echo(receivers.secret(key))


@webhooks.command("rotate")
@click.argument("key", default="")
@click.option(
    "--overlap", "overlap_s", callback=age, default="24h", show_default=True, help="How long the old one signs, too."
)
def rotate(key: str, overlap_s: float) -> None:
    """Make a new secret for KEY and print it; meanwhile the old one signs as well, so that nothing is missed."""
    with _receivers() as receivers:
        click.echo(receivers.rotate(key, overlap_s))


@webhooks.command("list")
@click.option("--dead", is_flag=True, help="Only those that were given up.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many, newest first.")
def list_deliveries(dead: bool, limit: int) -> None:
    """List callbacks: id, time, event, job, host, state, tries, and how the last try ended."""
    with open_store(Settings()) as store:
        found, has_more = store.outbox.page(limit=limit, dead=dead)
        counts = store.outbox.counts()
    for delivery in found:
        click.echo(_line(delivery))
    more = " There are older ones: --limit." if has_more else ""
    click.echo(f"{counts.waiting} wait, {counts.dead} were given up.{more}", err=True)


def _line(delivery: Delivery) -> str:
    ended = delivery.error or (str(delivery.status) if delivery.status else "-")
    facts = (
        delivery.id,
        shown(delivery.created_at),
        delivery.event,
        delivery.job_id,
        delivery.host,
        delivery.state,
        delivery.tries,
        ended,
    )
    return "\t".join(map(str, facts))


@webhooks.command("resend")
@click.argument("ids", nargs=-1)
@click.option("--dead", is_flag=True, help="All that were given up.")
@click.option("--since", "since_s", callback=age, default="30d", show_default=True, help="With --dead: given up since.")
def resend(ids: tuple[str, ...], dead: bool, since_s: float) -> None:
    """Send callbacks again, by their IDS or all that were given up; a running server does so within a second."""
    if bool(ids) is dead:
        raise click.UsageError("Name the ids of callbacks, or --dead for all that were given up.")
    with open_store(Settings()) as store:
        now = store.database.now()
        again = store.outbox.resend_dead(now - since_s, now) if dead else store.outbox.resend(ids, now)
        store.bell.ring(DELIVERIES, {DUE})
    if ids and again < len(set(ids)):
        raise StudioError("not_found", f"{again} of these {len(set(ids))} are there; 'webhooks list' shows all.")
    click.echo(f"To send again: {again}.")


@webhooks.command("test")
@click.argument("target")
@click.option("--key", default="", help="With a URL: the API key whose secret signs it.")
def test(target: str, key: str) -> None:
    """Send a signed test event now to TARGET, the name of an API key or a URL, and say what came back."""
    settings = Settings()
    with _receivers() as receivers:
        name = key if "://" in target else target
        url = target if "://" in target else receivers.address(target)
        if url is None:
            raise StudioError(
                "invalid_value", f"The key '{target}' has no address; 'webhooks set {target} URL' sets it."
            )
        check_address(url, allow=settings.webhook_allow, param="url")
        receivers.secret(name)  # refuses a name that no key has
        body = trial(time.time())
        headers = receivers.signed(name, f"evt_{token_hex(12)}", body)
    answer = post(url, body, headers, timeout_s=settings.webhook_timeout_s, allow=settings.webhook_allow)
    if answer.status is None or not 200 <= answer.status < 300:
        outcome = answer.told if answer.status is None else f"it answered {answer.status}: {answer.told}"
        raise StudioError("url_not_fetched", f"The callback was not taken: {outcome}")
    click.echo(f"The callback was taken: it answered {answer.status}. {answer.told}".rstrip())
