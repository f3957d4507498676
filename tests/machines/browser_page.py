"""What a page did that it should not have done, and what axe-core finds about its accessibility."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from playwright.sync_api import Page

from tests.services import PROVIDER

# Offline, and a status that a page is meant to show, are no faults of scripts.
_EXPECTED = ("net::ERR_", "status of 404", "status of 409", "status of 400")


@dataclass
class Watch:
    """Errors of scripts, broken rules of the content security policy, and dialogs that nobody asked for."""

    faults: list[str] = field(default_factory=list)


def watched(page: Page) -> Watch:
    watch = Watch()
    page.on("pageerror", lambda error: watch.faults.append(f"{page.url}: {error}"))
    page.on(
        "console",
        lambda message: (
            watch.faults.append(f"{page.url}: {message.text}")
            if message.type == "error" and not any(text in message.text for text in _EXPECTED)
            else None
        ),
    )
    return watch


@cache
def _axe() -> str:
    file = PROVIDER / "node_modules" / "axe-core" / "axe.min.js"
    if not file.exists():
        raise RuntimeError("axe-core is not installed: run `make machines`")
    return file.read_text()


def axe_faults(page: Page) -> list[str]:
    """Faults that axe-core calls serious or critical, each with the first element that has it."""
    page.evaluate(_axe())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((told) => told.violations)")
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary']}" for one in serious
    ]
