"""What each process of a launcher does that takes from a backlog; imports no more than that needs."""

from __future__ import annotations

from threading import Barrier

from balsam.client.transport import Client

AT_ONCE = 64


def drain(url: str, token: str, session: int, start: Barrier) -> list[int]:
    """Acquires until nothing is left."""
    taken: list[int] = []
    with Client(url, token) as client:
        client.get("/sites/")
        # Processes start one after the other: without this the last one might find nothing left.
        start.wait(timeout=120)
        while True:
            body = {"max_num_jobs": AT_ONCE, "filter_tags": {}}
            rows = client.post(f"/sessions/{session}", body)
            if not rows:
                return taken
            taken += [row["id"] for row in rows]
