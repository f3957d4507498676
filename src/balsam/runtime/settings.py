"""A site's settings.yml: every key, its default, and what is wrong with a file in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from signal import Signals
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails

from balsam.core.states import JobMode
from balsam.platform.machine import nodes_name
from balsam.platform.mpi import launcher_name
from balsam.platform.schedulers import SCHEDULERS
from balsam.platform.schedulers.batch_system import SubmitForm

DEFAULT_FORMAT = "%(asctime)s.%(msecs)03d | %(process)d | %(levelname)s | %(name)s:%(lineno)s] %(message)s"

# Older settings files name classes by dotted paths; these are the names that we have for schedulers.
SCHEDULER_NAMES = {
    "local": "local",
    "LocalProcessScheduler": "local",
    "slurm": "slurm",
    "SlurmScheduler": "slurm",
    "pbs": "pbs",
    "PBSScheduler": "pbs",
    "lsf": "lsf",
    "LsfScheduler": "lsf",
    "flux": "flux",
    "grid_engine": "grid_engine",
}


# How release 0.7 asked for nodes, where that is not the default of ours.
OLDER_FORMS = {
    "SlurmScheduler": SubmitForm(queue_option="--qos"),
    "PBSScheduler": SubmitForm(always=()),
    "LsfScheduler": SubmitForm(nodes="-nnodes {num_nodes}", always=()),
}


class InvalidSettings(Exception):
    """A settings file that can't be used: one sentence with the file, the key and the remedy."""


def _plain(value: Any) -> Any:
    """What YAML reads as a number or boolean, as text."""
    return str(value) if isinstance(value, (int, float)) else value


def _last_name(path: str) -> str:
    return path.rpartition(".")[2]


def _known_scheduler(path: str) -> str:
    if _last_name(path) not in SCHEDULER_NAMES:
        raise ValueError(f"there is no scheduler {path!r} here; there are: {', '.join(SCHEDULERS)}")
    return path


def _known_nodes(name: str) -> str:
    nodes_name(name)
    return name


def _known_signal(name: str) -> str:
    if name not in Signals.__members__:
        raise ValueError(f"there is no signal {name!r}; write for example SIGUSR1")
    return name


def _known_launcher(name: str) -> str:
    launcher_name(name)
    return name


PlainText = Annotated[str, BeforeValidator(_plain)]
Params = dict[PlainText, PlainText]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class Section(BaseModel):
    """Part of a settings file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


class LoggingSettings(Section):
    level: Annotated[Level, BeforeValidator(lambda text: str(text).upper())] = "INFO"
    format: str = DEFAULT_FORMAT
    datefmt: str = "%Y-%m-%d %H:%M:%S"
    buffer_num_records: Count = 1024
    flush_period: Count = 30


class LauncherSettings(Section):
    idle_ttl_sec: Count = 60
    delay_sec: Count = 1
    error_tail_num_lines: Count = 10
    max_concurrent_mpiruns: Positive = 990
    compute_node: Annotated[str, AfterValidator(_known_nodes)] = "local"
    mpi_app_launcher: Annotated[str, AfterValidator(_known_launcher)] = "mpich"
    local_app_launcher: Annotated[str, AfterValidator(_known_launcher)] = "local"
    mpirun_allows_node_packing: bool = True
    serial_mode_prefetch_per_rank: Positive = 512
    serial_mode_startup_params: Params = Field(default_factory=dict)
    sort_by: Literal["long_large_first"] | None = None
    on_cut: Literal["finish", "stop"] = "finish"
    warning_signal: Annotated[str, AfterValidator(_known_signal)] | None = None
    warning_sec: Positive = 120
    max_output_mb: Positive = 1024

    @property
    def node(self) -> str:
        """The nodes' kind, or the machine that they are of."""
        return nodes_name(self.compute_node)

    @property
    def mpi_launcher(self) -> str:
        """The MPI launcher by its short name."""
        return launcher_name(self.mpi_app_launcher)


class QueueSettings(Section):
    """What a queue takes: nodes and minutes per allocation, allocations at once."""

    max_nodes: Positive
    max_walltime: Positive
    max_queued_jobs: Positive


LOCAL_QUEUE = QueueSettings(max_nodes=1, max_walltime=1440, max_queued_jobs=1000)


class SubmitSettings(Section):
    """How the batch system is asked for nodes; null: as it is by default."""

    queue_option: str | None = None
    project_option: str | None = None
    nodes: str | None = None
    always: list[PlainText] | None = None
    rerunnable: bool = False

    @field_validator("nodes")
    @classmethod
    def _names_the_number(cls, text: str | None) -> str | None:
        if text is None:
            return text
        try:
            filled = text.format(num_nodes=2)
        except (KeyError, IndexError, ValueError) as exc:
            raise ValueError("it may name {num_nodes}, and nothing else in braces") from exc
        if filled == text:
            raise ValueError("it should name {num_nodes}, for example --nodes={num_nodes}")
        return text


