"""One rank of a run() under an MPI launcher, or a run() behind a preamble; its arguments: SITE REQUEST.

Request and answer travel in files beside job.out, readable by their owner alone. Rank 0 leaves its value; a
rank that fails leaves its exception, and takes the others with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "PALS_RANKID", "SLURM_PROCID")


@dataclass(frozen=True)
class Files:
    """The request of a run, and its answers: `<request>.<rank>` each."""

    request: Path

    @classmethod
    def of(cls, workdir: str, job_id: int) -> Self:
        return cls(Path(workdir, f".balsam-run-{job_id}.json"))

    def ask(self, request: bytes) -> None:
        """Writes the request; answers of an earlier attempt go."""
        for path in self._answers():
            path.unlink()
        self.request.unlink(missing_ok=True)
        _write(self.request, request)

    def begin(self) -> None:
        """Rank 0 says that it is there: its process may end without an answer."""
        _write(self._begun, b"")

    def has_begun(self) -> bool:
        return self._begun.exists()

    @property
    def _begun(self) -> Path:
        return self.request.with_name(f"{self.request.name}.begun")

    def answer(self, rank: int, answer: bytes) -> None:
        """All of it or nothing: who reads it does not wait."""
        draft = self.request.with_name(f"{self.request.name}.{rank}.draft")
        draft.unlink(missing_ok=True)
        _write(draft, answer)
        draft.rename(self.request.with_name(f"{self.request.name}.{rank}"))

    def take_answer(self) -> dict[str, Any] | None:
        """The first failure, else the answer of rank 0, if it left one; the files are gone afterwards."""
        found: dict[int, dict[str, Any]] = {}
        for path in self._answers():
            with contextlib.suppress(ValueError):
                found[int(path.suffix[1:])] = orjson.loads(path.read_bytes())
            path.unlink()
        self.request.unlink(missing_ok=True)
        failed = [found[rank] for rank in sorted(found) if not found[rank]["ok"]]
        return failed[0] if failed else found.get(0)

    def _answers(self) -> list[Path]:
        return list(self.request.parent.glob(f"{self.request.name}.*"))


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)


def rank_of(environ: Mapping[str, str]) -> int:
    """This process's rank, as its MPI launcher says; 0 where none does."""
    return next((int(environ[name]) for name in RANK_VARIABLES if name in environ), 0)


def main() -> int:
    from balsam.runtime.python_worker import Worker, begin, encode, run_app

    site_path, files = Path(sys.argv[1]), Files(Path(sys.argv[2]))
    rank = rank_of(os.environ)
    begin()
    request = orjson.loads(files.request.read_bytes())
    if rank == 0:
        files.begin()
    answer = Worker(site_path).answer(request, {"run": lambda kind, app, ends: run_app(app, ends.exits)})
    if rank == 0 or not answer["ok"]:
        files.answer(rank, encode(answer))
    if answer["ok"]:
        return 0
    sys.stdout.flush()
    sys.stderr.flush()
    code = int(answer["return_code"])
    _abort(code & 0xFF)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _abort(code: int) -> None:
    """The other ranks may wait for this one in a call that never returns."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized():
        mpi.COMM_WORLD.Abort(code)
