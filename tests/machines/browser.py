"""Chromium as the distribution has it, without a window, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

# Everything that asks for something by itself would be taken for a request of the page.
QUIET = ("--disable-background-networking", "--disable-component-update", "--no-first-run")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Started once for many pages, each in a context of its own."""
    program = shutil.which("chromium")
    if program is None:
        raise RuntimeError("Chromium is not installed: run `make machines`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=list(QUIET),
            chromium_sandbox=os.geteuid() != 0,  # which refuses root
        )
        try:
            yield browser
        finally:
            browser.close()
