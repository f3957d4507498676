"""What an operator sets, and how wrong settings are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam.core.errors import InvalidSettings
from balsam.server.settings import load

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