class SchedulerSettings(Section):
    scheduler_class: Annotated[str, AfterValidator(_known_scheduler)] = "local"
    sync_period: Positive = 10
    poll_period: Positive = 30
    submit: SubmitSettings = Field(default_factory=SubmitSettings)
    allowed_queues: dict[PlainText, QueueSettings] = Field(default_factory=lambda: {"local": LOCAL_QUEUE})
    allowed_projects: list[PlainText] = Field(default_factory=lambda: ["local"])
    optional_batch_job_params: Params = Field(default_factory=dict)
    job_template_path: Path = Path("job-template.sh")

    @property
    def name(self) -> str:
        """The scheduler by its short name."""
        return SCHEDULER_NAMES[_last_name(self.scheduler_class)]

    @property
    def form(self) -> SubmitForm:
        """How the batch system is asked: what a class of release 0.7 did, where one is named."""
        usual = OLDER_FORMS.get(_last_name(self.scheduler_class), SubmitForm())
        own = {k: v for k, v in self.submit.model_dump().items() if v is not None}
        return replace(usual, **own)


class ProcessingSettings(Section):
    num_workers: Positive = 1
    prefetch_depth: Positive = 1000


class TransferSettings(Section):
    transfer_locations: Params = Field(default_factory=dict)
    max_concurrent_transfers: Positive = 5
    globus_endpoint_id: UUID | None = None
    globus_endpoint_site_path: str | None = None
    transfer_batch_size: Positive = 100
    num_items_query_limit: Positive = 2000
    service_period: Positive = 5


class FileCleanerSettings(Section):
    cleanup_batch_size: Positive = 180
    service_period: Positive = 30


class QueueMaintainerSettings(Section):
    submit_period: Positive = 60
    submit_project: str = "local"
    submit_queue: str = "local"
    job_mode: JobMode = JobMode.mpi
    num_queued_jobs: Count = 5
    num_nodes: Positive = 1
    wall_time_min: Positive = 1


class ElasticQueueSettings(Section):
    service_period: Positive = 60
    submit_project: str = "local"
    submit_queue: str = "local"
    job_mode: JobMode = JobMode.mpi
    min_wall_time_min: Positive = 35
    max_wall_time_min: Positive = 360
    wall_time_pad_min: Count = 5
    min_num_nodes: Positive = 20
    max_num_nodes: Positive = 127
    max_queue_wait_time_min: Count = 10
    max_queued_jobs: Positive = 20
    use_backfill: bool = True


class Settings(Section):
    """All of settings.yml; a section that is null turns its service off."""

    logging: LoggingSettings = Field(default_factory=LoggingSettings)
    filter_tags: Params = Field(default_factory=dict)
    launcher: LauncherSettings = Field(default_factory=LauncherSettings)
    scheduler: SchedulerSettings | None = Field(default_factory=SchedulerSettings)
    processing: ProcessingSettings | None = Field(default_factory=ProcessingSettings)
    transfers: TransferSettings | None = Field(default_factory=TransferSettings)
    file_cleaner: FileCleanerSettings | None = None
    queue_maintainer: QueueMaintainerSettings | None = None
    elastic_queue: ElasticQueueSettings | None = None

    def dump_yaml(self) -> str:
        """As settings.yml holds them, without its comments."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def save(self, path: str | Path) -> None:
        """Writes the file at once, or not at all."""
        target = Path(path)
        beside = target.with_name(f".{target.name}.new")
        beside.write_text(self.dump_yaml(), encoding="utf-8")
        beside.replace(target)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """From a file; raises InvalidSettings."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as exc:
            raise InvalidSettings(
                f"{path} is missing: write one with `balsam site sample-settings > {path}`"
            ) from exc
        except (OSError, UnicodeDecodeError) as exc:
            raise InvalidSettings(f"{path} can't be read: {exc}") from exc
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str = "settings.yml") -> Self:
        """From a file's text; `name` stands in the sentence of InvalidSettings."""
        try:
            content = yaml.safe_load(text)
            _refuse_doubles(text, name)
        except yaml.YAMLError as exc:
            raise InvalidSettings(f"{name} is not YAML: {_one_line(str(exc))}") from exc
        if not isinstance(content, dict | None):
            raise InvalidSettings(f"{name} holds no keys: it should read `logging: ...` and so on")
        try:
            return cls.model_validate(content or {})
        except ValidationError as exc:
            raise InvalidSettings(f"{name}: {_sentence(exc.errors(include_url=False))}") from exc


