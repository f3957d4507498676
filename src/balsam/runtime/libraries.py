"""What well-known libraries keep between two runs: random streams, settings, figures.

Only those that the process has imported. Each entry knows what its library has at the start of a program.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any


def _socket(module: Any) -> None:
    if module.getdefaulttimeout() is not None:
        module.setdefaulttimeout(None)


def _decimal(module: Any) -> None:
    # Contexts that a run has set are gone with its context; this one is the pattern for new ones.
    default = module.DefaultContext
    if (
        default.prec,
        default.rounding,
        default.Emin,
        default.Emax,
        default.capitals,
        default.clamp,
    ) != _DECIMAL:
        default.prec, default.rounding, default.Emin, default.Emax, default.capitals, default.clamp = _DECIMAL
    traps = {module.DivisionByZero, module.Overflow, module.InvalidOperation}
    if {signal for signal, is_on in default.traps.items() if is_on} != traps:
        for signal in default.traps:
            default.traps[signal] = signal in traps
    module.setcontext(module.Context())


_DECIMAL = (28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0)


def _asyncio(module: Any) -> None:
    if getattr(module, "_event_loop_policy", None) is not None:
        module._event_loop_policy = None  # a new one is made where it is asked for


def _multiprocessing(module: Any) -> None:
    default = module._default_context
    if default._actual_context is not None and default._actual_context is not default._default_context:
        default._actual_context = None


def _tempfile(module: Any) -> None:
    module.tempdir = None  # as found for an earlier run's TMPDIR


def _csv(module: Any) -> None:
    module.field_size_limit(131072)
    for name in set(module.list_dialects()) - {"excel", "excel-tab", "unix"}:
        module.unregister_dialect(name)


def _urllib(module: Any) -> None:
    module._opener = None


def _tracemalloc(module: Any) -> None:
    if module.is_tracing():
        module.stop()


def _numpy(module: Any) -> None:
    if module.geterr() != _NUMPY_ERRORS:
        module.seterr(**_NUMPY_ERRORS)
    if module.geterrcall() is not None:
        module.seterrcall(None)
    options = module.get_printoptions()
    if any(options.get(name, value) != value for name, value in _NUMPY_PRINT.items()) or options["formatter"]:
        module.set_printoptions(**{k: v for k, v in _NUMPY_PRINT.items() if k in options}, formatter=None)


_NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_NUMPY_PRINT = {
    "edgeitems": 3,
    "threshold": 1000,
    "floatmode": "maxprec",
    "precision": 8,
    "suppress": False,
    "linewidth": 75,
    "nanstr": "nan",
    "infstr": "inf",
    "sign": "-",
    "legacy": False,
    "override_repr": None,
}


def _numpy_random(module: Any) -> None:
    module.seed(int.from_bytes(os.urandom(4)))


def _pyplot(module: Any) -> None:
    if module.get_fignums():
        module.close("all")


def _matplotlib(module: Any) -> None:
    """`rcParamsOrig`: what it read when it was imported."""
    now, before = module.rcParams, module.rcParamsOrig
    if any(dict.get(now, name) != value for name, value in dict.items(before) if name != "backend"):
        dict.update(now, {name: value for name, value in dict.items(before) if name != "backend"})


def _torch(module: Any) -> None:
    module.seed()
    if module.get_default_dtype() != module.float32:
        module.set_default_dtype(module.float32)
    if not module.is_grad_enabled():
        module.set_grad_enabled(True)


LIBRARIES: tuple[tuple[str, Callable[[Any], None]], ...] = (
    ("socket", _socket),
    ("decimal", _decimal),
    ("asyncio.events", _asyncio),
    ("multiprocessing.context", _multiprocessing),
    ("tempfile", _tempfile),
    ("csv", _csv),
    ("urllib.request", _urllib),
    ("tracemalloc", _tracemalloc),
    ("numpy", _numpy),
    ("numpy.random", _numpy_random),
    ("matplotlib", _matplotlib),
    ("matplotlib.pyplot", _pyplot),
    ("torch", _torch),
)


def put_libraries_back() -> None:
    for name, put_back in LIBRARIES:
        module = sys.modules.get(name)
        if module is not None:
            put_back(module)
