"""What the daemon decides from values alone."""

from pathlib import Path

import pytest

from balsam.server.daemon import filesystem_of

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
fs1:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local ext4 rw 0 0
none /with\\040space lustre rw 0 0
overlay / overlay rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ada/.balsam/server", "nfs4"),
        ("/home/local/ada", "ext4"),
        ("/homestead/x", "overlay"),
        ("/tmp/x", "tmpfs"),
        ("/with space/x", "lustre"),
        ("/", "overlay"),
    ],
)
def test_filesystem_is_that_of_the_deepest_mount_and_the_last_of_equals(path: str, kind: str) -> None:
    assert filesystem_of(Path(path), MOUNTS) == kind


def test_filesystem_is_unknown_without_mounts() -> None:
    assert filesystem_of(Path("/x"), "") == ""
