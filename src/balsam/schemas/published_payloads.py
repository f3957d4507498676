"""Opens what the published release wrote: dill's pickles, with names of modules that are gone."""

from __future__ import annotations

import importlib
import io
import traceback
from types import ModuleType
from typing import Any

import dill

_STAND_INS: dict[str, Any] = {"ApplicationDefinitionMeta": type, "AppType": str}


class Record:
    """Stands for a frame, its code or its traceback as the published release recorded them."""


def loads(raw: bytes) -> Any:
    """The object of a pickle; runs its author's code, as every pickle does."""
    return _Unpickler(io.BytesIO(raw)).load()


def traceback_text(exc: BaseException, trace: Record) -> str:
    """What Python would have printed of the exception where it was raised."""
    lines = []
    step: Any = trace
    while isinstance(step, Record):
        code: Any = step.tb_frame.f_code  # type: ignore[attr-defined]
        lines.append((code.co_filename, step.tb_lineno, code.co_name, ""))  # type: ignore[attr-defined]
        step = getattr(step, "tb_next", None)
    told = traceback.format_list(traceback.StackSummary.from_list(lines))
    return "".join(["Traceback (most recent call last):\n", *told, *traceback.format_exception_only(exc)])


class _Unpickler(dill.Unpickler):  # type: ignore[misc]
    def find_class(self, module: str, name: str) -> Any:
        if module == "tblib":
            return Record
        if module.startswith("balsam._api"):
            return _STAND_INS.get(name) or getattr(importlib.import_module("balsam.api"), name)
        if module.startswith("balsam.schemas."):
            gathered: ModuleType = importlib.import_module("balsam.schemas")
            if hasattr(gathered, name):
                return getattr(gathered, name)
        return super().find_class(module, name)
