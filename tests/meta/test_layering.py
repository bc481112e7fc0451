"""Who may import whom: the rules of the four rooms, read from the source."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("theory", "empirical", "reports", "tests")
STANDARD_LIBRARY = sys.stdlib_module_names

THEORY_MAY = {"numpy", "scipy", "theory"}
THEORY_MAY_NOT = {"random", "secrets", "pathlib", "io", "os", "pickle", "urllib", "numpy.random", "shutil", "tempfile"}
EMPIRICAL_OF_THEORY = {"theory.segments"}
REPORTS_OF_OTHERS = {
    "theory.claims",
    "empirical.inference",
    "empirical.store",
    "empirical.store_upkeep",
    "empirical.downloads",
    "empirical.datasets",
}
QUESTION_ROOMS = {"plugin.py", "session.py", "diagnose.py", "diagnosis_prediction.py"}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, function-level imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def offences(room: str, path: Path) -> list[str]:
    """The imports of one file that its room forbids."""
    found = []
    for name in imports(path):
        top = name.split(".")[0]
        if room == "theory":
            wrong = name in THEORY_MAY_NOT or top in THEORY_MAY_NOT or (top not in THEORY_MAY and top not in STANDARD_LIBRARY)
        elif room == "empirical":
            wrong = top in ("reports", "tests") or (top == "theory" and name not in EMPIRICAL_OF_THEORY)
        else:
            free = path.name in QUESTION_ROOMS
            wrong = top == "tests" or (top in ("theory", "empirical") and not free and name not in REPORTS_OF_OTHERS)
        if wrong:
            found.append(name)
    return found


@pytest.mark.parametrize("room", ["theory", "empirical", "reports"])
def test_rooms_import_only_what_they_may(room: str) -> None:
    found = {str(path.relative_to(ROOT)): bad for path in modules(room) if (bad := offences(room, path))}
    assert modules(room), f"{room}/ holds no module"
    assert not found


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("theory", "import torch"),
        ("theory", "from numpy.random import default_rng"),
        ("theory", "import empirical"),
        ("empirical", "from theory.angles import gradient_angle"),
        ("empirical", "import reports"),
        ("reports", "from theory.alpha import initial_alpha"),
        ("reports", "from tests.support import cases"),
    ],
)
def test_the_layering_test_can_fail(room: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(f"def f():\n    {source}\n")
    assert offences(room, path)


INSIDE_THEORY = {  # names that theory's modules share and users have no need of
    "claims": {"AUDITS", "KINDS", "SLIP_KINDS", "SOURCE_FORM", "VERDICTS"},
    "losses": {"check_labels"},
    "packed": {"check_kernel_or_packed", "multiply", "pack"},
}


def test_every_formula_is_exported_by_theory() -> None:
    import theory

    for path in sorted((ROOT / "theory").glob("[a-z]*.py")):
        own = set(getattr(importlib.import_module(f"theory.{path.stem}"), "__all__", ()))
        assert own - set(theory.__all__) == INSIDE_THEORY.get(path.stem, set()), f"{path.name}: export it in theory/__init__.py, twice"


def test_theory_draws_no_random_numbers() -> None:
    drawing = [path.name for path in modules("theory") if "np.random" in path.read_text() or "default_rng" in path.read_text()]
    # Doctests may draw example inputs; code may not. The syntax tree knows the difference.
    for name in drawing:
        tree = ast.parse((ROOT / "theory" / name).read_text())
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in ("random", "default_rng")], name


def test_import_theory_loads_no_torch_and_no_plotting() -> None:
    heavy = {"torch", "matplotlib", "xarray", "sklearn", "pandas"}
    code = f"import sys, theory; print(sorted({{name.split('.')[0] for name in sys.modules}} & {heavy}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "[]"


SETTINGS = {"benchmark", "deterministic", "allow_tf32"} | {f"allow_{kind}_reduced_precision_reduction" for kind in ("fp16", "bf16")}
SETTERS = {"set_float32_matmul_precision", "set_deterministic_debug_mode", "use_deterministic_algorithms", "set_num_threads"}
SETTERS |= {"set_default_dtype", "set_default_device"}


def test_the_policy_is_set_in_one_place() -> None:
    """Precision, determinism and threads of torch are changed by empirical/devices.py alone."""
    found = set()
    for room in ("theory", "empirical", "reports"):
        for path in modules(room):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [node.attr] if isinstance(node, ast.Attribute) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
                stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
                if SETTERS & set(names) or (stored and SETTINGS & set(names)):
                    found.add(str(path.relative_to(ROOT)))
    assert found == {"empirical/devices.py"}
