"""`balsam.api` and `balsam.config`: what they offer, and that importing them does nothing else."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import balsam.api
from balsam.analytics import available_nodes
from balsam.api import BatchJob, EventLog, Job, Site
from balsam.config import ClientSettings, InvalidSettings, Settings, SiteConfig
from balsam.runtime.site_folder import create_site_folder
from balsam.sdk.context import session
from tests.services import User


def test_importing_reads_nothing_and_loads_no_heavy_library() -> None:
    code = """
import sys
opened = []
sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name == "open" else None)
import balsam.api
heavy = {"httpx", "jinja2", "yaml", "cloudpickle", "sqlalchemy", "fastapi", "psutil"} & set(sys.modules)
assert not heavy, heavy
ours = [name for name in opened if name.endswith((".yml", ".balsam-site"))]
assert not ours, ours
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_exported_name_is_there(me: User) -> None:
    for name in balsam.api.__all__:
        getattr(balsam.api, name)
    assert balsam.api.ClientSettings is ClientSettings
    assert balsam.api.SiteConfig is SiteConfig
    assert balsam.api.client is me.client
    with pytest.raises(AttributeError, match="nonsense"):
        balsam.api.nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_lines_that_scripts_hold(me: User) -> None:
    for query in (
        EventLog.objects.filter(tags={"experiment": "foo"}),
        EventLog.objects.filter(job_id=[1, 2]),
        EventLog.objects.filter(batch_job_id=123),
        EventLog.objects.filter(scheduler_id=456),
        EventLog.objects.filter(to_state="RUNNING"),
        EventLog.objects.filter(from_state="RESTART_READY", to_state="RUNNING"),
        EventLog.objects.filter(timestamp_after=datetime.utcnow() - timedelta(days=1)),
    ):
        assert list(query) == []
    assert available_nodes(BatchJob.objects.filter(filter_tags={"experiment": "foo"})) == ([], [])


def test_no_site_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BALSAM_SITE_PATH", raising=False)
    assert balsam.api.site_config is None
    with pytest.raises(ValueError, match="BALSAM_SITE_PATH"):
        SiteConfig()


def test_a_sites_config(me: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_site_folder(tmp_path / "site", "here", me.client)
    monkeypatch.setenv("BALSAM_SITE_PATH", str(folder.path))
    config = balsam.api.site_config
    assert config is not None
    assert (config.site_path, config.site_id) == (folder.path, folder.site_id)
    assert config.data_path == folder.path / "data" and config.job_path == folder.path / "qsubmit"
    assert isinstance(config.settings, Settings)
    with config.client as client, session(client):
        assert Site.objects.get(id=config.site_id).name == "here"
        assert Job.objects.count() == 0
        config.settings.scheduler.allowed_projects.append("physics")  # type: ignore[union-attr]
        config.update_site_from_config()
        assert "physics" in Site.objects.get(id=config.site_id).allowed_projects
    (folder.path / "settings.yml").write_text("nonsense: 1")
    with pytest.raises(InvalidSettings):
        SiteConfig(folder.path)
