"""What a shell may complete: values of options, looked up when the Tab key is pressed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import click
from click.shell_completion import CompletionItem

from balsam.core.states import JobState

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
ASK_SEC = 1.0  # somebody waits for the Tab key
MAX_NAMES = 200


def job_states(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """States of jobs, several with commas between."""
    return _joined([state.value for state in JobState], incomplete)


def column_names(names: Sequence[str]) -> Complete:
    """Names of columns, several with commas between."""

    def complete(
        _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return _joined(names, incomplete)

    return complete


def site_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`all`, `this`, `active` and the names of the user's sites."""
    return _joined(["all", "this", "active", *_names_at("/sites/")], incomplete)


def app_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the user's apps."""
    return _joined(_names_at("/apps/"), incomplete)


def _joined(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Those that begin as the part behind the last comma does, in any case."""
    before, comma, part = incomplete.rpartition(",")
    return [
        CompletionItem(before + comma + name)
        for name in dict.fromkeys(names)
        if name.lower().startswith(part.lower())
    ]


def _names_at(path: str) -> list[str]:
    """Names that the server knows; none where it does not answer at once."""
    from balsam.client.errors import ClientError  # here: most completions need no client
    from balsam.client.login import load_login, login_path

    try:
        login = load_login()
        if login is None:
            return []
        hasty = replace(login, connect_timeout=ASK_SEC, read_timeout=ASK_SEC)
        with hasty.client(login_path(), retry_sec=0.0) as client:
            answer = client.get(path, {"count": "no", "limit": MAX_NAMES})
            return [str(one["name"]) for one in answer["results"]]
    except (ClientError, OSError):
        return []
