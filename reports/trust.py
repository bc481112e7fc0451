"""How far the verdicts can be trusted, as measured: kill matrix, calibration, seed sets, mutants; written by tests/meta, for the report.

Four committed files beside this module, ``trust/<name>.json``; `COMMANDS` says what makes each. Nothing is computed here: the files hold
what the test modules found, and the report shows them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reports.claim_code import claim_code
from reports.wording import prediction_text

__all__ = ["COMMAND", "COMMANDS", "FILES", "read_trust", "trust_part", "trust_view", "write_trust"]

COMMAND = "pytest tests/meta/test_kill_matrix.py tests/meta/test_calibration.py --trust-record reports/trust"

COMMANDS: Mapping[str, str] = {
    "kill_matrix": COMMAND,
    "calibration": COMMAND,
    "seed_sets": "pytest tests/meta/test_seed_sets.py --seed-sets 100 --trust-record reports/trust",
    "mutants": "pytest tests/meta/test_mutation.py --mutants all --trust-record reports/trust",
}
"""File name without its ending → what makes it."""

FILES: Mapping[str, frozenset[str]] = {
    "kill_matrix": frozenset({"fault", "room", "description", "target", "check", "claim", "test", "says"}),
    "calibration": frozenset(
        {"rule", "law", "measure", "at", "repetitions", "count", "rate", "lower", "upper", "limit", "confidence", "tier"}
    ),
    "seed_sets": frozenset({"test", "claim", "regime", "code", "sets", "passed", "failed", "first", "last"}),
    "mutants": frozenset({"module", "code", "mutants", "judged", "killed", "survivors", "sample"}),
}
"""File name without its ending → the fields of each of its rows."""

VERSION = 1


def write_trust(folder: Path, rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Write one file for each kind of row; the same rows give the same bytes.

    Args:
        folder: where to; made if it is not there.
        rows: name of the file → rows.

    Raises:
        ValueError: if a name or the fields of a row are not known.
    """
    for name, found in rows.items():
        document = {"version": VERSION, "command": COMMANDS.get(name, ""), "rows": [dict(row) for row in found]}
        _check(document, name)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def read_trust(folder: Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """Rows of all files; an empty list for a file that is not there.

    Args:
        folder: where they lie; beside this module by default.

    Raises:
        ValueError: in one line, if a file is not what `write_trust` writes.

    Example:
        >>> sorted(read_trust())
        ['calibration', 'kill_matrix', 'mutants', 'seed_sets']
    """
    place = Path(__file__).parent / "trust" if folder is None else folder
    return {name: _read(place / f"{name}.json", name) for name in FILES}


def trust_part() -> dict[str, Any]:
    """What a report keeps of the stored files: all rows; those of the seed ledger say whether their code is that of today."""
    stored = read_trust()
    today = claim_code()
    ledger = [row | {"earlier": today.get(row["test"]) != row["code"]} for row in stored["seed_sets"]]
    return {"command": COMMAND, **stored, "seed_sets": ledger}


def trust_view(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the page "How far to trust this" shows, from a report's document: ledger of power and seeds, calibration, kill matrix by room.

    Args:
        document: content of report.json; one without a ``trust`` part gives empty tables.
    """
    trust = document.get("trust") or {}
    calibration, kills = trust.get("calibration", []), trust.get("kill_matrix", [])
    curves: dict[tuple[str, str], dict[float, dict[str, float]]] = {}
    for row in calibration:
        verdict, ending, _ = row["measure"].partition(" with margin")
        if ending:
            curves.setdefault((row["rule"], row["law"]), {}).setdefault(row["at"], {})[verdict] = row["rate"]
    faults: dict[str, dict[str, Any]] = {}
    for row in kills:
        entry = faults.setdefault(row["fault"], {**row, "caught": []})
        entry["caught"].append({name: row[name] for name in ("check", "claim", "test", "says")})
    rooms = list(dict.fromkeys(row["room"] for row in kills))
    return {
        "command": trust.get("command", ""),
        "ledger": [_ledger(row) for row in document["claims"] if row["checks"]],
        "alarms": [row for row in calibration if not row["measure"].endswith(" with margin")],
        "curves": [(rule, law, sorted(points.items())) for (rule, law), points in curves.items()],
        "steps": sorted({at for points in curves.values() for at in points}),
        "faults": len(faults),
        "rooms": [(room, [entry for entry in faults.values() if entry["room"] == room]) for room in rooms],
        "claims": list(dict.fromkeys(row["claim"] for row in kills if row["claim"])),
        "commands": COMMANDS,
        "evidence": _evidence(document.get("budget", {})),
        "seed_sets": _seed_sets(trust.get("seed_sets", [])),
        "mutants": _mutants(trust.get("mutants", [])),
    }


def _evidence(budget: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The run's e-values, None for a report from before they were added up."""
    return budget if "run_e_value" in budget else None


def _seed_sets(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The ledger of seed sets with its totals; rows that failed a set, or ran with the fewest, come first."""
    rows = sorted((row for row in rows if row["sets"]), key=lambda row: (-len(row["failed"]), row["sets"]))
    if not rows:
        return None
    return {
        "rows": rows,
        "names": len({(row["claim"], row["regime"]) for row in rows}),
        "sets": max(row["sets"] for row in rows),
        "judged": sum(row["sets"] for row in rows),
        "failed": sum(row["sets"] - row["passed"] for row in rows),
        "earlier": len({(row["claim"], row["regime"]) for row in rows if row.get("earlier")}),
    }


def _mutants(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Mutants by module with their totals; an equivalent mutant changes no result, and does not count."""
    rows = list(rows)
    if not rows:
        return None
    survivors = [survivor for row in rows for survivor in row["survivors"]]
    judged, killed = (sum(row[name] for row in rows) for name in ("judged", "killed"))
    equivalent = sum(bool(survivor["equivalent"]) for survivor in survivors)
    return {
        "rows": rows,
        "mutants": sum(row["mutants"] for row in rows),
        "judged": judged,
        "killed": killed,
        "survivors": len(survivors),
        "equivalent": equivalent,
        "share": killed / max(judged - equivalent, 1),
    }


def _ledger(row: Mapping[str, Any]) -> dict[str, Any]:
    """Power, error spent and replicates of one row: the check that decided, and the sum over its random checks."""
    random = [check for check in row["checks"] if check["confidence"] is not None and check["confidence"] < 1]
    return {name: row[name] for name in ("id", "regime", "headline", "prediction", "margin", "detectable", "unit", "confidence")} | {
        "predicted": prediction_text(row),
        "random": len(random),
        "exact": len(row["checks"]) - len(random),
        "spent": sum(1 - check["confidence"] for check in random),
        "replicates": sorted({check["seeds"] for check in random}),
    }


def _read(path: Path, name: str) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} must hold the record of {COMMANDS[name]!r}, got {type(error).__name__}") from None
    return _check(document, name)


def _check(document: Any, name: str) -> list[dict[str, Any]]:
    if name not in FILES:
        raise ValueError(f"trust record must be one of {', '.join(FILES)}, got {name!r}")
    if not isinstance(document, dict) or document.get("version") != VERSION or not isinstance(document.get("rows"), list):
        raise ValueError(f"{name}.json must hold version {VERSION} of the record, made by {COMMANDS[name]!r}, got something else")
    for row in document["rows"]:
        if not isinstance(row, dict) or set(row) != FILES[name]:
            raise ValueError(f"{name}.json must hold rows with the fields {', '.join(sorted(FILES[name]))}, got {str(row)[:80]}")
    rows: list[dict[str, Any]] = document["rows"]
    return rows
