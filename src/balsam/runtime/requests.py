"""What is asked of Python workers and what they answer, as values and as they travel."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import orjson

from balsam.core.digest import of_bytes


class Kind(StrEnum):
    """What a worker is asked to do with an app class."""

    describe = "describe"  # no job: what the class declares and overrides
    command = "command"  # the command line, preamble and environment of a job
    run = "run"  # run(), its output in job.out
    preprocess = "preprocess"  # hooks, their output in balsam.log
    postprocess = "postprocess"
    handle_error = "handle_error"
    handle_timeout = "handle_timeout"


@dataclass(frozen=True)
class AppCode:
    """An app class as the server stores it; `serializer`: what made it, None where nobody said.

    `version`: the number of its version; None where nobody asks for it.
    """

    app_id: int
    name: str
    serialized_class: str = field(repr=False)
    serializer: Mapping[str, Any] | None = None
    version: int | None = None

    @cached_property
    def digest(self) -> str:
        """Another one for each class, and for each maker and interpreter of the same class."""
        return of_bytes(orjson.dumps([self.serialized_class, self.serializer]))

    @property
    def interpreter(self) -> str:
        """What opens the class and runs its code: the app's own `python_exe`, else this Python."""
        return (self.serializer or {}).get("python_exe") or sys.executable

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> AppCode:
        """From an app's JSON record, or as `encode_request` wrote it."""
        code = record["serialized_class"]
        return cls(record["id"], record["name"], code, record.get("serializer"), record.get("version"))


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One step of one job (or of the app itself: `describe`, whose `job` is None).

    `job`: the job's JSON record as the server sent it. `workdir`: absolute; made if it is missing.
    `environment`: set for this step only, on top of the worker's own.
    """

    kind: Kind
    app: AppCode
    job: Mapping[str, Any] | None = field(default=None, repr=False)
    workdir: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    session_id: int | None = None
    interpreter: str = sys.executable
    fresh: bool = False  # the worker serves nothing else, neither before nor after (app.isolate)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request.

    `ok` False: `error` is a sentence and the end of the traceback; `crashed`: the worker itself died;
    `node_short`: the step could not begin, since its node or a filesystem fails for the moment; `outside`:
    somebody else killed the worker, as far as can be told; `return_code`: as a script's, and -9 where
    signal 9 ended the worker.
    `changes`: for hooks, the fields of the job that the hook changed, as the API takes them (`state`
    among them if it set one). `result`: the answer to `describe` and `command`.
    """

    request: Request
    ok: bool
    error: str = ""
    crashed: bool = False
    node_short: bool = False
    return_code: int = 0
    outside: bool = False
    serialized_return_value: str = field(default="", repr=False)
    serialized_exception: str = field(default="", repr=False)
    changes: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    started_us: int = 0
    ended_us: int = 0


def encode_request(request: Request, known_apps: set[tuple[int, str]]) -> bytes:
    """The request as a worker reads it; the class travels once to each."""
    key = (request.app.app_id, request.app.digest)
    app: dict[str, Any] = {"id": key[0], "digest": key[1], "name": request.app.name}
    if key not in known_apps:
        app |= {"serialized_class": request.app.serialized_class, "serializer": request.app.serializer}
        known_apps.add(key)
    return orjson.dumps(
        {
            "kind": request.kind,
            "app": app,
            "job": request.job,
            "workdir": request.workdir,
            "environment": request.environment,
            "session_id": request.session_id,
        }
    )


def decode_request(
    said: Mapping[str, Any], codes: dict[tuple[int, str], AppCode], interpreter: str, fresh: bool
) -> Request:
    """What `encode_request` made; `codes` keeps the classes that have come once."""
    app = said["app"]
    key = (app["id"], app["digest"])
    if "serialized_class" in app:
        codes[key] = AppCode.of_record(app)
    return Request(
        Kind(said["kind"]),
        codes[key],
        said["job"],
        said["workdir"],
        said["environment"],
        said["session_id"],
        interpreter,
        fresh,
    )
