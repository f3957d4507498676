"""settings.yml: published keys, class paths of older files, and mistakes told in one sentence."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from balsam.platform.machine import load_machine, machine_names
from balsam.runtime.logs import DiscreetFormatter, last_lines, new_log_path
from balsam.runtime.settings import (
    UNSERVED,
    WITHOUT_EFFECT,
    InvalidSettings,
    Settings,
    known_keys,
    notes_on,
    refuse_unserved,
    sample_settings_text,
)
from balsam.runtime.site_folder import new_settings_text

OLDER = """
logging: {level: INFO, format: "%(message)s", datefmt: "%H", buffer_num_records: 1024, flush_period: 30}
filter_tags: {workflow: test-1}
launcher:
  idle_ttl_sec: 60
  delay_sec: 1
  error_tail_num_lines: 10
  max_concurrent_mpiruns: 990
  compute_node: balsam.platform.compute_node.DefaultNode
  mpi_app_launcher: balsam.platform.app_run.MPICHRun
  local_app_launcher: balsam.platform.app_run.LocalAppRun
  mpirun_allows_node_packing: true
  serial_mode_prefetch_per_rank: 64
  serial_mode_startup_params: {cpu_affinity: none}
scheduler:
  scheduler_class: balsam.platform.scheduler.LocalProcessScheduler
  sync_period: 10
  allowed_queues: {local: {max_nodes: 1, max_queued_jobs: 1000, max_walltime: 1440}}
  allowed_projects: [local]
  optional_batch_job_params: {shout: no, depth: 3}
  job_template_path: job-template.sh
processing: {num_workers: 1, prefetch_depth: 1000}
transfers:
  transfer_locations: {theta_dtn: "globus://08925f04-569f-11e7-bef8-22000b9a448b"}
  max_concurrent_transfers: 5
  globus_endpoint_id: null
  transfer_batch_size: 100
  num_items_query_limit: 2000
  service_period: 5
