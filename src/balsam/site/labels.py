"""The names under which a batch system knows a site's allocations.

`bk3f2qx-17` is BatchJob 17 of the one site whose folder holds the token `k3f2qx`: no other site of this user,
at this server or another one, ever takes an allocation of this site for its own, or the other way round.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from balsam.runtime.site_folder import LABEL_FILE

TOKEN_LETTERS = 6
_OLDER = "balsam-"  # what the local scheduler was given before there were tokens


@dataclass(frozen=True)
class Labels:
    """`older`: whether labels without a token are this site's, too, as with a scheduler of its own folder."""

    token: str
    older: bool = False

    def of(self, batch_job_id: int) -> str:
        return f"b{self.token}-{batch_job_id}"

    def batch_job_id(self, label: str) -> int | None:
        """The reverse of `of`; None for a label that is not this site's."""
        starts = [f"b{self.token}-", *([_OLDER] if self.older else [])]
        numbers = [label.removeprefix(start) for start in starts if label.startswith(start)]
        return next((int(n) for n in numbers if n.isascii() and n.isdecimal()), None)


def site_token(folder: Path) -> str:
    """The token of a site's folder, made when it is first asked for; one wins where two ask."""
    path = folder / LABEL_FILE
    with contextlib.suppress(FileNotFoundError):
        return _read(path)
    draft = folder / f"{LABEL_FILE}.{os.getpid()}"
    draft.write_text(new_token() + "\n", encoding="ascii")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return _read(path)


def new_token() -> str:
    return base64.b32encode(secrets.token_bytes(5)).decode("ascii").lower()[:TOKEN_LETTERS]


def _read(path: Path) -> str:
    token = path.read_text(encoding="ascii", errors="replace").strip()
    if len(token) != TOKEN_LETTERS or not token.isalnum():
        raise ValueError(
            f"{path} should hold {TOKEN_LETTERS} letters and digits, not {token[:40]!r}: put back what it "
            "held, or, when no allocation of this site waits or runs, remove it"
        )
    return token
