"""report.json against its published schema; what is cut short, foreign or newer is answered in one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reports.schema import SCHEMA_VERSION, load_schema, problems_with, read_report


@pytest.fixture(scope="module")
def document(written: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((written / "report.json").read_text(encoding="utf-8"))
    # Two entries of each list, at every depth but below the rows, keep the mutations below few.
    return {name: shortened(part) if name != "claims" else part[:2] for name, part in document.items()}


def shortened(value: Any) -> Any:
    """The value with at most two entries in each of its lists."""
    if isinstance(value, dict):
        return {name: shortened(part) for name, part in value.items()}
    return [shortened(part) for part in value[:2]] if isinstance(value, list) else value


def test_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(load_schema())


def test_report_fits_the_schema(written: Path) -> None:
    whole = json.loads((written / "report.json").read_text(encoding="utf-8"))
    assert list(Draft202012Validator(load_schema()).iter_errors(whole)) == []
    assert list(problems_with(whole)) == []
    assert whole["schema_version"] == SCHEMA_VERSION


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    if path:
        yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in entries:
        yield from places(part, (*path, name))


def changed(document: dict[str, Any], path: tuple[Any, ...], new: Any = None, *, drop: bool = False) -> dict[str, Any]:
    other = copy.deepcopy(document)
    target: Any = other
    for name in path[:-1]:
        target = target[name]
    if drop:
        del target[path[-1]]
    else:
        target[path[-1]] = new
    return other


def test_own_validator_judges_as_the_reference_does(document: dict[str, Any]) -> None:
    """Every entry once dropped and once replaced by a value of another kind: 0 differences from jsonschema."""
    reference = Draft202012Validator(load_schema())
    small = copy.deepcopy(document)
    small["claims"] = [row | {"checks": row["checks"][:1]} for row in small["claims"][:1]]
    small["register"], small["figures"], small["slips"] = small["register"][:1], small["figures"][:1], small["slips"][:1]
    rejected = tried = 0
    for path in places(small):
        mutants = [changed(small, path, drop=True), *(changed(small, path, new) for new in (None, 3.5, "x", [], {}, True))]
        for mutant in mutants:
            ours = next(problems_with(mutant), None)
            assert (ours is None) == reference.is_valid(mutant), (path, ours)
            tried += 1
            rejected += ours is not None
    assert rejected > tried / 3 > 100


def test_read_takes_a_folder_or_a_file(written: Path) -> None:
    assert read_report(written) == read_report(written / "report.json") == read_report(str(written))


def test_later_minor_versions_with_more_fields_are_read(report: Path) -> None:
    file = report / "report.json"
    whole = json.loads(file.read_text(encoding="utf-8"))
    whole |= {"schema_version": "1.7", "new_part": {"a": 1}}
    whole["claims"][0]["new_field"] = "x"
    file.write_text(json.dumps(whole), encoding="utf-8")
    assert read_report(report)["new_part"] == {"a": 1}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "not valid JSON"),
        (b'{"schema_version": "1.0", "claims": [', "cut short"),
        (b'{"schema_version": "1.0", "provenance": {"x": NaN}}', "NaN"),
        (b"\xff\xfe\x00bad", "other bytes"),
        (b"[1, 2]", "no schema_version"),
        (b'{"name": "left-pad", "version": "1.0.0"}', "no schema_version"),
        (b'{"schema_version": "2.0"}', "'2.0', this program reads 1.x"),
        (b'{"schema_version": "1.0\\n"}', "this program reads 1.x"),
        (b'{"schema_version": "1.0"}', "'provenance' is missing"),
        (b"[" * 100_000, "not valid JSON|nested too deeply"),
    ],
)
def test_unreadable_reports_are_one_line(tmp_path: Path, content: bytes, named: str) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=named) as caught:
        read_report(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_anywhere_is_refused(report: Path) -> None:
    file = report / "report.json"
    whole = file.read_bytes()
    for part in range(1, 20):
        file.write_bytes(whole[: len(whole) * part // 20])
        with pytest.raises(ValueError, match=r"not valid JSON|other bytes"):
            read_report(report)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_report(tmp_path / "none.json")
    with pytest.raises(ValueError, match="No such file"):
        read_report(tmp_path)


def test_paths_out_of_the_folder_are_refused(report: Path) -> None:
    file = report / "report.json"
    whole = json.loads(file.read_text(encoding="utf-8"))
    whole["figures"][0]["data"] = "figures/../../secret.csv"
    file.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(ValueError, match="secret"):
        read_report(report)
