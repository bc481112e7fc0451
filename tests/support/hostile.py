"""Hostile arguments: one argument of a valid call is replaced by what no user should get away with, or by the same in another form.

A call answers well if it returns the documented result without a NaN that was not in the input, or raises a ValueError of one line that
names the argument. It must not raise anything else, warn, hang, or change its arguments.
"""

from __future__ import annotations

import contextlib
import copy
import math
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["Call", "Case", "answer", "cases"]

SECONDS = 30.0
"""A call that takes more processor time hangs, and one that waits twenty times as long by the clock: other work on the machine makes a call
longer, not more work. The valid calls take milliseconds, a diagnosis a quarter of a second."""

LONGEST_LINE = 400


@dataclass(frozen=True)
class Call:
    """A valid call of a public function.

    Attributes:
        function: what is called.
        arguments: a valid value for every parameter worth attacking, by name.
        nan: parameters for which the documentation allows NaN in the result, or "*" for all.
        other: words that may stand in a message instead of the parameter's name, by parameter (``Segments`` for ``segments``, …).
        skip: parameters that other calls attack.
        nan_result: the documentation has NaN in the result whatever the arguments; a NaN that is handed in must still be refused.
    """

    function: Callable[..., object]
    arguments: Mapping[str, object]
    nan: tuple[str, ...] = ()
    other: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    nan_result: bool = False

    @property
    def name(self) -> str:
        """Module and name of the function."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


@dataclass(frozen=True)
class Case:
    """One argument of a call replaced; ``must_work`` where the value is only another form of the valid one."""

    call: Call
    parameter: str
    label: str
    value: object
    must_work: bool = False

    @property
    def id(self) -> str:
        """Function, parameter and kind of value."""
        return f"{self.call.name}-{self.parameter}={self.label}"


def cases(call: Call) -> Iterator[Case]:
    """All hostile cases of a call."""
    for parameter, value in call.arguments.items():
        if parameter in call.skip:
            continue
        yield from (Case(call, parameter, label, bad) for label, bad in _hostile(value))
        yield from (Case(call, parameter, label, good, must_work=True) for label, good in _other_forms(value))


def answer(case: Case) -> str:
    """Make the call; "" if it answered well, else what was wrong with the answer."""
    arguments = {name: _fresh(value) for name, value in case.call.arguments.items()} | {case.parameter: case.value}
    before = _snapshot(arguments)
    try:
        with warnings.catch_warnings(), _time_limit():
            warnings.simplefilter("error")
            result = case.call.function(**arguments)
    except ValueError as error:
        line = str(error)
        if case.must_work:
            return f"refused another form of a valid value: {line}"
        if "\n" in line or len(line) > LONGEST_LINE:
            return f"message is not one line of at most {LONGEST_LINE} characters: {line[:200]!r}"
        words = (case.parameter, *case.call.other.get(case.parameter, ()))
        return "" if any(word in line for word in words) else f"message does not name {case.parameter!r}: {line}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if not _same(before, _snapshot(arguments)):
        return "changed its arguments"
    if _has_nan(case.value):
        return "" if "*" in case.call.nan or case.parameter in case.call.nan else "took a NaN without complaint"
    if not case.call.nan_result and _has_nan(result) and "*" not in case.call.nan and case.parameter not in case.call.nan:
        return "returned a NaN that was not in the input"
    return ""


# --- values ---------------------------------------------------------------------------------------------------------------------


def _hostile(value: object) -> Iterator[tuple[str, object]]:
    common: list[tuple[str, object]] = [("object", object()), ("text", "a lie"), ("dict", {"a": 1}), ("complex", 1 + 2j), ("nan", math.nan)]
    if isinstance(value, np.ndarray):
        yield from _hostile_arrays(value)
        return
    if isinstance(value, bool):
        yield from [*common, ("None", None), ("two", 2), ("array", np.array([True, False]))]
    elif isinstance(value, int):
        yield from [
            *common,
            ("None", None),
            ("negative", -3),
            ("minus-huge", -(10**30)),
            ("half", 1.5),
            ("inf", math.inf),
            ("list", [1, 2]),
        ]
        yield from [("huge", 10**30), ("large", 2**63), ("array", np.array([3, 4])), ("bytes", b"3"), ("empty-array", np.array([]))]
        yield from [("zero", 0), ("true", True), ("fraction", Fraction(1, 3)), ("nan-array", np.array([math.nan]))]
    elif isinstance(value, float):
        yield from [*common, ("None", None), ("inf", math.inf), ("minus-inf", -math.inf), ("negative", -1.5), ("huge", 1e308)]
        yield from [("list", [0.5, 0.5]), ("empty-array", np.array([])), ("zero", 0.0), ("tiny", 5e-324), ("two", 2.0), ("bytes", b"0.5")]
        yield from [("huge-int", 10**400), ("nan-array", np.array([math.nan]))]
    elif isinstance(value, str):
        yield from [*common, ("None", None), ("empty", ""), ("number", 3), ("bytes", b"relu"), ("list", ["relu"]), ("nul", "a\0b")]
        yield from [("newline", "a\nb"), ("long", "x" * 100_000), ("markup", "<script>alert(1)</script>"), ("array", np.array(["relu"]))]
    elif isinstance(value, (list, tuple)):
        yield from [
            *common,
            ("None", None),
            ("empty", type(value)()),
            ("nan-inside", [math.nan]),
            ("text-inside", ["a lie"]),
            ("number", 7),
        ]
        yield from [("nested", [[1], [2, 3]]), ("negative-inside", [-5]), ("huge-inside", [10**30]), ("none-inside", [None])]
    else:
        yield from [*common, ("None", None), ("number", 3), ("list", [1, 2]), ("type", type(value))]


def _hostile_arrays(value: np.ndarray) -> Iterator[tuple[str, object]]:
    floating = value.astype(np.float64)

    def with_entry(entry: float) -> np.ndarray:
        changed = floating.copy()
        changed.flat[changed.size // 2] = entry
        return changed

    yield "object", object()
    yield "None", None
    yield "text", "a lie"
    yield "dict", {"a": 1}
    yield "nan", with_entry(math.nan)
    yield "all-nan", np.full_like(floating, math.nan)
    yield "inf", with_entry(math.inf)
    yield "minus-inf", with_entry(-math.inf)
    yield "huge", with_entry(1e308)
    yield "all-huge", np.full_like(floating, 1e308)
    yield "tiny", np.full_like(floating, 5e-324)
    yield "zeros", np.zeros_like(floating)
    yield "negative", -np.abs(floating) - 1.0
    yield "fractions", floating + 0.37
    yield "empty", np.empty((0, *value.shape[1:]))
    yield "zero-columns", np.empty((*value.shape, 0))
    yield "scalar", 0.3
    yield "three-more-axes", floating[None, None, None]
    if value.ndim:
        yield "one-less", floating[:-1]
    yield "strings", np.full(value.shape, "0.5")
    yield "objects", floating.astype(object)
    yield "object-none", np.full(value.shape, None, dtype=object)
    yield "complex", floating + 1j
    yield "dates", np.full(value.shape, np.datetime64("2020-01-01"))
    yield "structured", np.zeros(value.shape, dtype=[("a", float)])
    yield "ragged", [[1.0], [2.0, 3.0]]
    yield "masked", np.ma.masked_invalid(with_entry(math.nan))


def _other_forms(value: object) -> Iterator[tuple[str, object]]:
    """The same value in forms that must work too."""
    if isinstance(value, np.ndarray):
        frozen = value.copy()
        frozen.flags.writeable = False
        yield "read-only", frozen
        if value.ndim:
            yield "fortran-order", np.asfortranarray(value)
            yield "strided", np.repeat(value, 2, axis=0)[::2]
            yield "reversed-twice", value[::-1].copy()[::-1]
        yield "swapped-bytes", value.astype(value.dtype.newbyteorder())
        yield "as-list", value.tolist()
    elif isinstance(value, bool):
        return
    elif isinstance(value, int):
        yield "numpy-integer", np.int32(value)
        yield "zero-dimensional", np.array(value)
    elif isinstance(value, float):
        yield "numpy-float", np.float64(value)
        yield "zero-dimensional", np.array(value)


# --- bookkeeping ------------------------------------------------------------------------------------------------------------------


class _TooSlow(BaseException):
    """The call did not return in time."""


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(signal_number: int, frame: object) -> None:
        raise _TooSlow(f"no answer within {SECONDS:g} s")

    limits = ((signal.SIGPROF, signal.ITIMER_PROF, SECONDS), (signal.SIGALRM, signal.ITIMER_REAL, 20 * SECONDS))
    previous = [signal.signal(number, stop) for number, _, _ in limits]
    for _, timer, seconds in limits:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(limits, previous, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def _fresh(value: object) -> object:
    return copy.deepcopy(value) if isinstance(value, (np.ndarray, list, dict)) else value


def _snapshot(arguments: Mapping[str, object]) -> dict[str, object]:
    return {name: copy.deepcopy(value) for name, value in arguments.items() if isinstance(value, (np.ndarray, list, dict))}


def _same(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return all(_equal(left[name], right[name]) for name in left)


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray):
        try:
            return bool(np.array_equal(left, right, equal_nan=True))
        except TypeError:
            return bool(np.array_equal(left, right))
    return repr(left) == repr(right)


def _has_nan(value: object, depth: int = 0) -> bool:
    if depth > 4 or isinstance(value, (str, bytes)):
        return False
    if isinstance(value, np.ma.MaskedArray):
        return bool(np.ma.getmaskarray(value).any()) or _has_nan(value.data, depth)
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fc" and bool(np.isnan(value).any())
    if isinstance(value, (float, complex, np.floating, np.complexfloating)):
        return bool(np.isnan(value))
    if isinstance(value, Mapping):
        return any(_has_nan(item, depth + 1) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_has_nan(item, depth + 1) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        return any(_has_nan(getattr(value, name, None), depth + 1) for name in value.__dataclass_fields__)
    return False
