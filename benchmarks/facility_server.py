"""One worker process of a server on PostgreSQL: `python -m benchmarks.facility_server PORT`."""

from __future__ import annotations

import os
import sys

from balsam.server.app import build
from balsam.server.main import Uvicorn
from balsam.server.settings import ServerSettings


def main() -> None:
    app = build(ServerSettings(os.environ["BALSAM_BENCHMARK_DATABASE"]))
    Uvicorn(app, app.state.server, int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
