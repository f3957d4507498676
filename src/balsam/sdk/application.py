"""ApplicationDefinition: what users subclass to say how a job is run."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from balsam.core.states import JobState
from balsam.schemas import (
    AppParameter,
    DeserializeError,
    EmptyPayload,
    JobTransferItem,
    TransferSlot,
)
from balsam.schemas.payloads import MadeElsewhere, deserialize_class
from balsam.sdk import (
    app_interface,
    class_origin,
    command_template,
    job_creation,
    registration,
)
from balsam.sdk.apps import App
from balsam.sdk.context import default_client
from balsam.sdk.model import DoesNotExist
from balsam.sdk.sites import Site

if TYPE_CHECKING:
    from balsam.client.transport import Client
    from balsam.schemas.reading import UserModules
    from balsam.sdk.jobs import Job, JobOptions

HOOKS = (
    "preprocess",
    "postprocess",
    "handle_error",
    "handle_timeout",
    "shell_preamble",
    "get_arg_str",
    "get_environ_vars",
)


class ModuleLoadError(Exception):
    """An app's class can't be loaded here."""


class ApplicationDefinition:
    """An application: subclass it, set `site`, and either `command_template` or `run()`.

        class Hello(ApplicationDefinition):
            site = "laptop"
            command_template = "echo Hello, {{ name }}!"

        Hello.sync()
        job = Hello.submit(workdir="hello/1", name="world")

    Hooks (`preprocess`, `postprocess`, `handle_error`, `handle_timeout`) run at the site, not on the
    compute nodes; they read and set `self.job`, and the working directory is the job's workdir.

    - `site`: id, name or Site.
    - `command_template`: a bash script as it is written; parameters in double braces (Jinja2). Each value
      is one word of the shell, whatever it holds; `{{ name | raw }}` is text. The status of the last command
      is that of the script.
    - `strict`: True: the script ends at the first command that fails (bash's `-euo pipefail`).
    - `run(self, ...)`: Python instead of a command; what it returns is the job's result.
    - `parameters`: name -> AppParameter, where a parameter of a template is optional or needs help text.
    - `transfers`: slot -> TransferSlot: files staged in and out.
    - `environment_variables`: of the command or of `run()`.
    - `cleanup_files`: patterns of files that are deleted from the workdir after the job.
    - `isolate`: True: each run() in a process of its own, not in a worker that runs many.
    - `python_exe`: the path of the interpreter at the site that runs `run()` and the hooks, with balsam
      installed in it; as a rule the one that runs the site.
    """

    ARG_CHUNK_SIZE: ClassVar[int] = 100_000  # longest single argument that published launchers passed
    ModuleLoadError = ModuleLoadError

    site: ClassVar[int | str | Site | None] = None
    command_template: ClassVar[str | None] = None
    run: Any = None
    parameters: ClassVar[dict[str, Any]]
    transfers: ClassVar[dict[str, Any]] = {}
    environment_variables: ClassVar[dict[str, str]] = {}
    cleanup_files: ClassVar[list[str]] = []
    strict: ClassVar[bool] = False
    isolate: ClassVar[bool] = False
    python_exe: ClassVar[str] = sys.executable

    # As published, read from the class.
    source_code: ClassVar[str]
    _default_params: ClassVar[dict[str, str]]
    if not TYPE_CHECKING:
        parameters = app_interface.FoundParameters()
        source_code = app_interface.FoundSource()
        _default_params = app_interface.FoundDefaults()

    __app_id__: ClassVar[int | None] = None
    _client_key: ClassVar[str | None] = None  # of the client through which __app_id__ was learnt

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__dict__.get("run") is not None and cls.__dict__.get("command_template") is not None:
            raise AttributeError(f"the app {cls.__name__} has both command_template and run(): remove one")
        cls.__app_id__ = None
        cls._client_key = None
        registration.note_origin(cls, class_origin.origin(cls.__name__, sys._getframe(1)))

    def __init__(self, job: Job) -> None:
        self.job = job

    # ---- what users override ----

    def preprocess(self) -> None:
        """Before the first run: `self.job.state` goes to PREPROCESSED, or to FAILED."""
        self.job.state = JobState.preprocessed

    def postprocess(self) -> None:
        """After a run that ended well: to POSTPROCESSED, or to RESTART_READY or FAILED."""
        self.job.state = JobState.postprocessed

    def handle_error(self) -> None:
        """After a run that ended with an error: to FAILED, or to RESTART_READY."""
        self.job.state = JobState.failed

    def handle_timeout(self) -> None:
        """After a run that was cut short: to RESTART_READY, or to FAILED."""
        self.job.state = JobState.restart_ready

    def shell_preamble(self) -> str | list[str] | None:
        """What bash is to run before the command, in the same shell, e.g. `module load` lines.

        A text is one script: the command is run unless its last status tells of a failure. A list of lines is
        one script that ends at the first command that fails.
        """
        return None

    def get_arg_str(self) -> str:
        """The command line; the template filled in with the job's parameters (empty for `run()` apps)."""
        if self.command_template is None:
            return ""
        given = self.job.get_parameters()
        defaults = {name: spec.default for name, spec in self.interface().items() if spec.default is not None}
        return command_template.render(self.command_template, {**defaults, **given})

    def get_environ_vars(self) -> dict[str, str]:
        """Environment variables of the run, beside the launcher's own."""
        own = {"BALSAM_JOB_ID": str(self.job.id), "OMP_NUM_THREADS": str(self.job.threads_per_rank)}
        return own | {name: str(value) for name, value in self.environment_variables.items()}

    # ---- registration ----

    @classmethod
    def sync(cls, rename_from: str | None = None) -> None:
        """Registers the app at its site, or updates what is registered, as the first `submit()` does.

        A change of its code or text makes a version (`App.versions()`).
        `rename_from`: the name under which it is registered now; its jobs stay its own.
        """
        client = default_client()
        app_interface.warn_of_doubts(cls)
        site_id = _site_id(cls.site, cls.__name__, client)
        cls._remember(registration.sync(cls, client, site_id, rename_from))

    @classmethod
    def to_dict(cls) -> dict[str, Any]:
        """What `sync()` sends."""
        site_id = _site_id(cls.site, cls.__name__, default_client())
        return registration.body(cls, site_id, registration.digest_of(cls))

    @classmethod
    def resolve_site_id(cls) -> int:
        """The id of `site`; raises Site.DoesNotExist."""
        return _site_id(cls.site, cls.__name__, default_client())

    @classmethod
    def interface(cls) -> dict[str, AppParameter]:
        """The app's parameters: those declared, those of the template, or those of `run()`."""
        return app_interface.parameters_of(cls)

    # ---- jobs ----

    @classmethod
    def submit(
        cls,
        workdir: str | Path,
        tags: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        return_code: int | None = None,
        num_nodes: int = 1,
        ranks_per_node: int = 1,
        threads_per_rank: int = 1,
        threads_per_core: int = 1,
        launch_params: Mapping[str, Any] | None = None,
        gpus_per_rank: float = 0,
        node_packing_count: int = 1,
        wall_time_min: int = 0,
        parent_ids: Iterable[int | Job] = (),
        transfers: Mapping[str, JobTransferItem | str] | None = None,
        save: bool = True,
        **app_params: Any,
    ) -> Job:
        """A new job of this app, saved unless `save=False` (for `Job.objects.bulk_create`).

        `workdir`: relative to the site's data folder. `wall_time_min`: how long it may take; 0: not said.
        Other keywords are the app's parameters, but for `priority`, `parents_must`, `max_restarts` and
        `mem_mb_per_rank` where the app has no such parameter. A wrong one is a ParameterError (a
        TypeError and a ValueError) that names the right ones, before anything is sent.

        `if_exists`, too: what to do where there is a job in this workdir: `warn` (the default) makes another
        one and logs that, `allow` says nothing; where it is of this app, `error` raises WorkdirTaken, and
        `skip` takes that job.
        """
        from balsam.sdk.jobs import JOB_EXTRAS, Job

        own: JobOptions = {
            "tags": tags,
            "data": data,
            "return_code": return_code,
            "num_nodes": num_nodes,
            "ranks_per_node": ranks_per_node,
            "threads_per_rank": threads_per_rank,
            "threads_per_core": threads_per_core,
            "launch_params": launch_params,
            "gpus_per_rank": gpus_per_rank,
            "node_packing_count": node_packing_count,
            "wall_time_min": wall_time_min,
            "parent_ids": parent_ids,
            "transfers": transfers,
        }
        taken = cls.interface()
        job_creation.refuse_hidden(cls.__name__, taken, own)
        if_exists: Any = "warn" if "if_exists" in taken else app_params.pop("if_exists", "warn")
        extras = {
            name: app_params.pop(name) for name in JOB_EXTRAS if name in app_params and name not in taken
        }
        own["parameters"] = app_params
        own["if_exists"] = if_exists
        job = Job(workdir, cls, **own, **extras)
        if save:
            job.save()
        return job

    @classmethod
    def registered_id(cls, client: Client) -> int:
        """The id under which `client`'s user registered this app; raises App.DoesNotExist."""
        if not cls._is_known_to(client):
            app = registration.registered(client, _site_id(cls.site, cls.__name__, client), cls.__name__)
            if app is None:
                raise DoesNotExist(
                    f"the app {cls.__name__} is not registered at site {cls.site!r}: "
                    f"call {cls.__name__}.sync()"
                )
            cls._remember(app)
        assert cls.__app_id__ is not None
        return cls.__app_id__

    @classmethod
    def synced_id(cls, client: Client) -> int:
        """The id under which this very code is registered: it is synced where it is not.

        Asks the server once per process and client, and again after the code was defined anew. A class that
        came from the server, or by value from another process, replaces nothing.
        """
        if not (cls._is_known_to(client) and registration.is_current(cls)):
            app_interface.warn_of_doubts(cls)
            cls._remember(registration.use(cls, client, _site_id(cls.site, cls.__name__, client)))
        assert cls.__app_id__ is not None
        return cls.__app_id__

    # ---- loading ----

    @classmethod
    def load_by_site(cls, site: int | str | Site) -> dict[str, type[ApplicationDefinition]]:
        """All apps of a site by name; a warning for each whose class does not load here."""
        client = default_client()
        loaded = {}
        for app in App.objects.using(client).filter(site_id=_site_id(site, "load_by_site", client)):
            try:
                loaded[app.name] = cls.from_serialized(app)
            except ModuleLoadError as exc:
                warnings.warn(str(exc), RuntimeWarning, stacklevel=2)
        return loaded

    @classmethod
    def load_by_name(cls, app_name: str, site_name: str | None = None) -> type[ApplicationDefinition]:
        """The class of a registered app; raises App.DoesNotExist, or ModuleLoadError with the reason.

        `site_name` may be left out where only one site has an app of that name.
        """
        return cls.from_serialized(App.objects.named(app_name, site_name))

    @classmethod
    def load_by_id(cls, app_id: int) -> type[ApplicationDefinition]:
        """The class of a registered app; raises App.DoesNotExist, or ModuleLoadError with the reason."""
        return cls.from_serialized(App.objects.get(id=app_id))

    @classmethod
    def from_serialized(cls, app: App, modules: UserModules | None = None) -> type[ApplicationDefinition]:
        """The class that an App record carries; raises ModuleLoadError with the reason.

        `modules`: where the user's modules are made, for a process that runs the app.
        """
        try:
            loaded = deserialize_class(
                app.serialized_class, made.model_dump() if (made := app.serializer) else None, modules
            )
        except MadeElsewhere as exc:
            raise ModuleLoadError(
                f"the app {app.name} (id {app.id}) can't be loaded by {sys.executable}: {exc}. Sync it again "
                f"with Python {exc.here.python}, or set its python_exe to an interpreter of Python "
                f"{exc.made.python} at the site in which balsam is installed"
            ) from exc
        except (DeserializeError, EmptyPayload) as exc:
            raise ModuleLoadError(f"the app {app.name} (id {app.id}) does not load: {exc}") from exc
        if not (isinstance(loaded, type) and issubclass(loaded, ApplicationDefinition)):
            raise ModuleLoadError(f"the app {app.name} (id {app.id}) holds no ApplicationDefinition")
        loaded._remember(app)
        registration.note_loaded(loaded)
        return loaded

    # ---- inside ----

    @classmethod
    def _remember(cls, app: App) -> None:
        cls.__app_id__ = app.id
        cls._client_key = app.client().key

    @classmethod
    def _is_known_to(cls, client: Client) -> bool:
        return cls.__app_id__ is not None and cls._client_key == client.key

    @classmethod
    def _own_interpreter(cls) -> dict[str, str]:
        """For who starts the interpreter that opens the class: `python_exe`, where a class sets it."""
        own = cls.__mro__[: cls.__mro__.index(ApplicationDefinition)]
        return {"python_exe": str(cls.python_exe)} if any("python_exe" in vars(base) for base in own) else {}

    @classmethod
    def overridden_hooks(cls) -> list[str]:
        """Names of the hooks that this class or a class between it and ApplicationDefinition overrides."""
        return [name for name in HOOKS if getattr(cls, name) is not getattr(ApplicationDefinition, name)]

    @classmethod
    def slots(cls) -> dict[str, TransferSlot]:
        """The app's transfer slots."""
        return app_interface.transfers_of(cls)


def _site_id(site: int | str | Site | None, app_name: str, client: Client) -> int:
    if isinstance(site, Site):
        return site.id
    if isinstance(site, int):
        return site
    if isinstance(site, str):
        return Site.objects.using(client).get(name=site).id
    raise AttributeError(f"the app {app_name} has no site: set `site` to a site's name or id")
