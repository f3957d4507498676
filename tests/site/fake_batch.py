"""A batch system that speaks as a real one does, with real processes: Slurm, PBS, LSF, Flux or Grid Engine.

`python fake_batch.py SYSTEM FOLDER COMMAND WORD...`; FOLDER holds the allocations, and in `orders.json` what
the next calls of a command are to do in place of an answer, or beside it: see `FakeBatch`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

# The commands of each system, and which of them does what. Flux has one command, and words of it.
COMMANDS = {
    "slurm": ("sbatch", "squeue", "sacct", "scancel"),
    "pbs": ("qsub", "qselect", "qstat", "qdel", "qsig"),
    "lsf": ("bsub", "bjobs", "bkill"),
    "flux": ("flux",),
    "grid_engine": ("qsub", "qstat", "qacct", "qdel"),
}
ROLES = {
    "slurm": {"submit": "sbatch", "look": "squeue", "account": "sacct"},
    "pbs": {"submit": "qsub", "look": "qselect", "account": "qstat"},
    "lsf": {"submit": "bsub", "look": "bjobs", "account": "bjobs"},
    "flux": {"submit": "batch", "look": "jobs", "account": "jobs"},
    "grid_engine": {"submit": "qsub", "look": "qstat", "account": "qacct"},
}
Job = dict[str, Any]
Answer = tuple[int, str, str]  # exit code, standard output, standard error


class FakeBatch:
    """The commands in a folder that belongs in front of the PATH."""

    def __init__(self, folder: Path, system: str) -> None:
        self.folder = folder
        self.system = system
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for command in COMMANDS[system]:
            words = [sys.executable, "-I", "-S", __file__, system, str(folder), command]
            (self.bin / command).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            (self.bin / command).chmod(0o755)

    def order(self, role: str, times: int = 1, **what: Any) -> None:
        """What the next calls do: `hang` seconds before or after (`done`) the work, `rc` with `stderr`, or
        print `text` in place of the answer, or the first `cut` characters of it."""
        with locked(self.folder):
            orders = read(self.folder / "orders.json", {})
            orders.setdefault(ROLES[self.system][role], []).extend([what] * times)
            write(self.folder / "orders.json", orders)

    def left(self, role: str) -> int:
        """How many of the orders are still to be carried out."""
        with locked(self.folder):
            return len(read(self.folder / "orders.json", {}).get(ROLES[self.system][role], []))

    def forget(self) -> None:
        with locked(self.folder):
            write(self.folder / "orders.json", {})

    def hide(self, hidden: bool) -> None:
        """Whether accounting does not know yet what has ended."""
        if hidden:
            (self.folder / "late").touch()
        else:
            (self.folder / "late").unlink()

    def expire(self, number: int) -> None:
        """Its wall time is over."""
        change(self.folder, number, how="walltime")
        os.killpg(self.jobs()[number - 1]["pid"], signal.SIGKILL)

    def jobs(self) -> list[Job]:
        with locked(self.folder):
            return jobs(self.folder)

    def calls(self, role: str) -> int:
        log = self.folder / "calls"
        return log.read_text().split().count(ROLES[self.system][role]) if log.exists() else 0

    def end(self) -> None:
        """Ends all processes."""
        (self.folder / "over").touch()
        for job in self.jobs():
            for pid in (job.get("runner"), job.get("pid")):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    if pid:
                        os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read(path: Path, default: Any) -> Any:
    return json.loads(path.read_text()) if path.exists() else default


def write(path: Path, content: Any) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(content))
    draft.replace(path)


def jobs(folder: Path) -> list[Job]:
    return [read(path, {}) for path in sorted(folder.glob("job-*.json"), key=lambda p: int(p.stem[4:]))]


def change(folder: Path, number: int, **values: Any) -> None:
    with locked(folder):
        path = folder / f"job-{number}.json"
        write(path, {**read(path, {}), **values})


def main(system: str, folder: Path, command: str, words: Sequence[str]) -> int:
    if command == "run":
        return run(system, folder, int(words[0]))
    if command == "flux":
        command, words = words[0], words[1:]
    with locked(folder):
        orders = read(folder / "orders.json", {})
        order: Mapping[str, Any] = orders.get(command, [{}])[0] if orders.get(command) else {}
        if order:
            orders[command] = orders[command][1:]
            write(folder / "orders.json", orders)
        with (folder / "calls").open("a") as log:
            log.write(f"{command}\n")
    if "hang" in order and not order.get("done"):
        hang(folder, order["hang"])
    if "rc" in order:
        print(order.get("stderr", ""), file=sys.stderr)
        return int(order["rc"])
    code, answer, errors = ANSWERS[system][command](folder, words)
    sys.stderr.write(errors)
    if "hang" in order:
        hang(folder, order["hang"])
    sys.stdout.write(str(order["text"]) if "text" in order else answer[: order.get("cut", len(answer))])
    return code


def hang(folder: Path, seconds: float) -> None:
    """Until the test is over, at most."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not (folder / "over").exists():
        time.sleep(0.1)


