"""Folders whose subfolders get regions of their own on the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

# linux/fs.h
GET_FLAGS, SET_FLAGS, TOP_FOLDER = 0x80086601, 0x40086602, 0x00020000


def spread(folder: Path) -> None:
    """Asks for it, as `chattr +T` does; filesystems that do not know it go on as before.

    ext4 does not use inodes again that were freed within the last minutes, and passes over them one by one
    for each new file in their region (`recently_deleted` in its ialloc.c). After tests or benchmarks have
    deleted their files, making one takes up to a hundred times as long.
    """
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            (flags,) = struct.unpack("l", fcntl.ioctl(fd, GET_FLAGS, struct.pack("l", 0)))
            fcntl.ioctl(fd, SET_FLAGS, struct.pack("l", flags | TOP_FOLDER))
        finally:
            os.close(fd)
