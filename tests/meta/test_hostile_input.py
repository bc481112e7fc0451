"""Every public function against hostile arguments: the documented result, or a ValueError of one line that names the argument.

What counts as a good answer: tests/support/hostile.py. What is called: tests/support/calls_<room>.py. A new public function that is in no
list fails here.
"""

from __future__ import annotations

import importlib
import inspect
import shutil
from pathlib import Path

import numpy as np
import pytest

from reports.writer import write_report
from tests.support import hostile
from tests.support.hostile import Call
from tests.support.sample_report import PROVENANCE, sample_results

ROOT = Path(__file__).resolve().parents[2]

ROOMS = ("theory", "empirical", "reports")
_CALLS = {room: importlib.import_module(f"tests.support.calls_{room}") for room in ROOMS}
ALL_CALLS = [call for module in _CALLS.values() for call in module.CALLS]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report that can be read, and a file of claims of one's own."""
    folder = tmp_path_factory.mktemp("hostile")
    write_report(folder / "sound", sample_results()[:1], [], PROVENANCE)
    shutil.copy(ROOT / "docs" / "tutorials" / "leaky_relu.py", folder / "own.py")
    return folder


@pytest.mark.parametrize("call", ALL_CALLS, ids=[f"{call.name}({','.join(call.arguments)})" for call in ALL_CALLS])
def test_hostile_arguments_are_answered(call: Call, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sound)  # a text that is a path lies here
    call.function(**call.arguments)  # the example itself is valid
    wrong = {case.id: verdict for case in hostile.cases(call) if (verdict := hostile.answer(case))}
    assert not wrong, "\n".join(f"{name}: {verdict}" for name, verdict in wrong.items())


def test_at_least_two_thousand_cases() -> None:
    assert sum(1 for call in ALL_CALLS for _ in hostile.cases(call)) >= 2000


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_function_is_called(room: str) -> None:
    package = importlib.import_module(room)
    called = {call.function.__qualname__.split(".")[0] for call in _CALLS[room].CALLS}
    public = {name for name in package.__all__ if callable(getattr(package, name))} | set(getattr(_CALLS[room], "FURTHER", ()))
    assert public - called - set(_CALLS[room].NOT_CALLED) == set()
    assert set(_CALLS[room].NOT_CALLED) <= public, "an excuse for something that does not exist"
    for call in _CALLS[room].CALLS:
        parameters = {
            name for name, p in inspect.signature(call.function).parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        }
        others = {name for other in _CALLS[room].CALLS if other.function == call.function for name in other.arguments}
        assert parameters - others - set(call.skip) == set(), f"{call.name}: no value for these"


# --- the sweep itself must be able to fail -----------------------------------------------------------------------------------------


def _crashes(*, depth: int) -> float:
    return 1.0 / depth


def _swallows(*, x: np.ndarray) -> float:
    return float(np.sum(x))


def _mutters(*, x: np.ndarray) -> object:
    if np.asarray(x).dtype.kind != "f" or np.asarray(x).size == 0 or np.ndim(x) != 1:
        raise ValueError("something is wrong")
    return None


def _scribbles(*, x: np.ndarray) -> None:
    if isinstance(x, np.ndarray) and x.flags.writeable and x.size and x.dtype == np.float64:
        x.flat[0] = 7.0


def _loops(*, depth: int) -> int:
    while isinstance(depth, int) and depth > 5:
        pass
    return 1


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (Call(_crashes, {"depth": 2}), "raised ZeroDivisionError"),
        (Call(_crashes, {"depth": 2}), "raised TypeError"),
        (Call(_swallows, {"x": np.ones(3)}), "took a NaN without complaint"),
        (Call(_mutters, {"x": np.ones(3)}), "does not name 'x'"),
        (Call(_mutters, {"x": np.ones(3)}), "took a NaN"),
        (Call(_scribbles, {"x": np.zeros(3)}), "changed its arguments"),
        (Call(_loops, {"depth": 2}), "no answer within"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.function.__name__,
)
def test_the_sweep_sees_what_is_wrong(call: Call, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "SECONDS", 0.05)
    assert any(complaint in hostile.answer(case) for case in hostile.cases(call))