# Sections that no service of this release serves. A site does not start with one that is turned on: nothing
# would happen, and nothing would say so.
UNSERVED = {
    "elastic_queue": "no allocations are asked for as jobs need them yet: ask with `balsam queue submit`",
    "queue_maintainer": "no number of allocations is kept queued yet: ask with `balsam queue submit`",
    "file_cleaner": "no files are removed from workdirs yet: remove them in `postprocess()` of the app",
}
# Keys that are taken from older files and have no effect here.
WITHOUT_EFFECT = {
    "logging.buffer_num_records": "log records are written at once",
    "logging.flush_period": "log records are written at once",
    "launcher.delay_sec": "launchers wait for events, not for a period",
    "launcher.local_app_launcher": "jobs of one process are started without a launcher",
    "launcher.serial_mode_startup_params": "the workers of serial mode are started without parameters",
    "transfers.max_concurrent_transfers": "no files are moved yet",
    "transfers.globus_endpoint_site_path": "no files are moved yet",
    "transfers.transfer_batch_size": "no files are moved yet",
    "transfers.num_items_query_limit": "no files are moved yet",
    "transfers.service_period": "no files are moved yet",
}


def refuse_unserved(path: Path, settings: Settings) -> None:
    """Raises InvalidSettings where a section is turned on that nothing serves, naming its line."""
    for section, told in UNSERVED.items():
        if getattr(settings, section) is not None:
            line = _line_of(path.read_text(encoding="utf-8"), section)
            at = f"{path}, line {line}" if line else str(path)
            raise InvalidSettings(
                f"{at}: {section} is turned on, and {told}. Set it to null: `{section}: null`"
            )


def notes_on(settings: Settings) -> list[str]:
    """What these settings ask for in vain, though the site works: one sentence each."""
    notes = []
    if settings.transfers is not None and settings.transfers.transfer_locations:
        names = ", ".join(settings.transfers.transfer_locations)
        notes.append(
            f"transfers.transfer_locations names {names}, and this release moves no files: jobs with "
            "transfers are refused"
        )
    changed = [key for key in WITHOUT_EFFECT if _has_own_value(settings, key)]
    return notes + [f"{key} has no effect: {WITHOUT_EFFECT[key]}" for key in changed]


def _has_own_value(settings: Settings, key: str) -> bool:
    section, _, name = key.partition(".")
    if getattr(settings, section) is None:
        return False
    value, default = (getattr(getattr(one, section), name) for one in (settings, Settings()))
    if key == "launcher.local_app_launcher":
        return launcher_name(value) != launcher_name(default)
    return bool(value != default)


def _line_of(text: str, key: str) -> int | None:
    """Where a key of the outermost level stands, counted from 1."""
    node = yaml.compose(text, yaml.SafeLoader)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((name.start_mark.line + 1 for name, _ in pairs if name.value == key), None)


def _refuse_doubles(text: str, name: str) -> None:
    """YAML takes the last of two equal keys, and what the first one said is lost without a word."""
    nodes = [(yaml.compose(text, yaml.SafeLoader), "")]
    while nodes:
        node, prefix = nodes.pop()
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        seen: dict[str, int] = {}
        for key, value in pairs:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise InvalidSettings(
                    f"{name}, line {line}: {prefix}{key.value} stands there a second time, after line "
                    f"{seen[key.value]}: keep one of them"
                )
            seen[str(key.value)] = line
            nodes.append((value, f"{prefix}{key.value}."))


def sample_settings_text() -> str:
    """The commented settings.yml of a new site."""
    return (files("balsam.runtime") / "settings.yml").read_text(encoding="utf-8")


def known_keys() -> list[str]:
    """Every key with a fixed name, dotted: `launcher.idle_ttl_sec`."""
    return list(_keys_of(Settings, ""))


def _keys_of(section: type[Section], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        for inner in _sections_in(field.annotation):
            yield from _keys_of(inner, f"{prefix}{name}.")


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    options = (annotation, *getattr(annotation, "__args__", ()))
    return (o for o in options if isinstance(o, type) and issubclass(o, Section) and o is not QueueSettings)


def _sentence(errors: list[ErrorDetails]) -> str:
    # A misspelt key is the likely reason for one that is missing.
    errors = sorted(errors, key=lambda error: error["type"] != "extra_forbidden")
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    return _describe(errors[0]) + more


def _describe(error: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key} is no setting{_suggestion(key)}"
    if error["type"] == "missing":
        return f"{key} is missing"
    shown = "null" if error["input"] is None else repr(error["input"])
    return f"{key} is {shown}: {error['msg'].removeprefix('Value error, ')}"


def _suggestion(key: str) -> str:
    """Names the nearest right key: one of the same section, one of the same name, or the most alike."""
    section, _, name = key.rpartition(".")
    keys = known_keys()
    if section.startswith("scheduler.allowed_queues."):
        keys = [f"{section}.{field}" for field in QueueSettings.model_fields]
    siblings = [k for k in keys if k.rpartition(".")[0] == section]
    near = (
        difflib.get_close_matches(key, siblings, 1, cutoff=0.7)
        or [k for k in keys if k.rpartition(".")[2] == name]
        or difflib.get_close_matches(key, keys, 1, cutoff=0.5)
    )
    if near:
        return f"; did you mean {near[0]}?"
    return f"; {section or 'a settings file'} may hold {', '.join(_last_name(k) for k in siblings)}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
