"""What one claim test gathers while it runs: checks, figures and notes, turned into a `ClaimResult` at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from empirical.datasets import Dataset
from empirical.inference import Estimate
from reports.agreement import AgreementRecord, ClaimResult, Margin, Range, Role, Verdict, judge
from reports.budget import PER_CHECK_ERROR_RATE
from reports.figure_data import FigureData
from reports.kept import Compute, Kept
from reports.sequential import Draw, Sequence, judge_sequentially
from theory.claims import Claim

__all__ = ["Agreement"]

MarginLike = float | Margin | Mapping[str, float | NDArray[np.floating]]


class Agreement:
    """The notebook of one claim test: predict, measure, judge, and the negative control beside it.

    Every method that judges returns the record, so that a test may look at it; the harness turns the whole into one row of the report and
    fails the test if the row is not as the register expects.

    Attributes:
        claim: the register entry under test.
        tier: "quick", "standard" or "full".
        error_rate: probability with which one random check may be wrong; the share of one check in the run's budget.
        rng: a generator seeded by rule from the claim's id and the regime (or afresh, with ``--seeds fresh``).
        seed_salt: "" for seeds by rule; goes into every seed that a test derives from a name, so that ``--seeds`` reaches all of them.
        measure: name of an experiment in the test's ``experiments`` mark → its stored measurement.
        replicates: (name, first, count) → replicates first … first + count − 1 of it, measured and stored where they are not yet.
        data_hashes: name → hash of the data sets that the test has loaded.
    """

    def __init__(
        self,
        claim: Claim,
        *,
        model: str,
        data: str,
        expected: Verdict,
        expected_reason: str,
        command: str,
        tier: str,
        rng: np.random.Generator,
        seed_salt: str,
        measure: Callable[[str], xr.Dataset],
        replicates: Callable[[str, int, int], xr.Dataset],
        load: Callable[..., Dataset],
        keep: Kept | None = None,
    ) -> None:
        self.claim = claim
        self.tier = tier
        self.error_rate = PER_CHECK_ERROR_RATE
        self.rng = rng
        self.seed_salt = seed_salt
        self.measure = measure
        self.replicates = replicates
        self._load = load
        self._keep = keep
        self.data_hashes: dict[str, str] = {}
        self._header = {"model": model, "data": data, "expected": expected, "expected_reason": expected_reason, "command": command}
        self._records: list[AgreementRecord] = []
        self._figures: list[FigureData] = []
        self._notes: list[str] = []

    def dataset(self, name: str, **options: Any) -> Dataset:
        """Load a data set and take down its hash; options as of `empirical.DataSpec`. A missing one ends the test as NOT RUN."""
        dataset = self._load(name, **options)
        self.data_hashes[dataset.name] = dataset.sha256
        return dataset

    def kept(self, name: str, compute: Compute, **key: object) -> dict[str, NDArray[Any]]:
        """Arrays that ``compute()`` makes, or made before: kept in the store as long as the code and ``key`` are the same; see `Kept`.

        All that the result depends on, but for the code, must be in ``key``: seeds, sizes, hashes of data.
        """
        if self._keep is None:
            return {part: np.asarray(values) for part, values in compute().items()}
        return self._keep(name, compute, **key)

    def drawn(self, name: str, draw: Callable[[np.random.Generator], Mapping[str, ArrayLike]], **key: object) -> dict[str, NDArray[Any]]:
        """Arrays that ``draw`` makes with a generator of its own, seeded by rule from `rng`; kept as by `kept`.

        The claim, the regime, the tier, the seeds and the data loaded so far belong to the key by themselves.
        """
        seed = int(self.rng.integers(2**62))
        own = {"claim": self.claim.id, "model": self._header["model"], "data": self._header["data"], "tier": self.tier, "seed": seed}
        filled = partial(draw, np.random.default_rng(seed))
        return self.kept(name, filled, **own, hashes=sorted(self.data_hashes.items()), **key)

    def check(
        self,
        name: str,
        *,
        prediction: ArrayLike | Range,
        estimate: Estimate,
        margin: MarginLike,
        expected: Verdict | str | None = None,
        role: Role = Role.STATEMENT,
    ) -> AgreementRecord:
        """Judge the statement as printed; see `reports.judge` for the arguments."""
        record = judge(prediction, estimate, margin=margin, claim=self.claim, name=name, role=role, expected=expected)
        self._records.append(record)
        return record

    def sequential(
        self,
        name: str,
        *,
        prediction: float | Range,
        draw: Draw,
        sequence: Sequence,
        margin: MarginLike,
        start: int,
        cap: int,
        expected: Verdict | str | None = None,
        role: Role = Role.STATEMENT,
        unit: str = "",
    ) -> AgreementRecord:
        """Judge a mean over replicates, drawing more of them while it is undecided; see `reports.judge_sequentially`.

        ``draw(first, count)`` measures replicates first … first + count − 1; `replicates` does so for a stored experiment.
        """
        record = judge_sequentially(
            prediction,
            draw,
            sequence=sequence,
            margin=margin,
            claim=self.claim,
            error_rate=self.error_rate,
            start=start,
            cap=cap,
            name=name,
            role=role,
            expected=expected,
            unit=unit,
        )
        self._records.append(record)
        return record

    def correct(self, name: str, *, prediction: ArrayLike | Range, estimate: Estimate, margin: MarginLike) -> AgreementRecord:
        """Judge the corrected statement; anything but AGREES fails the test."""
        return self.check(name, prediction=prediction, estimate=estimate, margin=margin, role=Role.CORRECTION)

    def control(self, name: str, *, prediction: ArrayLike | Range, estimate: Estimate, margin: MarginLike) -> AgreementRecord:
        """Judge a negative control; anything but DISAGREES fails the test."""
        return self.check(name, prediction=prediction, estimate=estimate, margin=margin, role=Role.CONTROL)

    def hypothesis(self, name: str, *, prediction: ArrayLike | Range, estimate: Estimate, margin: MarginLike) -> AgreementRecord:
        """Judge whether a hypothesis of the claim holds; if not, the claim ends as ASSUMPTION VIOLATED."""
        return self.check(name, prediction=prediction, estimate=estimate, margin=margin, role=Role.HYPOTHESIS)

    def note(self, text: str) -> None:
        """Add one sentence of plain observation to the row."""
        self._notes.append(text)

    def figure(
        self,
        kind: str,
        *,
        title: str,
        caption: str,
        arrays: Mapping[str, ArrayLike],
        labels: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> None:
        """Hand over the arrays of a figure; see `FigureData`. The id defaults to claim, regime and a counter."""
        stem = re.sub(r"[^a-zA-Z0-9]+", "-", f"{self.claim.id} {self._header['model']} {self._header['data']}").strip("-").lower()
        self._figures.append(
            FigureData(
                id=id or (f"{stem}-{len(self._figures) + 1}" if self._figures else stem),
                kind=kind,
                title=title,
                caption=caption,
                claim=self.claim.id,
                arrays={name: np.asarray(values) for name, values in arrays.items()},
                labels=dict(labels or {}),
            )
        )

    @property
    def figures(self) -> tuple[FigureData, ...]:
        """The figures handed over so far."""
        return tuple(self._figures)

    def result(self, *, seconds: float, not_run: str = "", error: str = "") -> ClaimResult:
        """Close the notebook."""
        return ClaimResult(
            claim=self.claim.id,
            **self._header,  # type: ignore[arg-type]
            records=tuple(self._records),
            figures=tuple(figure.id for figure in self._figures),
            seconds=seconds,
            not_run=not_run,
            error=error,
            notes=tuple(self._notes),
            has_correction=bool(self.claim.correction),
        )
