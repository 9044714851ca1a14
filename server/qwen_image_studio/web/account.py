"""A key and its people over HTTP: who asks and what that one may, and what was used."""

from collections.abc import Sequence

from flask import Blueprint, Response, g

from qwen_image_studio.contract.account import (
    KeyList,
    KeysQuery,
    KeyView,
    LimitsView,
    LimitView,
    MeQuery,
    MeView,
    PersonView,
    UsageList,
    UsageQuery,
)
from qwen_image_studio.contract.caller import person_of
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.limits import Limits
from qwen_image_studio.contract.sheets import CSV
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.guard.keys import ApiKey
from qwen_image_studio.jobs.costs import as_sheet
from qwen_image_studio.jobs.limits import Use
from qwen_image_studio.web.auth import caller
from qwen_image_studio.web.routing import route, services, wants_csv

blueprint = Blueprint("account", __name__, url_prefix="/v1")


@route(blueprint, "GET", "/me", guests=True)
def me(query: MeQuery) -> MeView:
    """Tell who asks: the key's owner, what it may do, and its limits with what is left of them.

    With `user`, also the limits of that person of the key. A guest, who came by a link to one image, is told of that.
    """
    who, session = caller(), g.get("session")
    guest, store = who.guest, services().store
    sought = query.user if guest is None else guest.user
    person = None if sought is None and guest is None else person_of(sought)
    uses = store.allowance.uses(who, person, store.database.now(), with_free=True)
    of_person = [use for use in uses if use.of_person]
    can = [scope for scope in Scope if scope in who.scopes]
    if guest is not None:
        return MeView(
            kind="guest",
            owner="",
            key=None,
            session=True,
            image_id=guest.image_id,
            expires_at=guest.expires_at,
            jobs_left=max(0, guest.jobs - store.guests.used(guest)),
            can=can,
            limits=_limits(who.limits.person, of_person),
            person=None,
        )
    return MeView(
        kind="loopback" if who.key is None else "key",
        owner=who.owner,
        key=who.key,
        session=session is not None,
        expires_at=None if session is None else session.expires_at,
        can=can,
        limits=_limits(who.limits.key, [use for use in uses if not use.of_person]),
        person=None if person is None else PersonView(person=person, limits=_limits(who.limits.person, of_person)),
    )


def _limits(limits: Limits, uses: Sequence[Use]) -> LimitsView:
    counted = {
        use.name: LimitView(limit=use.limit, used=use.used, left=use.left, resets_at=use.resets_at) for use in uses
    }
    return LimitsView(**counted, max_pixels=limits.max_pixels, max_steps=limits.max_steps)


@route(blueprint, "GET", "/keys", errors=("not_found",), scope=Scope.OPERATE)
def keys(query: KeysQuery) -> KeyList:
    """List the API keys of the server, revoked ones last: whose they are, what they may do, and their limits with what
    is left of them. The keys themselves are known to nobody but those who have them.
    """
    found = sorted(services().keys.all(), key=lambda key: key.revoked_at is not None)
    names = [key.name for key in found]
    if query.after is not None and query.after not in names:
        raise StudioError("not_found", f"after: there is no API key '{query.after}'; send the name of the last one.")
    begin = 0 if query.after is None else names.index(query.after) + 1
    page, end = found[begin : begin + query.limit], begin + query.limit
    return KeyList(data=[_key(each) for each in page], has_more=end < len(found))


def _key(key: ApiKey) -> KeyView:
    store = services().store
    now = store.database.now()
    rotating = key.revoked_at is None and key.old_until is not None and key.old_until > now
    return KeyView(
        name=key.name,
        owner=key.owner,
        can=[scope for scope in Scope if scope in key.scopes],
        policy=key.policy,
        limits=_limits(key.limits.key, store.allowance.uses(key.caller, None, now, with_free=True)),
        limits_of_each_person=dict(key.limits.person.by_name()),
        created_at=key.created_at,
        revoked_at=key.revoked_at,
        rotating_until=key.old_until if rotating else None,
    )


@route(blueprint, "GET", "/usage", returns=UsageList, also=CSV)
def usage(query: UsageQuery) -> UsageList | Response:
    """Add up pictures, painted megapixel-steps and device seconds by month, key, person and model.

    A key sees what its owner used, one with the scope `operate` what all did. As CSV with `Accept: text/csv` or
    `format=csv`. What was used stays when jobs are deleted.
    """
    who = caller()
    owner = None if Scope.OPERATE in who.scopes else who.owner
    store = services().store
    costs = store.costs.added_up(store.database.now(), query.groups, month=query.month, owner=owner)
    if wants_csv(query.format):
        return Response(as_sheet(costs), mimetype=CSV)
    return UsageList(data=costs)
