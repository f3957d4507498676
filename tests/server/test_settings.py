"""What an operator sets, and how wrong settings are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from balsam.core.errors import InvalidSettings
from balsam.core.logins import LoginMethod
from balsam.server.settings import NAMES, PUBLISHED_NAMES, load

DATABASE = {"BALSAM_DATABASE_URL": "postgresql://balsam:s3cret@db/balsam"}


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_the_environment_stands_above_the_file(tmp_path: Path) -> None:
    file = private(tmp_path / "server.yml", "database_url: sqlite:///x\nworkers: 2\nport: 9000\n")
    settings = load({**DATABASE, "BALSAM_WORKERS": "4"}, file)
    assert settings.database_url == DATABASE["BALSAM_DATABASE_URL"]
    assert (settings.workers, settings.port) == (4, 9000)


def test_lists_are_words_in_the_environment(tmp_path: Path) -> None:
    settings = load({**DATABASE, "BALSAM_TRUSTED_PROXIES": "10.0.0.1, ::1"}, None)
    assert settings.trusted_proxies == ("10.0.0.1", "::1")


def test_the_published_name_of_the_token_life_works() -> None:
    assert load({**DATABASE, "BALSAM_AUTH_TOKEN_TTL": "3600"}, None).token_ttl_sec == 3600


def test_without_a_database_the_sentence_names_the_remedy() -> None:
    with pytest.raises(InvalidSettings, match="BALSAM_DATABASE_URL"):
        load({}, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workerss: 3", "workerss"),
        ("workers: many", "workers"),
        ("root_path: balsam/", "root_path"),
        ("- a", "lines like"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        load(DATABASE, private(tmp_path / "server.yml", text))


def test_a_refusal_shows_no_value(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load({**DATABASE, "BALSAM_PORT": "s3cret"}, None)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(caught.value.__cause__)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = private(tmp_path / "server.yml", "database_url: sqlite:///x\n")
    file.chmod(0o640)
    with pytest.raises(InvalidSettings, match="chmod 600"):
        load({}, file)


@pytest.mark.parametrize(
    ("text", "seconds"), [("3600", 3600), ("0.5", 0.5), ("P2D", 172_800), ("48:00:00", 172_800)]
)
def test_the_life_of_tokens_is_seconds_or_a_duration(text: str, seconds: float) -> None:
    assert load({**DATABASE, "BALSAM_AUTH_TOKEN_TTL": text}, None).token_ttl_sec == seconds


PROVIDER = {"BALSAM_OAUTH_ISSUER": "https://login.example/realm", "BALSAM_OAUTH_CLIENT_ID": "balsam"}


@pytest.mark.parametrize(
    ("text", "methods"),
    [
        ("password", ["password"]),
        ('["password", "oauth_device"]', ["password", "oauth_device"]),
        ("oauth_authcode,LoginMethod.oauth_device", ["oauth_authcode", "oauth_device"]),
    ],
)
def test_login_methods_are_read_as_published(text: str, methods: list[str]) -> None:
    settings = load({**DATABASE, **PROVIDER, "BALSAM_AUTH_LOGIN_METHODS": text}, None)
    assert list(settings.offered_methods) == methods


def test_a_login_provider_adds_its_two_ways() -> None:
    assert len(load({**DATABASE, **PROVIDER}, None).offered_methods) == 3
    assert load(DATABASE, None).offered_methods == (LoginMethod.PASSWORD,)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"BALSAM_AUTH_LOGIN_METHODS": "oauth_device"}, "BALSAM_OAUTH_ISSUER"),
        ({"BALSAM_AUTH_LOGIN_METHODS": "ldap"}, "login_methods"),
        ({"BALSAM_OAUTH_ISSUER": "https://login.example"}, "BALSAM_OAUTH_CLIENT_ID"),
        ({**PROVIDER, "BALSAM_OAUTH_ISSUER": "http://login.example"}, "https"),
        ({**PROVIDER, "BALSAM_OAUTH_REQUIRE": "staff"}, "claim=value"),
        ({**PROVIDER, "BALSAM_OAUTH_NAME": "a/b"}, "oauth_name"),
        ({**PROVIDER, "BALSAM_OAUTH_CLIENT_SECRET_FILE": "/no/such/file"}, "/no/such/file"),
    ],
)
def test_a_login_provider_that_can_not_be_used_is_refused(more: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        load({**DATABASE, **more}, None)


def test_the_providers_secret_is_private_and_never_shown(tmp_path: Path) -> None:
    file = private(tmp_path / "secret", "s3cret\n")
    settings = load({**DATABASE, **PROVIDER, "BALSAM_OAUTH_CLIENT_SECRET_FILE": str(file)}, None)
    assert settings.client_secret() == "s3cret"
    settings = load({**DATABASE, **PROVIDER, "BALSAM_OAUTH_CLIENT_SECRET": "s3cret"}, None)
    assert settings.client_secret() == "s3cret" and "oauth_client_secret=" not in repr(settings)
    file.chmod(0o644)
    with pytest.raises(InvalidSettings, match="chmod 600"):
        load({**DATABASE, **PROVIDER, "BALSAM_OAUTH_CLIENT_SECRET_FILE": str(file)}, None)


def test_a_metrics_token_that_is_not_there_or_not_private_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "token"
    settings = {**DATABASE, "BALSAM_METRICS_TOKEN_FILE": str(file)}
    with pytest.raises(InvalidSettings, match="token can't be read: No such file"):
        load(settings, None)
    file.touch(mode=0o644)
    with pytest.raises(InvalidSettings, match="chmod 600"):
        load(settings, None)


def test_every_setting_of_a_served_server_is_on_a_page() -> None:
    docs = Path(__file__).parents[2] / "docs"
    pages = "".join((docs / name).read_text() for name in ("facility.md", "logins.md", "operations.md"))
    found = set(re.findall(r"`([a-z_]+)`|^([a-z_]+): ", pages, re.MULTILINE))
    told = {name for pair in found for name in pair}
    told |= {name.removeprefix("BALSAM_").lower() for name in re.findall(r"BALSAM_[A-Z_]+[A-Z]", pages)}
    assert NAMES - told == {"owner"}, "the embedded server alone has an owner"


def test_the_variables_of_the_page_on_logins_exist() -> None:
    page = (Path(__file__).parents[2] / "docs" / "logins.md").read_text()
    known = {f"BALSAM_{name.upper()}" for name in NAMES} | set(PUBLISHED_NAMES)
    known |= {"BALSAM_AUTH_SECRET_KEY", "BALSAM_CLIENT_PATH"}  # without effect; read by clients
    assert set(re.findall(r"BALSAM_[A-Z_]+[A-Z]", page)) <= known