file_cleaner: null
queue_maintainer: {submit_period: 60, job_mode: mpi, num_queued_jobs: 5, num_nodes: 1, wall_time_min: 1}
elastic_queue: {service_period: 60, min_num_nodes: 1, use_backfill: true}
"""


def test_the_sample_holds_the_defaults_and_every_key() -> None:
    text = sample_settings_text()
    assert Settings.parse(text) == Settings()
    absent = [key for key in known_keys() if f"{key.rpartition('.')[2]}:" not in text]
    assert absent == []


def test_a_file_of_the_older_system_is_taken_as_it_is() -> None:
    settings = Settings.parse(OLDER)
    assert settings.scheduler is not None and settings.scheduler.name == "local"
    assert (settings.launcher.node, settings.launcher.mpi_launcher) == ("local", "mpich")
    assert settings.scheduler.optional_batch_job_params == {"shout": "False", "depth": "3"}
    assert settings.filter_tags == {"workflow": "test-1"}


def test_null_turns_a_service_off_and_an_absent_section_is_the_default() -> None:
    assert Settings.parse("processing: null").processing is None
    assert Settings.parse("").processing == Settings().processing


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("launcher: {idle_ttl: 3}", "launcher.idle_ttl is no setting; did you mean launcher.idle_ttl_sec?"),
        ("lancher: {}", "lancher is no setting; did you mean launcher?"),
        ("idle_ttl_sec: 4", "idle_ttl_sec is no setting; did you mean launcher.idle_ttl_sec?"),
        ("processing: {num_workers: many}", "processing.num_workers is 'many': Input should be a valid int"),
        (
            "processing: {num_workers: 0}",
            "processing.num_workers is 0: Input should be greater than or equal",
        ),
        ("launcher: null", "launcher is null: "),
        (
            "scheduler: {allowed_queues: {a: {max_node: 1, max_walltime: 3, max_queued_jobs: 1}}}",
            "scheduler.allowed_queues.a.max_node is no setting; "
            "did you mean scheduler.allowed_queues.a.max_nodes? (1 more)",
        ),
        (
            "scheduler: {scheduler_class: balsam.platform.scheduler.cobalt_sched.CobaltScheduler}",
            "there is no scheduler 'balsam.platform.scheduler.cobalt_sched.CobaltScheduler' here",
        ),
        (
            "launcher: {}\nlogging: {}\nlauncher: {}",
            "line 3: launcher stands there a second time, after line 1",
        ),
        (
            "launcher:\n  delay_sec: 1\n  delay_sec: 2",
            "line 3: launcher.delay_sec stands there a second time, after line 2",
        ),
        ("a: [", "settings.yml is not YAML: "),
        ("- x", "settings.yml holds no keys"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_key_and_remedy(text: str, sentence: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        Settings.parse(text)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("settings.yml") and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidSettings, match=r"none.yml is missing: write one with .balsam site sample-settings"
    ):
        Settings.load(tmp_path / "none.yml")


def test_published_keys_are_all_known() -> None:
    content = yaml.safe_load(OLDER)
    keys = {f"{section}.{key}" for section, inner in content.items() for key in inner or {}}
    open_ended = {"filter_tags.workflow"}
    assert keys - open_ended <= set(known_keys())


def test_log_files_are_named_by_kind_and_time() -> None:
    path = new_log_path(Path("/site/log"), "service", datetime(2026, 1, 31, 23, 59, 58))
    assert path == Path("/site/log/service_2026-01-31_235958.log")


def test_logs_hide_secrets() -> None:
    formatter = DiscreetFormatter("%(message)s", "%H", ["s3cret"])
    record = logging.LogRecord("x", 20, "f", 1, "token s3cret, Authorization: Bearer abc.d-e_f", (), None)
    assert formatter.format(record) == "token [hidden], Authorization: Bearer [hidden]"


def test_last_lines_of_a_long_file_and_of_none(tmp_path: Path) -> None:
    file = tmp_path / "log"
    assert last_lines(file) == ""
    file.write_text("\n".join(map(str, range(100_000))))
    assert last_lines(file, 2) == "99998\n99999"


# Keys that are read under another name, by a property of their section.
READ_AS = {"launcher.compute_node": "node", "scheduler.scheduler_class": "name"}


def test_every_setting_is_used_refused_or_told_to_have_no_effect() -> None:
    """A switch that does nothing has to say so."""
    sources = [path.read_text() for path in Path("src/balsam").rglob("*.py") if path.name != "settings.py"]
    silent = []
    for key in known_keys():
        section = key.partition(".")[0]
        if section in UNSERVED or key in WITHOUT_EFFECT:
            continue
        used = READ_AS.get(key, key.rpartition(".")[2])
        if not any(re.search(rf"\.{used}\b", text) for text in sources):
            silent.append(key)
    assert silent == []
    assert set(WITHOUT_EFFECT) <= set(known_keys()) and set(UNSERVED) <= set(Settings.model_fields)


@pytest.mark.parametrize(
    ("section", "text"),
    [
        *((section, "{}") for section in UNSERVED),
        ("elastic_queue", "\n  service_period: 30"),
        ("queue_maintainer", "{job_mode: mpi}"),
    ],
)
def test_a_section_that_nothing_serves_is_refused_with_its_line(
    section: str, text: str, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(f"# one\nlogging: {{}}\n{section}: {text}\n")
    with pytest.raises(InvalidSettings) as caught:
        refuse_unserved(file, Settings.load(file))
    assert f"{file}, line 3: {section} is turned on" in str(caught.value)
    assert f"`{section}: null`" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "elastic_queue: null", "transfers: {}", "transfers: null", "transfers:"]
)
def test_sections_that_are_off_or_empty_start_without_a_word(text: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(text)
    refuse_unserved(file, Settings.load(file))
    assert notes_on(Settings.load(file)) == []


def test_what_is_asked_for_in_vain_is_told() -> None:
    """The transfer locations of a new site of release 0.7 do not keep it from starting."""
    settings = Settings.parse(OLDER)
    assert notes_on(settings) == [
        "transfers.transfer_locations names theta_dtn, and this release moves no files: jobs with transfers "
        "are refused",
        "launcher.serial_mode_startup_params has no effect: the workers of serial mode are started without "
        "parameters",
    ]
    assert notes_on(Settings()) == []


def test_settings_of_release_0_7_ask_batch_systems_as_that_release_did() -> None:
    older = Settings.parse("scheduler: {scheduler_class: balsam.platform.scheduler.SlurmScheduler}").scheduler
    newer = Settings.parse("scheduler: {scheduler_class: slurm}").scheduler
    own = Settings.parse("scheduler: {scheduler_class: SlurmScheduler, submit: {queue_option: -p}}").scheduler
    assert older and newer and own and older.name == newer.name == "slurm"
    assert [one.form.queue_option for one in (older, newer, own)] == ["--qos", None, "-p"]
    pbs = Settings.parse("scheduler: {scheduler_class: balsam.platform.scheduler.PBSScheduler}").scheduler
    assert pbs and pbs.name == "pbs" and pbs.form.always == ()


@pytest.mark.parametrize("nodes", ["--nodes=2", "{nodes}", "{", "{0}"])
def test_a_request_for_nodes_names_their_number(nodes: str) -> None:
    with pytest.raises(InvalidSettings, match=r"scheduler\.submit\.nodes"):
        Settings.parse(f"scheduler: {{submit: {{nodes: '{nodes}'}}}}")


def test_a_new_sites_settings_are_the_sample_with_its_machines_values() -> None:
    assert new_settings_text("local") == sample_settings_text()
    for name in machine_names():
        machine, settings = load_machine(name), Settings.parse(new_settings_text(name))
        scheduler = settings.scheduler
        assert scheduler is not None and scheduler.name == machine.scheduler
        assert list(scheduler.allowed_queues) == list(machine.queues)
        assert settings.launcher.mpi_launcher == machine.mpi_launcher
    text = new_settings_text("perlmutter")
    assert "queue_option: --qos # before" in text and "      - --constraint=gpu\n" in text
