"""The files in `deploy/` and the settings in docs/facility.md, as far as they can be tried without root."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from balsam.cli.main import cli
from balsam.server.settings import NAMES, load
from tests.docs.test_documentation import blocks

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_the_settings_that_are_shown_are_accepted(tmp_path: Path) -> None:
    [shown] = [text for kind, text in blocks(PROJECT / "docs" / "facility.md") if kind == "yaml"]
    file = tmp_path / "server.yml"
    file.touch(mode=0o600)
    file.write_text(shown)
    settings = load({}, file)
    assert settings.root_path == "/balsam" and settings.registration is False


def test_variables_in_the_files_are_settings(compose: Any) -> None:
    variables = set(compose["services"]["server"]["environment"])
    variables |= set(re.findall(r"\bBALSAM_[A-Z_]+", (DEPLOY / "Containerfile").read_text()))
    assert variables and {name.removeprefix("BALSAM_").lower() for name in variables} <= NAMES


def test_who_comes_through_the_containers_network_is_told_apart(compose: Any) -> None:
    variables = {"BALSAM_DATABASE_URL": "sqlite://", **compose["services"]["server"]["environment"]}
    seen: list[tuple[str, int]] = []

    async def note(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["client"])

    app = ProxyHeadersMiddleware(note, trusted_hosts=list(load(variables, None).trusted_proxies))
    headers = [(b"x-forwarded-for", b"192.0.2.7"), (b"x-forwarded-proto", b"https")]
    for gateway in ("172.18.0.1", "10.89.0.1", "198.51.100.1"):
        scope = {"type": "http", "scheme": "http", "client": (gateway, 5), "headers": headers}
        asyncio.run(app(scope, None, None))  # type: ignore[arg-type]
    assert [client[0] for client in seen] == ["192.0.2.7", "192.0.2.7", "198.51.100.1"]


def test_compose_names_services_secrets_and_volumes_that_exist(compose: Any) -> None:
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(compose["volumes"])
    assert compose["services"]["migrate"]["command"] == ["balsam", "server", "migrate"]


def test_commands_in_the_files_exist() -> None:
    for name in ("balsam.service", "Containerfile"):
        [line] = re.findall(r"^(?:ExecStart=|CMD )(.*)$", (DEPLOY / name).read_text(), re.MULTILINE)
        words = re.findall(r"[\w/.-]+", line)
        assert words[0].endswith("balsam") and words[1:3] == ["server", "up"]
        context = cli.make_context("balsam", [*words[1:3], "--help"], resilient_parsing=True)
        assert context is not None and "--foreground" in words


def test_nginx_hides_the_metrics_and_lets_streams_through() -> None:
    text = (DEPLOY / "nginx.conf").read_text()
    assert text.count("{") == text.count("}")
    assert re.search(r"location = /balsam/metrics \{ return 404; \}", text)
    stream = text[text.index("location = /balsam/stream") :]
    assert "proxy_buffering off" in stream
