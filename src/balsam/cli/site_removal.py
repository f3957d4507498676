"""`balsam site rm`: what of a site is removed, with what it holds said before."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from balsam.api import App, BatchJob, Job, Site
from balsam.cli.options import confirm, counted
from balsam.client.errors import NotFoundError
from balsam.client.login import SITE_FILE
from balsam.core.states import ACTIVE_BATCH_JOB_STATES
from balsam.runtime.site_folder import LABEL_FILE, PARTS, PID_FILE, NoSiteHere, SiteFolder
from balsam.sdk.context import default_client
from balsam.site.processes import agent_status


@dataclass(frozen=True)
class Content:
    """What goes with a site: rows on the server, files in its folder."""

    apps: int = 0
    jobs: int = 0
    running: int = 0
    allocations: int = 0
    files: int = 0
    bytes: int = 0

    @property
    def rows(self) -> str:
        """`2 apps and 14 jobs (3 of them RUNNING)`."""
        jobs = counted(self.jobs, "job") + (f" ({self.running} of them RUNNING)" if self.running else "")
        named = [counted(self.apps, "app"), jobs]
        if self.allocations:
            named.append(f"{counted(self.allocations, 'BatchJob')} that go on")
        return f"{', '.join(named[:-1])} and {named[-1]}"

    @property
    def on_disk(self) -> str:
        return f"{counted(self.files, 'file')} ({size_text(self.bytes)})"


@dataclass(frozen=True)
class Target:
    """What a PATH means: a folder on this machine, a record on the server, or both."""

    folder: SiteFolder | None
    record: Site | None

    @property
    def name(self) -> str:
        if self.record is not None:
            return f"site {self.record.name} ({self.record.id})"
        return f"the site in {self.folder.path}" if self.folder is not None else "the site"


@click.command()
@click.argument("path")
@click.option("-f", "--force", is_flag=True, help="Only the server's record, without asking; files stay.")
@click.option("-y", "--yes", is_flag=True, help="Record and files, without asking.")
def rm(path: str, force: bool, yes: bool) -> None:
    """Remove a site: its jobs, its record on the server and its files.

    PATH is the site's folder; where that is gone, or elsewhere, its name or a part of its path. What is to be
    removed is counted, and asked for. With -f only the server's record goes, with its apps and jobs, and all
    files stay.
    """
    if force and yes:
        raise click.UsageError("-f keeps the files and -y removes them: give one of them.")
    target = target_of(path)
    if force or target.folder is None:
        _remove_record(target, path, force or yes)
    else:
        _remove_all(target, target.folder, yes)


def target_of(text: str) -> Target:
    """Raises click.UsageError where nothing is meant, and ClickException where it may be several sites."""
    path = Path(text).expanduser().absolute()
    if (path / SITE_FILE).exists():
        folder = SiteFolder(path)
        record = next(iter(Site.objects.filter(id=folder.site_id)), None)
        _refuse_copy(folder, record)
        return Target(folder, record)
    found = records_named(text, path, Site.objects.all())
    if not found:
        raise click.UsageError(f"{path} is no Balsam site, and no site's name or path is or holds {text!r}")
    if len(found) > 1:
        listed = ", ".join(f"{one.name} ({one.path})" for one in found)
        raise click.ClickException(f"{text!r} may be {listed}: give one's whole name or path")
    [record] = found
    return Target(_folder_of(record), record)


def records_named(text: str, path: Path, records: Iterable[Site]) -> list[Site]:
    """Those of this path or name; if there is none, those whose path holds the text."""
    known = list(records)
    exact = [one for one in known if one.path == path or one.name == text]
    return exact or [one for one in known if text.strip() and text in str(one.path)]


def _folder_of(record: Site) -> SiteFolder | None:
    """The record's folder, if it is one on this machine."""
    try:
        folder = SiteFolder(record.path)
        return folder if folder.site_id == record.id else None
    except (NoSiteHere, OSError):
        return None


