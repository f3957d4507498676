"""A batch system that speaks as Slurm does: `sbatch`, `squeue`, `sacct`, `scancel` with real processes.

`python fake_slurm.py FOLDER COMMAND WORD...`; FOLDER holds the allocations, and in `orders.json` what the
next calls of a command are to do in place of an answer, or beside it: see `FakeSlurm`.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

COMMANDS = ("sbatch", "squeue", "sacct", "scancel")
Job = dict[str, Any]


class FakeSlurm:
    """The commands in a folder that belongs in front of the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for command in COMMANDS:
            words = [sys.executable, "-I", "-S", __file__, str(folder), command]
            (self.bin / command).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            (self.bin / command).chmod(0o755)

    def order(self, command: str, times: int = 1, **what: Any) -> None:
        """What the next calls do: `hang` seconds before or after (`done`) the work, `rc` with `stderr`, or
        print `text` in place of the answer, or the first `cut` characters of it."""
        with locked(self.folder):
            orders = read(self.folder / "orders.json", {})
            orders.setdefault(command, []).extend([what] * times)
            write(self.folder / "orders.json", orders)

    def left(self, command: str) -> int:
        """How many of the orders are still to be carried out."""
        with locked(self.folder):
            return len(read(self.folder / "orders.json", {}).get(command, []))

    def forget(self) -> None:
        with locked(self.folder):
            write(self.folder / "orders.json", {})

    def jobs(self) -> list[Job]:
        with locked(self.folder):
            return jobs(self.folder)

    def calls(self, command: str) -> int:
        log = self.folder / "calls"
        return log.read_text().split().count(command) if log.exists() else 0

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


def main(folder: Path, command: str, words: Sequence[str]) -> int:
    if command == "run":
        return run(folder, int(words[0]))
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
    answer = {"sbatch": sbatch, "squeue": squeue, "sacct": sacct, "scancel": scancel}[command](folder, words)
    if "hang" in order:
        hang(folder, order["hang"])
    text = str(order["text"]) if "text" in order else answer[: order.get("cut", len(answer))]
    sys.stdout.write(text)
    return 0


def hang(folder: Path, seconds: float) -> None:
    """Until the test is over, at most."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not (folder / "over").exists():
        time.sleep(0.1)


def options(words: Sequence[str]) -> dict[str, str]:
    parts = [word[2:].partition("=") for word in words if word[:2] == "--"]
    return {name: value for name, _, value in parts}


def sbatch(folder: Path, words: Sequence[str]) -> str:
    asked = options(words)
    with locked(folder):
        number = len(jobs(folder)) + 1
        job = {
            "id": number,
            "name": asked["job-name"],
            "state": "PENDING",
            "submit": int(time.time()),
            "script": words[-1],
            "output": asked["output"],
            "workdir": asked["chdir"],
            "nodes": int(asked["nodes"]),
            "partition": asked["partition"],
            "environment": dict(os.environ),
        }
        write(folder / f"job-{number}.json", job)
    subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(folder), "run", str(number)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return f"{number}\n"


def run(folder: Path, number: int) -> int:
    """Runs the script of an allocation."""
    job = read(folder / f"job-{number}.json", {})
    with Path(job["output"]).open("ab") as output:
        script = subprocess.Popen(
            [job["script"]],
            env={**job["environment"], "SLURM_JOB_ID": str(number)},
            cwd=job["workdir"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    change(folder, number, state="RUNNING", start=int(time.time()), pid=script.pid, runner=os.getpid())
    code = script.wait()
    known = read(folder / f"job-{number}.json", {})["state"]
    exited = "COMPLETED" if code == 0 else "FAILED"
    told = {"code": f"{max(code, 0)}:{max(-code, 0)}", "end": int(time.time())}
    change(folder, number, state=known if known.startswith("CANCELLED") else exited, **told)
    return 0


def squeue(folder: Path, words: Sequence[str]) -> str:
    """Those that have ended are gone at once."""
    with locked(folder):
        going = [job for job in jobs(folder) if "end" not in job]
    return "".join(
        f"{j['id']}|{j['id']}|{j['state'].split(' ')[0]}|None|{j.get('start', 'N/A')}|N/A|{j['submit']}|"
        f"{j['nodes']}|nid0001|{j['partition']}|{j['name']}\n"
        for j in going
    )


def sacct(folder: Path, words: Sequence[str]) -> str:
    asked = options(words)
    ids, names = asked.get("jobs", "").split(","), asked.get("name", "").split(",")
    with locked(folder):
        found = [job for job in jobs(folder) if str(job["id"]) in ids or job["name"] in names]
    return "".join(
        f"{j['id']}|{j['state']}|{j.get('code', '0:0')}|None|{j['submit']}|{j.get('start', 'Unknown')}|"
        f"{j.get('end', 'Unknown')}|nid0001|{j['name']}\n"
        for j in found
    )


def scancel(folder: Path, words: Sequence[str]) -> str:
    number, politely = int(words[-1]), "--batch" in words
    job = read(folder / f"job-{number}.json", {})
    if "end" in job or "pid" not in job:
        return ""
    if not politely:
        change(folder, number, state=f"CANCELLED by {os.getuid()}")
    with contextlib.suppress(ProcessLookupError):
        if politely:
            os.kill(job["pid"], signal.SIGTERM)
        else:
            os.killpg(job["pid"], signal.SIGTERM)
    return ""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
