"""What the tests of batch systems ask for."""

from pathlib import Path

from balsam.platform.schedulers.allocation import Submission

SUBMISSION = Submission(
    "babc234-7", Path("/site/q 100%/s.sh"), Path("/site/q 100%/o"), Path("/site"), 90, 2, "batch", "acct1"
)
