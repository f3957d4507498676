"""Styles and scripts, from memory, under addresses that change with them: browsers keep them for good."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response

from balsam.core.errors import NotFound

router = APIRouter(include_in_schema=False)
MEDIA = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
KEEP = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Assets:
    """`version`: a digest of them all, part of their addresses."""

    version: str
    content: dict[str, tuple[bytes, bytes]]  # plain and compressed


@cache
def assets() -> Assets:
    folder = files("balsam.server.dashboard") / "static"
    content = {
        name: file.read_bytes() for name, file in _files(folder, "") if name.rpartition(".")[2] in MEDIA
    }
    digest = hashlib.sha256()
    for name in sorted(content):
        digest.update(name.encode() + b"\0" + content[name])
    packed = {name: (data, gzip.compress(data, mtime=0)) for name, data in content.items()}
    return Assets(digest.hexdigest()[:12], packed)


def _files(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for item in folder.iterdir():
        name = f"{prefix}{item.name}"
        found += _files(item, f"{name}/") if item.is_dir() else [(name, item)]
    return found


@router.get("/ui/static/{version}/{name:path}")
async def asset(request: Request, version: str, name: str) -> Response:
    """One file. Of another version, as a page that was open during an update asks for: today's, not kept."""
    found = assets().content.get(name)
    if found is None:
        raise NotFound("Not found")
    plain, packed = found
    headers = {
        "cache-control": KEEP if version == assets().version else "no-cache",
        "vary": "accept-encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, headers={**headers, "content-encoding": "gzip"}, media_type=_media(name))
    return Response(plain, headers=headers, media_type=_media(name))


def _media(name: str) -> str:
    return MEDIA[name.rpartition(".")[2]]
