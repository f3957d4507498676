"""A run() behind a shell preamble: bash runs that, and then becomes an interpreter that calls run()."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from typing import Any

from balsam.core.start import command as start_command
from balsam.runtime import python_rank
from balsam.runtime.python_rank import Files


def script(preamble: str | Sequence[str], words: Sequence[str], strict: bool) -> str:
    """A text fails by its last status, a list of lines at its first command that fails, as for commands."""
    is_text = isinstance(preamble, str)
    begin = "set -euo pipefail\n" if strict else "" if is_text else "set -e\n"
    lines = preamble if isinstance(preamble, str) else "\n".join(preamble)
    return f"""\
trap 'echo "balsam: the shell preamble failed with exit code $?" >&2' EXIT
{begin}{lines}
balsam_code=$?
set +euo pipefail
[ $balsam_code -eq 0 ] || exit $balsam_code
trap - EXIT
exec {shlex.join(words)}
"""


def run_behind(
    preamble: str | Sequence[str], strict: bool, request: bytes, site: str, workdir: str, job_id: int
) -> dict[str, Any]:
    """What came of the run; the process has this one's working directory, output and variables.

    It is of the same process group, so that it is ended with this one.
    """
    files = Files.of(workdir, job_id)
    files.ask(request)
    words = [*start_command(python_rank.__name__), site, str(files.request)]
    code = subprocess.run(["bash", "-c", script(preamble, words, strict)], check=False).returncode
    answer = files.take_answer()
    if answer is not None:
        return answer
    if code == 0:
        return {"ok": True, "serialized_return_value": ""}
    told = f"the process of run() ended with {code}" if code > 0 else f"run() was ended by signal {-code}"
    return {"ok": False, "return_code": code, "error": f"{told}; see job.out"}
