"""Many short jobs on a real Slurm: as its own jobs and steps, and by one BatchJob with a launcher.

    python benchmarks/pilot_vs_queue.py [--quick] [--json FILE] [--rows NAME ...]

Slurm, its virtual nodes, server, site, agent and launcher share this machine. It needs root and Debian's
slurm-wlm and munge. docs/benchmarks.md tells what each row means.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from balsam.client.login import load_login
from balsam.client.transport import Client
from balsam.core.states import JobMode
from balsam.runtime.site_folder import SiteFolder
from balsam.sdk.context import use_client
from benchmarks import report
from benchmarks.report import Row, less_is_better, more_is_better, unjudged
from examples.slurm.cluster import PROMPT, ClusterMissing, SlurmCluster

NODES, CPUS = 4, 8
# Slurm's own defaults; and what its guide for high throughput sets, beside a start without delay.
DEFAULT = "default_queue_depth=100"
TUNED = f"{PROMPT},default_queue_depth=10000,max_rpc_cnt=0"
RATE, DELAY, COMMANDS = "rate", "delay", "commands"
CHOICES = (RATE, DELAY, COMMANDS)
STEPS_RATIO, RUN_DELAY_SEC = 20.0, 0.3
LOOK_SEC = 0.5
START_SEC = 5.0  # after which an agent has had its first look
TIMEOUT_SEC = 1_200.0
COUNTED = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo")
SHIM = """\
#!/bin/sh
echo {name} >> {log}
exec {real} "$@"
"""


@dataclass(frozen=True)
class Sizes:
    """`jobs`: of each way; `delays`: jobs one at a time; `allocations` while commands are counted."""

    jobs: int
    delays: int
    allocations: int
    count_sec: float
    judged: bool


FULL = Sizes(jobs=500, delays=50, allocations=50, count_sec=120.0, judged=True)
QUICK = Sizes(jobs=40, delays=5, allocations=4, count_sec=15.0, judged=False)


def measure(sizes: Sizes, names: Collection[str]) -> list[Row]:
    """The chosen rows, each on a Slurm of its own."""
    found: list[Row] = []
    for name in CHOICES:
        if name in names:
            found += _MEASURES[name](sizes)
    return found if sizes.judged else [unjudged(row) for row in found]


def rate_rows(sizes: Sizes) -> list[Row]:
    """Jobs per minute by each way; Balsam's beside each of the others."""
    count = sizes.jobs
    with cluster(DEFAULT) as slurm:
        single = timed(lambda: one_by_one(slurm, count))
        plain = timed(lambda: as_array(slurm, count))
    with cluster(TUNED) as slurm:
        tuned = timed(lambda: as_array(slurm, count))
        steps = as_steps(slurm, count)
        with site_on(slurm) as site:
            whole, running = by_launcher(site, count)
    beside = {
        "one BatchJob, beside sbatch one by one": (whole, single, None),
        "one BatchJob, beside an array, default settings": (whole, plain, None),
        "one BatchJob, beside an array, tuned settings": (whole, tuned, None),
        "within an allocation, beside srun steps": (running, steps, STEPS_RATIO),
    }
    return [_row(name, count, *seconds) for name, seconds in beside.items()]


def _row(name: str, count: int, ours: float, theirs: float, ratio: float | None) -> Row:
    reference = 60 * count / theirs
    return more_is_better(name, 60 * count / ours, "jobs/min", reference, ratio and ratio * reference)


def delay_rows(sizes: Sizes) -> list[Row]:
    """From runnable to RUNNING, of jobs that come one at a time to a launcher that is idle."""
    with cluster(TUNED) as slurm, site_on(slurm) as site:
        delays = run_delays(site, sizes.delays)
    median = statistics.median(delays)
    return [less_is_better("runnable to RUNNING, median", median, "s", None, RUN_DELAY_SEC)]


def command_rows(sizes: Sizes) -> list[Row]:
    """Commands of Slurm that an agent runs, as so many an hour."""
    with cluster(TUNED) as slurm, site_on(slurm, template="exec sleep 3000") as site:
        time.sleep(START_SEC)
        idle = commands_per_hour(site, sizes.count_sec)
        ids = [ask_for(site, JobMode.serial, 1) for _ in range(sizes.allocations)]
        wait_for("all allocations are out", lambda: _in_queue(slurm) == len(ids))
        time.sleep(2 * LOOK_SEC)
        busy = commands_per_hour(site, sizes.count_sec)
    what = "scheduler commands, a site with"
    return [
        less_is_better(f"{what} no allocations", idle, "1/h", None, None),
        less_is_better(f"{what} {sizes.allocations} allocations", busy, "1/h", None, None),
    ]


