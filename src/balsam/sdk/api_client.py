"""`client.Job`, `client.Site` and the other five: the objects of one connection, as hooks ask for them.

client = SiteConfig().client
client.Job.objects.filter(state="FAILED")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from balsam.client.transport import Answer, Client
from balsam.sdk.model import Model

if TYPE_CHECKING:
    from balsam.sdk.apps import App
    from balsam.sdk.batch_jobs import BatchJob
    from balsam.sdk.events import EventLog
    from balsam.sdk.jobs import Job
    from balsam.sdk.sessions import Session
    from balsam.sdk.sites import Site
    from balsam.sdk.transfers import TransferItem

M = TypeVar("M", bound=Model)


class Bound(Generic[M]):
    """A kind of object, bound to a client: it makes, finds and recognises objects as its class does."""

    def __init__(self, model: type[M], client: Client) -> None:
        self._model = model
        self._client = client

    @property
    def objects(self) -> Any:
        """The class's `objects`, acting through the client."""
        manager: Any = self._model.objects  # type: ignore[attr-defined]
        return manager.using(self._client)

    def __call__(self, *args: Any, **fields: Any) -> M:
        made = self._model(*args, **fields)
        made._client = self._client
        return made

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._model)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __repr__(self) -> str:
        return f"<{self._model.__name__} of {self._client!r}>"


class ApiClient(Client):
    """A client that users hold: a connection, and the objects that act through it.

    Paths may begin without a slash, and `get` takes the query by keywords, as in release 0.7:
    `client.get("jobs/", limit=1)`.
    """

    @property
    def token(self) -> str | None:
        """What shows the server who asks; a fresh one, where the last has run out."""
        return self._credentials.token(self._renew)

    def get(self, path: str, params: Mapping[str, Any] | None = None, **query: Any) -> Any:
        return super().get(path, {**(params or {}), **query})

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        key: str | None = None,
        prefer: str | None = None,
        patience_sec: float | None = None,
    ) -> Answer:
        """One request, repeated while it may help; raises a ClientError."""
        rooted = path if path.startswith("/") else f"/{path}"
        return super().request(
            method, rooted, body=body, params=params, key=key, prefer=prefer, patience_sec=patience_sec
        )

    @property
    def Site(self) -> Bound[Site]:
        from balsam.sdk.sites import Site

        return Bound(Site, self)

    @property
    def App(self) -> Bound[App]:
        from balsam.sdk.apps import App

        return Bound(App, self)

    @property
    def Job(self) -> Bound[Job]:
        from balsam.sdk.jobs import Job

        return Bound(Job, self)

    @property
    def BatchJob(self) -> Bound[BatchJob]:
        from balsam.sdk.batch_jobs import BatchJob

        return Bound(BatchJob, self)

    @property
    def Session(self) -> Bound[Session]:
        from balsam.sdk.sessions import Session

        return Bound(Session, self)

    @property
    def EventLog(self) -> Bound[EventLog]:
        from balsam.sdk.events import EventLog

        return Bound(EventLog, self)

    @property
    def TransferItem(self) -> Bound[TransferItem]:
        from balsam.sdk.transfers import TransferItem

        return Bound(TransferItem, self)
