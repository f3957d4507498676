"""A person at web pages: follows redirects, keeps cookies, and fills in the forms of pages."""

from __future__ import annotations

from html.parser import HTMLParser
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import httpx


class _Form(HTMLParser):
    """The last form of a page: its action and method, its fields, and its buttons by their text or value."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action, self.method = "", "get"
        self.fields: dict[str, str] = {}
        self.found = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action, self.method = values.get("action", ""), values.get("method", "get").lower()
            self.fields, self.found = {}, True
        elif tag == "input" and self.found and values.get("name"):
            self.fields[values["name"]] = values.get("value", "")


class Visitor:
    def __init__(self) -> None:
        self._http = httpx.Client(follow_redirects=True, headers={"accept": "text/html"}, timeout=30)
        self.page = httpx.Response(200)
        self.seen: list[str] = []  # addresses, as a history keeps them

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def open(self, address: str) -> str:
        return self._show(self._http.get(address))

    def submit(self, **fields: str) -> str:
        """Fills in the page's form and sends it."""
        form = _Form(self.page.text)
        assert form.found, f"no form on {self.page.url}: {self.page.text}"
        target = urljoin(str(self.page.url), form.action)
        values = form.fields | fields
        if form.method == "get":
            return self._show(self._http.get(target, params=values))
        return self._show(self._http.post(target, data=values))

    def log_in(self, name: str) -> str:
        """At the provider's pages: who, and that the application may know."""
        self.submit(login=name, password="any")
        return self.submit()

    def _show(self, page: httpx.Response) -> str:
        self.seen += [str(response.url) for response in (*page.history, page)]
        self.page = page
        return page.text
