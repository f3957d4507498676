"""Draws the pictures of the documentation from what a campaign's server recorded.

python -m examples.figures EXPERIMENT CAMPAIGN FOLDER

Writes campaign.png and efficiency.png; and report.png, the report's page as a browser shows it, where
Playwright and Chromium are installed (`make machines`).
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from balsam import analytics
from balsam.api import Job
from balsam.report.campaign import Bounds, gather
from balsam.report.page import page
from balsam.sdk.jobs import JobQuery

DPI = 100
PAGE_SIZE = (1280, 1090)


def draw_campaign(jobs: JobQuery, picture: Path) -> None:
    """How it went: jobs finished by family, and what ran where."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5), height_ratios=[3, 2], layout="constrained")
    analytics.plot_throughput(jobs, above, group_by="tag:family")
    analytics.plot_timeline(jobs, below)
    figure.savefig(picture, dpi=DPI)
    plt.close(figure)


def draw_efficiency(jobs: JobQuery, picture: Path) -> None:
    """How well nodes were used, by whom, and where the time went."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 6), layout="constrained")
    analytics.plot_utilization(jobs, axes[0][0])
    analytics.plot_node_hours(jobs, axes[0][1], group_by="tag:family")
    analytics.plot_state_times(jobs, axes[1][0])
    analytics.plot_throughput_rates(jobs, axes[1][1], bins=30)
    figure.savefig(picture, dpi=DPI)
    plt.close(figure)


def photograph_report(jobs: JobQuery, title: str, tags: dict[str, str], picture: Path) -> None:
    """The upper part of the page."""
    from playwright.sync_api import sync_playwright

    chosen = {f"tag {key}": value for key, value in tags.items()}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "report.html"
        file.write_text(page(gather(jobs, title, chosen, {}, Bounds())), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        width, height = PAGE_SIZE
        shown = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        shown.goto(file.as_uri())
        shown.screenshot(path=picture)
        browser.close()


def main(experiment: str, campaign: str, folder: Path) -> None:
    """All that can be drawn here."""
    tags = {"experiment": experiment, "campaign": campaign}
    jobs = Job.objects.filter(tags=tags)
    draw_campaign(jobs, folder / "campaign.png")
    draw_efficiency(jobs, folder / "efficiency.png")
    if importlib.util.find_spec("playwright") and shutil.which("chromium"):
        photograph_report(jobs, f"A campaign of {experiment}", tags, folder / "report.png")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
