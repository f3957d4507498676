"""What is registered of an app, and whether a class of this process is to replace it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from balsam.client.errors import ServerRefused
from balsam.schemas import get_source
from balsam.schemas.serializers import serializer_info
from balsam.schemas.user_code import unsent_modules
from balsam.sdk import class_origin
from balsam.sdk.apps import App
from balsam.sdk.class_origin import Origin
from balsam.sdk.class_payload import class_payload
from balsam.sdk.code_digest import CodeDigest, code_digest

if TYPE_CHECKING:
    from balsam.client.transport import Client
    from balsam.sdk.application import ApplicationDefinition

log = logging.getLogger(__name__)

CAME_BY_VALUE = "# source code not available: the class was not defined by the process that registered it\n"


class Action(Enum):
    """What the first use of a class in a process does with what is registered."""

    create = auto()
    replace = auto()
    keep = auto()


@dataclass(slots=True)
class _Known:
    """Of one class: where it comes from, whether the server gave it, and its code when that was looked at."""

    origin: Origin
    is_loaded: bool = False
    code: CodeDigest | None = None

    @property
    def may_replace(self) -> bool:
        return not (self.is_loaded or self.origin.by_value)

    @property
    def is_current(self) -> bool:
        """Whether what was found out about the code still holds."""
        return not self.may_replace or (self.code is not None and self.code.watch.is_unchanged())


# Beside the classes and not in them, or it would travel with them.
_KNOWN: WeakKeyDictionary[type, _Known] = WeakKeyDictionary()


def note_origin(app: type[ApplicationDefinition], origin: Origin) -> None:
    _KNOWN[app] = _Known(origin)


def note_loaded(app: type[ApplicationDefinition]) -> None:
    """The server gave this class: by itself it replaces nothing there."""
    _known(app).is_loaded = True


def is_current(app: type[ApplicationDefinition]) -> bool:
    """Whether the class's code is the one that was last compared with what is registered."""
    return _known(app).is_current


def action(registered: str | None, local: str, *, may_replace: bool) -> Action:
    """By the digests of the code. `registered` None: there is no such app; empty: nobody told it."""
    if registered is None:
        return Action.create
    return Action.replace if may_replace and registered != local else Action.keep


def use(app: type[ApplicationDefinition], client: Client, site_id: int) -> App:
    """The registered app of a class whose job is created: made, or replaced where its code is another."""
    known = _known(app)
    code = known.code = digest_of(app)
    found = registered(client, site_id, app.__name__)
    if found is None:
        try:
            return create(app, client, site_id)
        except ServerRefused:
            found = registered(client, site_id, app.__name__)  # another process was quicker
            if found is None:
                raise
    if action(found.digest, code.digest, may_replace=known.may_replace) is Action.keep:
        return found
    row = client.put(f"{App.ROUTE}{found.id}", body(app, site_id, code))
    if row["version"] != found.version:
        log.warning("%s", replaced(app.__name__, app.site, found.version, row))
    return App.from_row(row, client)


def create(app: type[ApplicationDefinition], client: Client, site_id: int) -> App:
    """Registers a new app."""
    code = _known(app).code = digest_of(app)
    made = App.from_row(client.post(App.ROUTE, body(app, site_id, code)), client)
    log.info("the app %s is registered at site %s", app.__name__, app.site)
    return made


def sync(app: type[ApplicationDefinition], client: Client, site_id: int, rename_from: str | None) -> App:
    """Registers the app, or updates what is registered under its name or `rename_from`."""
    found = registered(client, site_id, app.__name__)
    if found is None and rename_from is not None:
        found = App.objects.using(client).get(site_id=site_id, name=rename_from)
    if found is None:
        return create(app, client, site_id)
    known = _known(app)
    code = known.code = digest_of(app)
    sent = body(app, site_id, code)
    if source_of(app) is None and (not known.may_replace or code.digest == found.digest):
        del sent["source_code"]  # what is registered tells more
    if not known.may_replace and code.digest == found.digest:
        del sent["serialized_class"], sent["serializer"]
    row = client.put(f"{App.ROUTE}{found.id}", sent)
    if row["version"] != found.version:
        log.info("%s", replaced(app.__name__, app.site, found.version, row))
    return App.from_row(row, client)


def registered(client: Client, site_id: int, name: str) -> App | None:
    return App.objects.using(client).filter(site_id=site_id, name=name).first()


def digest_of(app: type[ApplicationDefinition]) -> CodeDigest:
    """Of the code that the class has now."""
    told = _interface(app)
    return code_digest(app, settings={name: told[name] for name in sorted(told)})


def body(app: type[ApplicationDefinition], site_id: int, code: CodeDigest) -> dict[str, Any]:
    """What registers the app."""
    for module in unsent_modules(code.imported):
        log.warning(
            "the app %s imports %r inside a function: what is imported there does not travel with the app. "
            "Import it at the top of the file, or see that the site has it",
            app.__name__,
            module,
        )
    return {
        "site_id": site_id,
        "name": app.__name__,
        **_interface(app),  # checks it, before it is pickled
        "serialized_class": class_payload(app),
        "source_code": text_of(app),
        "serializer": serializer_info() | app._own_interpreter(),
        "digest": code.digest,
        "parts": dict(code.parts),
        "synced_by": class_origin.here(),
    }


def source_of(app: type[ApplicationDefinition]) -> str | None:
    """The text of the class, as it was when the class was made; None where there is none here."""
    return _known(app).origin.source


def replaced(name: str, site: object, old: int, row: Mapping[str, Any]) -> str:
    """What a change of a registered app is told as."""
    changed = row.get("changed")
    what = f" ({_some(changed)} changed)" if changed else ""
    sentence = f"the app {name} at site {site}: version {row['version']} replaces version {old}{what}"
    if row.get("restores") is not None:
        sentence += (
            f"; its code is that of version {row['restores']} again, so that another program has newer code: "
            f"`balsam app versions {row['id']}` tells which"
        )
    return f"{sentence}. Jobs that have not started run version {row['version']}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _interface(app: type[ApplicationDefinition]) -> dict[str, Any]:
    return {
        "description": (app.__dict__.get("__doc__") or "").strip(),
        "parameters": {name: spec.model_dump(mode="json") for name, spec in app.interface().items()},
        "transfers": {name: slot.model_dump(mode="json") for name, slot in app.slots().items()},
        "hooks": app.overridden_hooks(),
        "isolate": app.isolate,
    }


def text_of(app: type[ApplicationDefinition]) -> str:
    """The same, or a line that says why there is none."""
    if _known(app).origin.by_value:
        return CAME_BY_VALUE
    return source_of(app) or get_source(app)


def _known(app: type[ApplicationDefinition]) -> _Known:
    return _KNOWN.setdefault(app, _Known(Origin(by_value=False)))
