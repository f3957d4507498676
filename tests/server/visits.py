"""A browser without scripts: keeps the session, sends forms with their token."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tests import asking
from tests.services import User

HTML = {"accept": "text/html"}


class Visit:
    """Somebody at the pages of a server; with a user they are logged in."""

    def __init__(self, url: str, user: User | None = None, *, token: str = "") -> None:
        self.http = asking.client(base_url=url, headers=HTML)
        known = token or (user.token if user else "")
        if known:
            self.http.cookies.set(f"balsam-session-{urlsplit(url).port}", known, path="/ui")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(path, **options)

    def page(self, path: str) -> str:
        """The text of a page that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.text

    def part(self, path: str, name: str) -> str:
        """A part as a script asks for it."""
        joint = "&" if "?" in path else "?"
        answer = self.get(f"{path}{joint}part={name}", headers={"hx-request": "true"})
        assert answer.status_code == 200, answer.text
        return answer.text

    @property
    def form_token(self) -> str:
        found = re.search(r'data-form-token="([0-9a-f]*)"', self.page("/ui/tokens"))
        assert found is not None
        return found[1]

    def send(self, path: str, headers: Any = None, **fields: Any) -> httpx.Response:
        """A form of this server's page."""
        return self.http.post(path, data={"form_token": self.form_token, **fields}, headers=headers)