_MEASURES: dict[str, Callable[[Sizes], list[Row]]] = {
    RATE: rate_rows,
    DELAY: delay_rows,
    COMMANDS: command_rows,
}


@contextmanager
def cluster(scheduling: str) -> Iterator[SlurmCluster]:
    with SlurmCluster(NODES, CPUS, scheduling=scheduling) as made:
        yield made


@contextmanager
def site_on(slurm: SlurmCluster, template: str | None = None) -> Iterator[SiteFolder]:
    """A server, a site on the cluster and its agent. `template`: in place of a launcher."""
    from balsam.runtime.site_folder import create_site_folder
    from balsam.server import daemon
    from balsam.site.processes import start_agent, stop_agent

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="balsam-pilot-")))
        stack.enter_context(_environment(slurm, folder))
        daemon.start(folder / "server")
        stack.callback(daemon.stop, folder / "server")
        login = load_login(folder / "server" / "client.yml")
        assert login is not None, "the server has just written it"
        client = stack.enter_context(Client(login.api_root, login.token))
        stack.enter_context(use_client(client))
        site = create_site_folder(folder / "site", "first-light", client, machine="slurm")
        _settle(site)
        if template is not None:
            site.template_path.write_text(f"#!/bin/bash\n{template}\n")
        started = start_agent(site)
        if not started.started:
            raise SystemExit(started.sentence)
        # Launchers end while the server still answers, and before their folder goes.
        stack.callback(_end_all, slurm)
        stack.callback(stop_agent, site)
        yield site


def _end_all(slurm: SlurmCluster) -> None:
    slurm.run("scancel", "--user", "root")
    wait_for("Slurm has ended all jobs", lambda: not _in_queue(slurm))


def one_by_one(slurm: SlurmCluster, count: int) -> None:
    """As a script with a loop does."""
    for _ in range(count):
        slurm.run("sbatch", *_options(slurm), "--wrap=/bin/true")
    _until_done(slurm)


def as_array(slurm: SlurmCluster, count: int) -> None:
    slurm.run("sbatch", *_options(slurm), f"--array=1-{count}", "--wrap=/bin/true")
    _until_done(slurm)


def as_steps(slurm: SlurmCluster, count: int) -> float:
    """Seconds, of as many at a time as the nodes have CPUs."""
    step = "srun -N1 -n1 -c1 --exact --mem=0 --mpi=none --cpu-bind=none /bin/true"
    loop = f"seq {count} | xargs -P {NODES * CPUS} -I NUMBER {step}"
    script = f"begin=$(date +%s.%N); {loop} || exit 1; echo $begin $(date +%s.%N)"
    words = ("salloc", "-Q", f"-N{NODES}", "--exclusive", "bash", "-c", script)
    begin, end = slurm.run(*words, timeout=TIMEOUT_SEC).split()
    return float(end) - float(begin)


def by_launcher(site: SiteFolder, count: int) -> tuple[float, float]:
    """Seconds from the request for nodes to the last end, and from the first start."""
    from balsam.analytics import throughput_report
    from balsam.api import EventLog, Job
    from benchmarks.first_light_apps import Nothing

    Nothing.sync()
    jobs = [Nothing.submit(f"rate/{n}", node_packing_count=CPUS, save=False) for n in range(count)]
    created = list(Job.objects.bulk_create(jobs))
    begin = time.perf_counter()
    ask_for(site, JobMode.serial, NODES)
    if Job.objects.wait(created, timeout=TIMEOUT_SEC).not_done:
        raise SystemExit("not all jobs have finished: see the logs of the site")
    whole = time.perf_counter() - begin
    started, _ = throughput_report(EventLog.objects.all(), to_state="RUNNING")
    finished, counts = throughput_report(EventLog.objects.all(), to_state="JOB_FINISHED")
    if not counts or counts[-1] != count:
        raise SystemExit(f"{counts[-1] if counts else 0} of {count} jobs finished: see the logs of the site")
    return whole, float((finished[-1] - started[0]).total_seconds())


