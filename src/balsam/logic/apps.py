"""Apps: registering and changing them, and the versions that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from balsam.core import digest
from balsam.core.clock import now_us
from balsam.core.errors import Conflict, NotFound
from balsam.core.limits import KEPT_VERSIONS
from balsam.schemas.apps import AppCreate, AppUpdate
from balsam.store import app_versions, apps, jobs, sessions, sites
from balsam.store.apps import AppFilter
from balsam.store.database import Tx
from balsam.store.jobs import JobFilter
from balsam.store.owner import Owner
from balsam.store.paging import Page

Row = dict[str, Any]
# May be null on purpose: "all hooks may exist", "unknown serializer".
_NULLABLE = {"hooks", "serializer"}
_OF_VERSION = {"parts", "synced_by"}
# Another value of one of these is other code, where a client tells no digest.
_CODE = ("serialized_class", "source_code", "parameters", "transfers", "isolate", "serializer")


def register(tx: Tx, owner: Owner, want: AppCreate) -> Row:
    """A new app, with its first version."""
    if sites.get(tx.conn, owner, want.site_id) is None:
        raise NotFound("Not found")
    sent = want.model_dump(mode="json")
    values = {name: value for name, value in sent.items() if name not in _OF_VERSION}
    values["digest"] = want.digest or digest_of_payload(want.serialized_class)
    values["version"] = 1
    app = apps.create(tx.conn, owner, _as_served(tx, owner, want.site_id, values))
    app_versions.add(tx.conn, owner, _version(app, sent))
    return app


def change(tx: Tx, owner: Owner, app_id: int, want: AppUpdate) -> Row:
    """The app as it is then; `restores` and `changed` as AppOut tells of them."""
    sent = want.model_dump(mode="json", exclude_unset=True)
    values = {name: value for name, value in sent.items() if value is not None or name in _NULLABLE}
    locked = apps.lock(tx.conn, owner, AppFilter(id=[app_id]), to_remove=True)
    if not locked:
        raise NotFound("Not found")
    before = locked[0]
    _may_move(tx, owner, before, values.get("site_id", before["site_id"]))
    if "serialized_class" in values and "hooks" not in values:
        values["hooks"] = None  # an old client replaced the class: its hooks are unknown
    if "hooks" in values:
        values = _as_served(tx, owner, values.get("site_id", before["site_id"]), values)
    restores, changed = None, None
    columns = {name: value for name, value in values.items() if name not in _OF_VERSION}
    is_new = makes_version(before, values)
    if is_new:
        columns["version"] = before["version"] + 1
        if "digest" not in values and values.get("serialized_class", before["serialized_class"]):
            columns["digest"] = digest_of_payload(values.get("serialized_class", before["serialized_class"]))
        new = columns.get("digest", before["digest"])
        restores = app_versions.newest_with(tx.conn, owner, app_id, new) if new != before["digest"] else None
    app = apps.change(tx.conn, owner, app_id, columns or {"id": app_id})
    assert app is not None, "it is locked"
    if is_new:
        changed = changed_parts(app_versions.parts(tx.conn, owner, app_id, before["version"]), want.parts)
        app_versions.add(tx.conn, owner, _version(app, values))
        app_versions.forget_before(tx.conn, owner, app_id, app["version"] - KEPT_VERSIONS + 1)
    return {**app, "restores": restores, "changed": changed}


def makes_version(before: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether a change is one of the code, or of the text that is shown of it.

    The same class is pickled to other bytes in another process, so that a digest counts where there is one.
    """
    if "digest" in values:
        other_text = values.get("source_code", before["source_code"]) != before["source_code"]
        return bool(values["digest"] != before["digest"] or other_text)
    return any(name in values and values[name] != before[name] for name in _CODE)


def digest_of_payload(serialized_class: str) -> str:
    """For code of which a client told no digest: another process may pickle the same class otherwise."""
    return f"payload-{digest.of_bytes(serialized_class.encode())[:24]}"


def changes(versions: Sequence[Mapping[str, Any]]) -> list[list[str] | None]:
    """For each of these versions, the newest first: the names of parts that its forerunner had otherwise."""
    found = [changed_parts(old["parts"], new["parts"]) for new, old in pairwise(versions)]
    return [*found, None] if versions else []


def changed_parts(old: Mapping[str, str] | None, new: Mapping[str, str] | None) -> list[str] | None:
    """Names of parts that differ, that came and that went; None where one of both is not known."""
    if old is None or new is None:
        return None
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def restored(versions: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """For each of these versions, the newest first: the newest earlier one with the same code.

    The one directly before does not count: there, only the text has changed.
    """
    found: list[int | None] = []
    for place, version in enumerate(versions):
        earlier = versions[place + 1 :]
        same = [one["number"] for one in earlier if version["digest"] and one["digest"] == version["digest"]]
        directly = bool(earlier) and earlier[0]["digest"] == version["digest"]
        found.append(same[0] if same and not directly else None)
    return found


def _version(app: Mapping[str, Any], told: Mapping[str, Any]) -> Row:
    return {
        "app_id": app["id"],
        "number": app["version"],
        "digest": app["digest"],
        "created": now_us(),
        "synced_by": told.get("synced_by"),
        "source_code": app["source_code"],
        "parts": told.get("parts"),
    }


def _as_served(tx: Tx, owner: Owner, site_id: int, values: Row) -> Row:
    """The app's values, without its hooks at the site of a published agent, which needs all of them."""
    return {**values, "hooks": None} if sessions.has_published_agent(tx.conn, owner, site_id) else values


def _may_move(tx: Tx, owner: Owner, app: Mapping[str, Any], site_id: int) -> None:
    """An app with jobs stays at its site: they would otherwise run at one site and belong to another."""
    if app["site_id"] == site_id:
        return
    if sites.get(tx.conn, owner, site_id) is None:
        raise NotFound("Not found")
    if jobs.page(tx.conn, owner, JobFilter(app_id=[app["id"]]), Page(limit=1)):
        raise Conflict(f"App {app['name']} has jobs at its site: delete them before you move it")
