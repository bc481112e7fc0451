"""Reports: whether theory and measurement agree, and how that is shown. Computes no science.

Names are imported on first use, so that ``clean-priority claims`` and ``--help`` do not wait for packages that they do not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.agreement import AgreementRecord, ClaimResult, Margin, Range, Role, Verdict, judge
    from reports.diagnose import diagnose, diagnose_trace
    from reports.diagnosis import Diagnosis
    from reports.figure_data import FigureData
    from reports.schema import SCHEMA_VERSION, load_schema, read_report
    from reports.sequential import judge_sequentially
    from reports.writer import redraw, write_report

__all__ = [
    "SCHEMA_VERSION",
    "AgreementRecord",
    "ClaimResult",
    "Diagnosis",
    "FigureData",
    "Margin",
    "Range",
    "Role",
    "Verdict",
    "diagnose",
    "diagnose_trace",
    "judge",
    "judge_sequentially",
    "load_schema",
    "read_report",
    "redraw",
    "write_report",
]

_HOME = {
    **dict.fromkeys(("AgreementRecord", "ClaimResult", "Margin", "Range", "Role", "Verdict", "judge"), "agreement"),
    **dict.fromkeys(("diagnose", "diagnose_trace"), "diagnose"),
    "Diagnosis": "diagnosis",
    "FigureData": "figure_data",
    "judge_sequentially": "sequential",
    **dict.fromkeys(("redraw", "write_report"), "writer"),
    **dict.fromkeys(("SCHEMA_VERSION", "load_schema", "read_report"), "schema"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reports' has no attribute {name!r}")
    return getattr(import_module(f"reports.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
