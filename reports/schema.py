"""Reading report.json: its published, versioned JSON Schema, and one-line answers to files that do not fit.

The schema lies beside this module in ``schemas/report-1.json`` (JSON Schema 2020-12; any validator reads it). `problems_with`
understands the part of the language that this schema uses, so that reading a report needs no further package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from reports._validation import brief, check_list, check_path

__all__ = ["SCHEMA_VERSION", "load_schema", "problems_with", "read_report"]

SCHEMA_VERSION = "1.2"

_KINDS = {"report": "an agreement report", "diagnosis": "a diagnosis"}

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


@cache
def _schema_text(kind: str) -> str:
    return (Path(__file__).parent / "schemas" / f"{kind}-1.json").read_text(encoding="utf-8")


def load_schema(kind: str = "report") -> dict[str, Any]:
    """The JSON Schema of report.json, version 1.

    Args:
        kind: "report" (agreement report) or "diagnosis".

    Raises:
        ValueError: if it is another kind.

    Example:
        >>> load_schema()["title"]
        'clean-priority agreement report'
    """
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}, got {brief(kind)}")
    schema: dict[str, Any] = json.loads(_schema_text(kind))
    return schema


def read_report(path: Path | str, *, kinds: Sequence[str] = ("report",)) -> dict[str, Any]:
    """Read and check a report.

    Args:
        path: a report.json, or the folder that holds one.
        kinds: which kinds are welcome, of "report" (agreement report) and "diagnosis".

    Raises:
        ValueError: in one line, if there is no such file, it is not JSON (cut short, say), not a report, or of a version that this
            program does not read.
    """
    path = check_path(path, "path")
    if not check_list(kinds, "kinds", str, "kinds of reports") or not set(kinds) <= set(_KINDS):
        raise ValueError(f"kinds must be of {', '.join(_KINDS)}, got {brief(kinds)}")
    file = path / "report.json" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{file}: expected a report.json in UTF-8, got other bytes") from None
    except OSError as error:
        raise ValueError(f"{file}: expected a report.json, got: {error.strerror or 'unreadable'}") from None
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else f" ({error})"
        raise ValueError(f"{file}: not valid JSON{where}; the file may be cut short") from None
    except RecursionError:
        raise ValueError(f"{file}: not a clean-priority report: nested too deeply") from None
    if not isinstance(document, dict) or not isinstance(document.get("schema_version"), str):
        raise ValueError(f"{file}: not a clean-priority report: it has no schema_version")
    version = document["schema_version"]
    if not re.fullmatch(r"1\.\d+", version):
        raise ValueError(f"{file}: has schema version {version[:20]!r}, this program reads 1.x")
    kind = document.get("kind", "report")
    if kind not in kinds:
        raise ValueError(f"{file}: expected {' or '.join(_KINDS[name] for name in kinds)}, got {_KINDS.get(str(kind), repr(kind)[:20])}")
    first = next(problems_with(document), None)
    if first:
        raise ValueError(f"{file}: not a clean-priority report: {first}")
    return document


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not strict JSON")


def problems_with(document: Any) -> Iterator[str]:
    """Say where a document departs from the schema, one line for each place.

    Example:
        >>> next(problems_with({"schema_version": "1.0"}))
        "at the top: 'provenance' is missing"
    """
    schema = load_schema("diagnosis" if isinstance(document, dict) and document.get("kind") == "diagnosis" else "report")
    yield from _check(document, schema, schema, "the top")


def _check(value: Any, rule: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if "$ref" in rule:
        yield from _check(value, schema["$defs"][rule["$ref"].removeprefix("#/$defs/")], schema, where)
    if "anyOf" in rule and all(any(True for _ in _check(value, option, schema, where)) for option in rule["anyOf"]):
        yield f"at {where}: {_brief(value)} fits none of the forms allowed"
    if "enum" in rule and value not in rule["enum"]:
        yield f"at {where}: {_brief(value)} is not one of {', '.join(map(str, rule['enum']))}"
    if "type" in rule:
        allowed = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
        if not any(_is(value, name) for name in allowed):
            yield f"at {where}: {_brief(value)} should be of type {' or '.join(allowed)}"
            return
    if isinstance(value, str) and "pattern" in rule and not re.search(rule["pattern"], value):
        yield f"at {where}: {_brief(value)} does not match {rule['pattern']}"
    if isinstance(value, list):
        if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", len(value)):
            yield f"at {where}: has {len(value)} items"
        for position, part in enumerate(value):
            yield from _check(part, rule.get("items", {}), schema, f"{where}[{position}]")
    if isinstance(value, dict):
        for name in rule.get("required", ()):
            if name not in value:
                yield f"at {where}: {name!r} is missing"
        known = rule.get("properties", {})
        for name, part in value.items():
            inner = known.get(name, rule.get("additionalProperties", {}))
            yield from _check(part, inner, schema, name if where == "the top" else f"{where}.{name}")


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"