def _refuse_copy(folder: SiteFolder, record: Site | None) -> None:
    """A copy holds the id of the site that it was copied from, whose record must not go with it."""
    original = None if record is None else _folder_of(record)
    if original is not None and not original.path.samefile(folder.path):
        raise click.ClickException(
            f"{folder.path} is a copy of the site in {original.path}, which it would take with it: remove "
            f"the copy's files by hand (rm -r {folder.path})"
        )


def _remove_record(target: Target, text: str, assume_yes: bool) -> None:
    record = target.record
    if record is None:
        raise click.ClickException(
            f"the server knows no site of {text}: nothing is removed. Its files: balsam site rm {text}"
        )
    content = content_of(record, None)
    name = target.name  # with the id that the record loses
    confirm(
        f"The folder {record.path} is not on this machine. Remove the server's record of {name}, with "
        f"{content.rows}, for good?",
        assume_yes,
    )
    record.delete()
    click.echo(f"Removed the record of {name} from the server, with {content.rows}.")
    if target.folder is None:
        return
    click.echo(f"Its files stay in {target.folder.path}.")
    if agent_status(target.folder).running:
        click.echo("Its agent still runs, and ends as soon as it finds the record gone.")


def _remove_all(target: Target, folder: SiteFolder, assume_yes: bool) -> None:
    if (agent := agent_status(folder)).running:
        raise click.ClickException(f"{agent.sentence}: stop it first (balsam site stop)")
    content = content_of(target.record, folder)
    where = f"{content.on_disk} in {folder.path}"
    if target.record is None:
        click.echo("The server knows no such site: only its files can be removed.", err=True)
        what = f"the site's {where}"
    else:
        what = f"{target.name} with {content.rows}, and its {where}"
    confirm(f"Remove {what}, for good?", assume_yes)
    if target.record is not None:
        with contextlib.suppress(NotFoundError):  # somebody else was quicker
            default_client().delete(f"/sites/{target.record.id}")
    remove_files(folder)
    click.echo(f"Removed {what}.")


def content_of(record: Site | None, folder: SiteFolder | None) -> Content:
    """Counts what a removal takes."""
    files, size = measure(parts_of(folder)) if folder is not None else (0, 0)
    if record is None:
        return Content(files=files, bytes=size)
    jobs = Job.objects.filter(site_id=record.id)
    active = BatchJob.objects.filter(site_id=record.id, state=list(ACTIVE_BATCH_JOB_STATES))
    return Content(
        apps=App.objects.filter(site_id=record.id).count(),
        jobs=jobs.count(),
        running=jobs.filter(state="RUNNING").count(),
        allocations=active.count(),
        files=files,
        bytes=size,
    )


def parts_of(folder: SiteFolder) -> list[Path]:
    """The site's own files and folders; what else lies in its folder is the user's."""
    return [folder.path / part for part in (*PARTS, PID_FILE, LABEL_FILE)]


def measure(paths: Iterable[Path]) -> tuple[int, int]:
    """Files and bytes below these paths; what links point to is not counted, as it is not removed."""
    files = size = 0
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            with os.scandir(path) as entries:
                inner = measure(Path(entry.path) for entry in entries)
            files, size = files + inner[0], size + inner[1]
        elif path.is_symlink() or path.exists():
            files, size = files + 1, size + path.lstat().st_size
    return files, size


def remove_files(folder: SiteFolder) -> None:
    """Removes the site's own parts, the mark that makes it a site last; the folder if nothing is left."""
    for path in sorted(parts_of(folder), key=lambda one: one.name == SITE_FILE):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if folder.path.is_symlink():
        click.echo(
            f"{folder.path} is a link: it stays, as does the folder {folder.path.resolve()}.", err=True
        )
    elif not any(folder.path.iterdir()):
        folder.path.rmdir()


def size_text(size: float) -> str:
    """`0 bytes`, `1.2 MB`."""
    if size < 1000:
        return counted(int(size), "byte")
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