def options(words: Sequence[str]) -> dict[str, str]:
    """`--name=value`, and `-n value`."""
    found = {
        name: value for name, _, value in (word[2:].partition("=") for word in words if word[:2] == "--")
    }
    short = {word[1:]: value for word, value in pairwise(words) if word[:1] == "-"}
    return {**short, **found}


def submit(system: str, folder: Path, job: Job) -> int:
    """Starts the script of a new allocation."""
    with locked(folder):
        number = len(jobs(folder)) + 1
        known = {"id": number, "submit": int(time.time()), "environment": dict(os.environ), **job}
        write(folder / f"job-{number}.json", known)
    subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, system, str(folder), "run", str(number)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return number


def run(system: str, folder: Path, number: int) -> int:
    """Runs the script of an allocation."""
    job = read(folder / f"job-{number}.json", {})
    with Path(job["output"]).open("ab") as output:
        script = subprocess.Popen(
            [job["script"]],
            env={**job["environment"], "FAKE_JOB_ID": str(number)},
            cwd=job["workdir"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    change(folder, number, start=int(time.time()), pid=script.pid, runner=os.getpid())
    code = script.wait()
    change(folder, number, code=code, end=int(time.time()))
    return 0


def going(folder: Path) -> list[Job]:
    with locked(folder):
        return [job for job in jobs(folder) if "end" not in job]


def recorded(folder: Path) -> list[Job]:
    """What accounting knows: what has ended, unless it lags."""
    with locked(folder):
        late = (folder / "late").exists()
        return [job for job in jobs(folder) if not (late and "end" in job)]


def signalled(folder: Path, number: int, *signals: signal.Signals, politely: bool = False) -> bool:
    """Whether there was anything to signal; the script alone (`politely`), or all that it has started."""
    job = read(folder / f"job-{number}.json", {})
    if "end" in job or "pid" not in job:
        return False
    if not politely:
        change(folder, number, how="cancelled")
    for one in signals:
        with contextlib.suppress(ProcessLookupError):
            (os.kill if politely else os.killpg)(job["pid"], one)
    return True


# Slurm


def sbatch(folder: Path, words: Sequence[str]) -> Answer:
    asked = options(words)
    job = {
        "name": asked["job-name"],
        "script": words[-1],
        "output": asked["output"],
        "workdir": asked["chdir"],
        "nodes": int(asked["nodes"]),
        "queue": asked["partition"],
    }
    return 0, f"{submit('slurm', folder, job)}\n", ""


def slurm_state(job: Job) -> str:
    if "end" not in job:
        return "RUNNING" if "start" in job else "PENDING"
    if job.get("how") == "cancelled":
        return f"CANCELLED by {os.getuid()}"
    return "TIMEOUT" if job.get("how") else "FAILED" if job["code"] else "COMPLETED"


def squeue(folder: Path, words: Sequence[str]) -> Answer:
    """Those that have ended are gone at once."""
    lines = [
        f"{j['id']}|{j['id']}|{slurm_state(j)}|None|{j.get('start', 'N/A')}|N/A|{j['submit']}|"
        f"{j['nodes']}|nid0001|{j['queue']}|{j['name']}\n"
        for j in going(folder)
    ]
    return 0, "".join(lines), ""


def sacct(folder: Path, words: Sequence[str]) -> Answer:
    asked = options(words)
    ids, names = asked.get("jobs", "").split(","), asked.get("name", "").split(",")
    lines = [
        f"{j['id']}|{slurm_state(j)}|{max(j.get('code', 0), 0)}:{max(-j.get('code', 0), 0)}|None|"
        f"{j['submit']}|"
        f"{j.get('start', 'Unknown')}|{j.get('end', 'Unknown')}|nid0001|{j['name']}\n"
        for j in recorded(folder)
        if str(j["id"]) in ids or j["name"] in names
    ]
    return 0, "".join(lines), ""


def scancel(folder: Path, words: Sequence[str]) -> Answer:
    signalled(folder, int(words[-1]), signal.SIGTERM, politely="--batch" in words)
    return 0, "", ""


# PBS


def day(seconds: int) -> str:
    return time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(seconds))


def pbs_qsub(folder: Path, words: Sequence[str]) -> Answer:
    asked = options(words)
    job = {
        "name": asked["N"],
        "script": words[-1],
        "output": asked["o"],
        "workdir": "/",
        "nodes": 1,
        "queue": asked["q"],
    }
    return 0, f"{submit('pbs', folder, job)}.pbs1\n", ""


def qselect(folder: Path, words: Sequence[str]) -> Answer:
    name = options(words).get("N")
    found = recorded(folder) if "-x" in words else going(folder)
    return 0, "".join(f"{j['id']}.pbs1\n" for j in found if name in (None, j["name"])), ""


def pbs_qstat(folder: Path, words: Sequence[str]) -> Answer:
    known = recorded(folder) if words[0] == "-xf" else going(folder)
    wanted = [int(word.partition(".")[0]) for word in words[1:]]
    found = [job for job in known if job["id"] in wanted]
    missing = sorted({*wanted} - {job["id"] for job in found})
    errors = "".join(f"qstat: Unknown Job Id {number}.pbs1\n" for number in missing)
    return 153 if missing else 0, "".join(map(pbs_block, found)), errors


def pbs_block(job: Job) -> str:
    ended = "end" in job
    state = "F" if ended else "R" if "start" in job else "Q"
    told = {"Job_Name": job["name"], "job_state": state, "queue": job["queue"], "qtime": day(job["submit"])}
    if "start" in job:
        told |= {"stime": day(job["start"]), "exec_host": "n1/0*4"}
    if ended:
        code = -29 if job.get("how") == "walltime" else job["code"]
        told |= {"Exit_status": str(code if code >= 0 or code == -29 else 256 - code)}
        told |= {"history_timestamp": str(job["end"])}
    if job.get("how") == "cancelled":
        told |= {"comment": "Job run at some time and terminated by me@pbs1"}
    lines = "".join(f"    {key} = {value}\n" for key, value in told.items())
    return f"Job Id: {job['id']}.pbs1\n{lines}    Variable_List = PBS_O_HOME=/root,\n\tPBS_O_LANG=C\n\n"


def pbs_end(folder: Path, words: Sequence[str]) -> Answer:
    number = words[-1].partition(".")[0]
    known = signalled(folder, int(number), signal.SIGTERM, politely="-s" in words)
    return (0, "", "") if known else (153, "", f"qdel: Unknown Job Id {words[-1]}\n")


# LSF


def bsub(folder: Path, words: Sequence[str]) -> Answer:
    asked = options(words)
    script = folder / f"stdin-{os.getpid()}"
    script.write_text(sys.stdin.read())
    script.chmod(0o755)
    job = {
        "name": asked["J"],
        "script": str(script),
        "output": asked["o"],
        "workdir": asked["cwd"],
        "nodes": 1,
        "queue": asked["q"],
    }
    return 0, f"Job <{submit('lsf', folder, job)}> is submitted to queue <{asked['q']}>.\n", ""


def bjobs(folder: Path, words: Sequence[str]) -> Answer:
    name = options(words).get("J")
    ids = [int(word) for word in words if word.isdecimal()]
    known = recorded(folder) if "-a" in words else going(folder)
    found = [j for j in known if name in (None, j["name"]) and (not ids or j["id"] in ids)]
    gone = "".join(f"Job <{i}> is not found\n" for i in ids if i not in [j["id"] for j in found])
    errors = gone or ("" if found else "No unfinished job found\n")
    return 255 if errors else 0, "".join(map(lsf_line, found)), errors


def lsf_line(job: Job) -> str:
    def when(key: str) -> str:
        return time.strftime("%b %d %H:%M", time.localtime(job[key])) if key in job else "-"

    state = "EXIT" if job.get("code") else "DONE" if "end" in job else "RUN" if "start" in job else "PEND"
    code = job.get("code", 0) if job.get("code", 0) >= 0 else 128 - job["code"]
    reason = {"walltime": "TERM_RUNLIMIT: killed", "cancelled": "TERM_OWNER: killed"}.get(
        job.get("how", ""), "-"
    )
    return (
        f"{job['id']}|{state}|{code}|{job['queue']}|1|4*n1|{when('start')}|{when('end')}|{when('submit')}|"
        f"{reason}|{job['name']}\n"
    )


def bkill(folder: Path, words: Sequence[str]) -> Answer:
    known = signalled(folder, int(words[-1]), signal.SIGTERM, politely="-s" in words)
    return (0, "", "") if known else (255, "", f"Job <{words[-1]}>: No matching job found\n")


# Flux

LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def batch(folder: Path, words: Sequence[str]) -> Answer:
    asked = options(words)
    job = {
        "name": asked["job-name"],
        "script": words[-1],
        "output": asked["output"],
        "workdir": asked["cwd"],
        "nodes": int(asked["nodes"]),
        "queue": asked["queue"],
    }
    return 0, f"f{LETTERS[submit('flux', folder, job)]}\n", ""


def flux_jobs(folder: Path, words: Sequence[str]) -> Answer:
    ids = [int(word) for word in words if word.isdecimal()]
    known = recorded(folder) if "-a" in words or ids else going(folder)
    found = [job for job in known if not ids or job["id"] in ids]
    gone = [number for number in ids if number not in [job["id"] for job in found]]
    return 0, "".join(map(flux_line, found)), "".join(f"JobID {number} unknown\n" for number in gone)


def flux_line(job: Job) -> str:
    how = {"walltime": ("TIMEOUT", "timeout"), "cancelled": ("CANCELED", "cancel")}
    ended = "end" in job
    usual = ("FAILED" if job.get("code") else "COMPLETED", "") if ended else ("", "")
    result, kind = how.get(job.get("how", ""), usual) if ended else usual
    state = "INACTIVE" if ended else "RUN" if "start" in job else "SCHED"
    return (
        f"{job['id']}|{state}|{result}|{job.get('code', '')}|{job['submit']}.25|{job.get('start', 0)}.0|"
        f"{job.get('end', 0)}.0|{job['nodes']}|vm|{job['queue']}|16|{kind}|||{job['name']}|\n"
    )


def flux_cancel(folder: Path, words: Sequence[str]) -> Answer:
    known = signalled(folder, int(words[-1]), signal.SIGTERM)
    return (0, "", "") if known else (1, "", "flux-cancel: ERROR: job is inactive\n")


# Grid Engine


def sge_qsub(folder: Path, words: Sequence[str]) -> Answer:
    asked = options(words)
    job = {
        "name": asked["N"],
        "script": words[-1],
        "output": asked["o"],
        "workdir": asked["wd"],
        "nodes": 1,
        "queue": asked["q"],
    }
    return 0, f"{submit('grid_engine', folder, job)}\n", ""


def sge_qstat(folder: Path, words: Sequence[str]) -> Answer:
    def moment(seconds: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))

    pieces = [
        f"<job_list state='x'><JB_job_number>{j['id']}</JB_job_number><JB_name>{j['name']}</JB_name>"
        + (
            f"<state>r</state><JAT_start_time>{moment(j['start'])}</JAT_start_time>"
            if "start" in j
            else f"<state>qw</state><JB_submission_time>{moment(j['submit'])}</JB_submission_time>"
        )
        + f"<queue_name>{j['queue']}@vm</queue_name></job_list>\n"
        for j in going(folder)
    ]
    return 0, f"<?xml version='1.0'?>\n<job_info>\n{''.join(pieces)}</job_info>\n", ""