def run_delays(site: SiteFolder, count: int) -> list[float]:
    """Seconds of each."""
    from balsam.analytics import run_delays as reported
    from balsam.api import Job
    from benchmarks.first_light_apps import Nothing

    Nothing.sync()
    ask_for(site, JobMode.serial, NODES)
    Job.objects.wait([Nothing.submit("warm-up")], timeout=TIMEOUT_SEC)
    each = []
    for number in range(count):
        job = Nothing.submit(f"delay/{number}")
        Job.objects.wait([job], timeout=TIMEOUT_SEC)
        (told,) = reported(Job.objects.filter(id=job.id))
        each.append(told.median_sec)
    return each


def commands_per_hour(site: SiteFolder, seconds: float) -> float:
    """As counted in so many seconds."""
    log = _log(site)
    before = len(log.read_text().splitlines())
    time.sleep(seconds)
    return (len(log.read_text().splitlines()) - before) * 3_600 / seconds


def ask_for(site: SiteFolder, mode: JobMode, num_nodes: int) -> int:
    """A BatchJob's id."""
    from balsam.api import BatchJob

    made = BatchJob.objects.create(
        num_nodes=num_nodes,
        wall_time_min=50,
        job_mode=mode,
        site_id=site.site_id,
        project="none",
        queue="debug",
    )
    return made.id


def timed(act: Callable[[], None]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SEC
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {TIMEOUT_SEC:g} s until {what}")
        time.sleep(LOOK_SEC)


def _options(slurm: SlurmCluster) -> list[str]:
    """One CPU, and an output of its own, as Balsam's jobs have."""
    outputs = slurm.folder / "outputs"
    outputs.mkdir(exist_ok=True)
    return ["-N1", "-n1", "--mem=1", f"--output={outputs}/%j", "--chdir=/"]


def _in_queue(slurm: SlurmCluster) -> int:
    return len(slurm.run("squeue", "-h", "-r", "-t", "PD,R,CG", "-o", "%i").split())


def _until_done(slurm: SlurmCluster) -> None:
    wait_for("Slurm has run all jobs", lambda: not _in_queue(slurm))
    bad = slurm.run("squeue", "-h", "-r", "-t", "F,CA,NF,TO,BF,OOM", "-o", "%i %T").splitlines()
    if bad:
        raise SystemExit(f"{len(bad)} jobs of Slurm failed: {bad[0]}")


def _log(site: SiteFolder) -> Path:
    return site.path.parent / "commands"


def _settle(site: SiteFolder) -> None:
    content = yaml.safe_load(site.settings_path.read_text())
    queue = {"max_nodes": NODES, "max_walltime": 60, "max_queued_jobs": 1_000}
    content["scheduler"] |= {
        "allowed_queues": {"debug": queue},
        "allowed_projects": ["none"],
        "submit": {"project_option": ""},
    }
    content["launcher"] |= {
        "compute_node": "slurm",
        "mpi_app_launcher": "srun",
        "idle_ttl_sec": int(TIMEOUT_SEC),
    }
    site.settings_path.write_text(yaml.safe_dump(content, sort_keys=False))
    site.__dict__.pop("settings", None)


@contextmanager
def _environment(slurm: SlurmCluster, folder: Path) -> Iterator[None]:
    """For the agent, whose commands of Slurm are written down; and for this process's calls."""
    shims = folder / "bin"
    shims.mkdir()
    (folder / "commands").touch()
    for name in COUNTED:
        real = slurm.run("sh", "-c", f"command -v {name}").strip()
        (shims / name).write_text(SHIM.format(name=name, log=folder / "commands", real=real))
        (shims / name).chmod(0o755)
    before = dict(os.environ)
    os.environ["BALSAM_CLIENT_PATH"] = str(folder / "server" / "client.yml")
    os.environ["SLURM_CONF"] = slurm.environment["SLURM_CONF"]
    os.environ["PATH"] = f"{shims}:{os.environ['PATH']}"
    os.environ.pop("BALSAM_SITE_PATH", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> int:
    parser = report.parser(__doc__)
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=CHOICES,
        default=CHOICES,
        metavar="NAME",
        help=f"only these: {', '.join(CHOICES)}",
    )
    options = parser.parse_args()
    try:
        rows = measure(QUICK if options.quick else FULL, options.rows)
    except ClusterMissing as exc:
        raise SystemExit(str(exc)) from exc
    return report.publish(rows, options.json, "reference")


if __name__ == "__main__":
    sys.exit(main())
