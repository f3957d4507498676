"""What the command line says when something goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from pydantic import ValidationError

from balsam.client.errors import AuthError, ClientError, NoHome, ServerRefused
from balsam.core.errors import BalsamError
from balsam.platform.machine import UnknownMachine
from balsam.runtime.settings import InvalidSettings
from balsam.runtime.site_folder import SiteFolderError
from balsam.schemas.field_errors import sentence
from balsam.sdk.application import ModuleLoadError
from balsam.sdk.model import DoesNotExist, MultipleObjectsReturned

KNOWN = (
    *(ClientError, BalsamError, SiteFolderError, InvalidSettings, UnknownMachine),
    *(DoesNotExist, MultipleObjectsReturned, ModuleLoadError, ValueError, OSError),
)


def sentence_of(exc: Exception) -> str:
    """One sentence for a person; for what nobody foresaw, also how to see where it comes from."""
    if isinstance(exc, ValidationError):
        return "; ".join(sentence(error["loc"], error["msg"]) for error in exc.errors())
    if isinstance(exc, UnicodeError):
        return _of_letters(exc)
    if isinstance(exc, OSError) and not isinstance(exc, ClientError) and exc.filename is not None:
        return f"{exc.filename}: {exc.strerror}"
    # The system's own, of no file: what holds all that are named by relative paths is missing.
    if type(exc) is FileNotFoundError and exc.errno is not None and exc.filename is None:
        return "the folder that this runs in was removed: change into another one"
    if isinstance(exc, RuntimeError) and "home directory" in str(exc):
        return str(NoHome())  # of a `~` in a path
    if isinstance(exc, KNOWN):
        return " ".join(str(exc).split()) or type(exc).__name__
    return f"{type(exc).__name__}: {exc} (unforeseen; BALSAM_CLI_TRACEBACK=1 shows where it comes from)"


def _of_letters(exc: UnicodeError) -> str:
    """Of text or bytes that an encoding does not have; of which, the exception knows."""
    if isinstance(exc, UnicodeEncodeError) and exc.encoding != "utf-8":
        return (
            f"{exc.object!r} can't be written in this locale's encoding ({exc.encoding}): set LC_ALL to a "
            "locale of UTF-8, such as C.UTF-8"
        )
    if isinstance(exc, UnicodeEncodeError):
        return f"{exc.object!r} holds bytes that are no UTF-8: write them otherwise, or rename the file"
    if isinstance(exc, UnicodeDecodeError):
        return f"what was read is no text in {exc.encoding} (byte {exc.start})"
    return " ".join(str(exc).split())


@contextmanager
def called_wrongly() -> Iterator[None]:
    """What was typed is at fault where values or the whole request are refused: exit code 2."""
    try:
        yield
    except AuthError:
        raise
    except (ValueError, ServerRefused) as exc:
        raise click.UsageError(sentence_of(exc)) from exc