def qacct(folder: Path, words: Sequence[str]) -> Answer:
    wanted = words[-1]
    found = [j for j in recorded(folder) if "end" in j and wanted in (str(j["id"]), j["name"])]
    return (
        (0, "".join(map(sge_record, found)), "") if found else (1, "", f"error: job id {wanted} not found\n")
    )


def sge_record(job: Job) -> str:
    failed = "37  : qmaster enforced h_rt" if job.get("how") == "walltime" else "0"
    told = {
        "jobname": job["name"],
        "jobnumber": job["id"],
        "taskid": "undefined",
        "qsub_time": day(job["submit"]),
        "start_time": day(job["start"]),
        "end_time": day(job["end"]),
        "failed": "100 : assumedly after job" if job["code"] < 0 and failed == "0" else failed,
        "exit_status": job["code"] if job["code"] >= 0 else 128 - job["code"],
        "maxvmem": "0",
    }
    return f"{'=' * 62}\n" + "".join(f"{name:<12} {value}\n" for name, value in told.items())


def sge_qdel(folder: Path, words: Sequence[str]) -> Answer:
    """As after a submission with `-notify`, but for the pause."""
    known = signalled(folder, int(words[-1]), signal.SIGUSR2)
    return (0, "", "") if known else (1, f'denied: job "{words[-1]}" does not exist\n', "")


ANSWERS: dict[str, dict[str, Callable[[Path, Sequence[str]], Answer]]] = {
    "slurm": {"sbatch": sbatch, "squeue": squeue, "sacct": sacct, "scancel": scancel},
    "pbs": {"qsub": pbs_qsub, "qselect": qselect, "qstat": pbs_qstat, "qdel": pbs_end, "qsig": pbs_end},
    "lsf": {"bsub": bsub, "bjobs": bjobs, "bkill": bkill},
    "flux": {"batch": batch, "jobs": flux_jobs, "cancel": flux_cancel},
    "grid_engine": {"qsub": sge_qsub, "qstat": sge_qstat, "qacct": qacct, "qdel": sge_qdel},
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
