"""From results to the one document that every form of the report is made of: the content of report.json.

HTML, Markdown and terminal read this document and nothing else, so that a report drawn again from its file is the same report.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.agreement import AgreementRecord, ClaimResult, Role, Verdict
from reports.budget import spent
from reports.figure_data import FigureData
from reports.schema import SCHEMA_VERSION
from reports.sources import claim_places, formula_sources
from reports.trust import trust_part
from theory.claims import CLAIMS, SLIPS, Claim

__all__ = ["build_document", "figure_entry", "number", "plain"]

NOT_JUDGED = "no test judges this claim yet"
NOT_SELECTED = "not selected in this run"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def number(value: float) -> float | str | None:
    """A number as strict JSON can hold it: NaN as None, infinities as the words "inf" and "-inf".

    Example:
        >>> number(0.5), number(float("nan")), number(float("-inf"))
        (0.5, None, '-inf')
    """
    value = float(value)
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def build_document(
    results: Iterable[ClaimResult],
    figures: Sequence[FigureData],
    provenance: Mapping[str, Any],
    *,
    problems: Sequence[str] = (),
    selection: Collection[str] = (),
    register: Mapping[str, Claim] = CLAIMS,
) -> dict[str, Any]:
    """Gather a run into the content of report.json.

    Args:
        results: one per claim and regime.
        figures: the figures that belong to them.
        provenance: commit, versions, machine, data hashes, wall time …; nested mappings of plain values.
        problems: what kept tests from running, one text each.
        selection: claim ids that were asked for; empty means all. Claims outside it are reported as not selected.
        register: the claims, id → claim, in their order: the papers' or, with claims of one's own, the register of the run.

    Raises:
        ValueError: if two figures share an id, an id is not a plain file name, or two results share claim and regime.
    """
    results = list(results)
    keys = [(result.claim, result.regime) for result in results]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"claim {twice[0]} has two results for the regime {twice[1]!r}, expected one")
    names = [figure.id for figure in figures]
    if len({name.lower() for name in names}) < len(names):
        raise ValueError(f"figure ids must differ, got {', '.join(sorted(name for name in names if names.count(name) > 1) or names)}")
    for name in names:
        if not _FILE_NAME.fullmatch(name):
            raise ValueError(f"figure id must consist of letters, digits, dots, dashes and underscores, got {name!r}")
    by_claim: dict[str, list[ClaimResult]] = {}
    for result in results:
        by_claim.setdefault(result.claim, []).append(result)
    rows: list[dict[str, Any]] = []
    for id in register:
        found = by_claim.get(id, [])
        rows += [_row(result, register) for result in found] or [_missing_row(register, id, selection)]
    formulas, places = formula_sources(), claim_places()
    sources = sorted({source for found in formulas.values() for source in found}, key=lambda source: (source.file, source.line))
    return {
        "schema_version": SCHEMA_VERSION,
        "provenance": plain(provenance),
        "summary": _summary(rows),
        "problems": [str(problem) for problem in problems],
        "claims": rows,
        "figures": [figure_entry(figure) for figure in sorted(figures, key=lambda figure: _figure_order(figure, register))],
        "slips": [asdict(slip) for slip in SLIPS],
        "budget": {name: number(value) if isinstance(value, float) else value for name, value in spent(results).items()},
        "trust": trust_part(),
        "code": [{"id": source.id} | asdict(source) for source in sources],
        "register": [
            asdict(claim)
            | {"sources": list(claim.sources), "hypotheses": list(claim.hypotheses)}
            | {"code": [source.id for source in formulas.get(claim.id, ())], "places": places.get(claim.id, [])}
            for claim in register.values()
        ],
    }


def _row(result: ClaimResult, register: Mapping[str, Claim]) -> dict[str, Any]:
    claim, verdict, headline = register[result.claim], result.verdict, result.headline
    failures = result.failures()
    model, data = ("" if word == "none" else word for word in (result.model, result.data))
    row: dict[str, Any] = {
        "id": claim.id,
        "title": claim.title,
        "kind": claim.kind,
        "regime": result.regime if model or data else "",
        "model": model,
        "data": data,
        "verdict": verdict.value,
        "expected": Verdict(result.expected).value,
        "expected_reason": result.expected_reason,
        "ok": result.ok,
        "failures": failures,
        "headline": headline.name if headline else "",
        "prediction": number(headline.prediction) if headline else None,
        "estimate": number(headline.estimate) if headline else None,
        "interval": [number(end) for end in headline.interval] if headline else [None, None],
        "margin": number(headline.margin) if headline else None,
        "unit": headline.unit if headline else "",
        "seeds": headline.seeds if headline else 0,
        "confidence": number(headline.confidence) if headline else None,
        "detectable": number(headline.detectable) if headline else None,
        "checks": [_check(record) for record in result.records],
        "figures": list(result.figures),
        "command": result.command,
        "seconds": number(round(result.seconds, 3)),
        "reason": result.not_run or result.error,
        "notes": list(result.notes),
    }
    return row


def _check(record: AgreementRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "role": Role(record.role).value,
        "verdict": record.verdict.value,
        "expected": None if record.expected is None else Verdict(record.expected).value,
        "ok": record.ok,
        "prediction": number(record.prediction),
        "region": [number(end) for end in record.region],
        "estimate": number(record.estimate),
        "interval": [number(end) for end in record.interval],
        "margin": number(record.margin),
        "margin_terms": {name: number(size) for name, size in record.margin_terms.items()},
        "deviation": number(record.deviation),
        "detectable": number(record.detectable),
        "seeds": int(record.seeds),
        "confidence": number(record.confidence),
        "method": record.method,
        "unit": record.unit,
        "components": int(record.components),
        "e_value": None if record.e_value is None else number(record.e_value),
    }


def _missing_row(register: Mapping[str, Claim], id: str, selection: Collection[str]) -> dict[str, Any]:
    """The row of a claim from which no test reported: in plain sight, never a pass."""
    claim = register[id]
    empty = ClaimResult(
        claim=claim.id,
        model="",
        data="",
        expected=Verdict(claim.expected),
        expected_reason=claim.reason,
        not_run=NOT_SELECTED if selection and claim.id not in selection else NOT_JUDGED,
    )
    return _row(empty, register)


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    verdicts = {verdict.value: sum(row["verdict"] == verdict for row in rows) for verdict in Verdict}
    judged = [row for row in rows if row["verdict"] != Verdict.NOT_RUN]
    return {
        "verdicts": verdicts,
        "rows": len(judged),
        "claims": len({row["id"] for row in judged}),
        "claims_in_register": len({row["id"] for row in rows}),
        "as_expected": sum(not row["failures"] for row in judged),
        "not_as_expected": sum(bool(row["failures"]) for row in judged),
        "checks": sum(len(row["checks"]) for row in judged),
        "controls": sum(check["role"] == Role.CONTROL for row in judged for check in row["checks"]),
    }


def figure_entry(figure: FigureData) -> dict[str, Any]:
    """What a document says of a figure: its texts, its files, and shapes and types of its arrays."""
    return {
        "id": figure.id,
        "title": figure.title,
        "caption": figure.caption,
        "claim": figure.claim,
        "kind": figure.kind,
        "path": f"figures/{figure.id}.svg",
        "png": f"figures/{figure.id}.png",
        "data": f"figures/{figure.id}.csv",
        "columns": [{"name": name, "shape": list(np.shape(array)), "dtype": _type_name(array)} for name, array in figure.arrays.items()],
        "labels": {str(name): str(text) for name, text in figure.labels.items()},
    }


def _type_name(array: NDArray[np.generic]) -> str:
    dtype = np.asarray(array).dtype
    return "str" if dtype.kind == "U" else dtype.name


def _figure_order(figure: FigureData, register: Mapping[str, Claim]) -> tuple[int, int, int, str]:
    """The papers' figures first, in their order; then by claim, in the register's order; then by id."""
    found = re.fullmatch(r"figure_(\d+)", figure.kind)
    position = list(register).index(figure.claim) if figure.claim in register else len(register)
    return (0 if found else 1, int(found[1]) if found else 0, position, figure.id)


def plain(value: Any) -> Any:
    """Provenance as plain JSON values; numbers go through `number`."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    return value.as_posix() if isinstance(value, PurePath) else str(value)
