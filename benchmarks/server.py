"""What the server does in a second, on SQLite and on PostgreSQL, beside what their drivers do alone.

    python benchmarks/server.py [--quick] [--json FILE] [--engine postgresql|sqlite|both] [--rows NAME ...]

Client, server and database share this machine; the server is a process of its own and the way to it is the
public SDK. PostgreSQL keeps its default durability. docs/benchmarks.md tells what each row means.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import bulk, postgres, report, serving
from benchmarks.report import Row

TARGETS = {bulk.CREATE: 10_000, bulk.ACQUIRE: 10_000, bulk.START: 8_000, bulk.END: 8_000}


@dataclass(frozen=True)
class Sizes:
    jobs: int
    rounds: int


FULL = Sizes(jobs=10_000, rounds=3)
QUICK = Sizes(jobs=2_000, rounds=1)


def measure(sizes: Sizes, engine: str) -> list[Row]:
    with (
        tempfile.TemporaryDirectory(prefix="balsam-benchmark-") as folder,
        started(engine, Path(folder)) as server,
        server.client() as client,
    ):
        site_id = bulk.set_up(client)
        bulk.Round(client, site_id, 200).run()  # connections, statement caches
        rounds = [bulk.Round(client, site_id, sizes.jobs).run() for _ in range(sizes.rounds)]
    return [
        report.more_is_better(
            f"{engine}: {step}",
            sizes.jobs / statistics.median(seconds[step] for seconds in rounds),
            "jobs/s",
            None,
            TARGETS[step],
        )
        for step in bulk.STEPS
    ]


@contextmanager
def started(engine: str, folder: Path) -> Iterator[serving.Serving]:
    with ExitStack() as stack:
        if engine == serving.SQLITE:
            yield stack.enter_context(serving.embedded(folder / "server"))
        else:
            database = stack.enter_context(postgres.running())
            yield stack.enter_context(serving.facility(database.create("balsam"), folder / "server.log"))


def main() -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--engine", choices=[*serving.ENGINES, "both"], default=serving.SQLITE)
    options = parser.parse_args()
    engines: Sequence[str] = serving.ENGINES if options.engine == "both" else [options.engine]
    rows = [row for engine in engines for row in measure(QUICK if options.quick else FULL, engine)]
    return report.publish(rows, options.json, "driver alone")


if __name__ == "__main__":
    sys.exit(main())
