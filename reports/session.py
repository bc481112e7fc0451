"""What one run of the harness gathers: measurements first, then rows and figures, and the facts of the run.

The pytest plugin opens one `AgreementSession` per run and asks it; nothing here knows of pytest.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from empirical.datasets import DatasetNotFound
from empirical.device_agreement import DeviceDisagreementError, check_device_agreement
from empirical.devices import POLICY, policy, policy_departures, resolve_device
from empirical.devices import provenance as machine_provenance
from empirical.experiments import experiment, seeds_by_rule
from empirical.runner import RunError, run
from empirical.store import Store
from reports.agreement import ClaimResult, Verdict
from reports.budget import spent
from reports.figure_data import FigureData
from reports.judgements import Judgements
from reports.own_claims import OwnClaims

__all__ = ["AgreementSession"]


@dataclass
class AgreementSession:
    """What one run of the harness gathers: measurements, rows, figures.

    Attributes:
        tier: scale of the experiments.
        seed_salt: "" for seeds by rule; otherwise a number, drawn or given, that makes other seeds by the same rule.
        device: where networks are measured.
        store: where measurements are kept.
        n_jobs: processes that measure.
        cluster: address of a Dask cluster that measures instead, or None.
        own: claims of one's own, the register that includes them, and their experiments.
        judgements: rows judged by earlier runs, or None to judge all.
        on_progress: called with (finished, total, description) whenever a measurement or a judgement ends.
    """

    tier: str
    seed_salt: str
    device: str
    store: Store
    n_jobs: int
    cluster: str | None = None
    own: OwnClaims = field(default_factory=OwnClaims)
    judgements: Judgements | None = None
    on_progress: Callable[[int, int, str], None] | None = None
    results: list[ClaimResult] = field(default_factory=list)
    figures: list[FigureData] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    measurements: dict[str, xr.Dataset] = field(default_factory=dict)
    data_hashes: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unusable: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    judged_ids: set[str] = field(default_factory=set)
    started: float = field(default_factory=time.perf_counter)
    recalled: int = 0
    finished: int = 0
    total: int = 0

    def advance(self, description: str) -> None:
        """Report that one measurement or judgement has ended."""
        self.finished += 1
        if self.on_progress is not None:
            self.on_progress(self.finished, self.total, description)

    def measure_all(self, names: list[str], n_tests: int) -> None:
        """Run the named experiments that the store lacks.

        A missing data set, an unusable cluster, or a device here that does not agree with the CPU, is noted, not raised; the latter two
        before anything is measured, and nothing is judged then.
        """
        specs = {}
        for name in names:
            try:
                spec = self._specification(name)
                self.keys[name] = spec.key()
            except DatasetNotFound as error:
                self.unavailable[name] = str(error)
            else:
                specs[name] = spec
        self.total = len(specs) + n_tests
        try:
            self._check_device()
            found: Sequence[xr.Dataset | None] = run(
                list(specs.values()),
                store=self.store,
                n_jobs=self.n_jobs,
                cluster=self.cluster,
                device=self.device,
                progress=lambda step: self.advance(f"{step.source} {step.name}{_time_left(step.seconds_left)}"),
            )
        except RunError as error:
            found = error.results
            self.failed = dict(error.failures)
        except DeviceDisagreementError as error:
            self.unusable = str(error)
            return
        except ValueError as error:
            if self.cluster is None:
                raise
            self.unusable = str(error)
            return
        self.measurements = {name: run for name, run in zip(specs, found, strict=True) if run is not None}

    def _check_device(self) -> None:
        """Compare the device with the CPU, unless it is the CPU; what a cluster's workers measure on is not at hand here."""
        if self.cluster is None and resolve_device(self.device).type != "cpu":
            check_device_agreement(self.device)

    def _specification(self, name: str) -> Any:
        """An experiment of this tier, or one of one's own, with the seeds of the run."""
        spec = self.own.experiments[name] if name in self.own.experiments else experiment(name, tier=self.tier)
        if self.seed_salt and hasattr(spec, "seeds"):
            spec = replace(spec, seeds=seeds_by_rule(name, len(spec.seeds), salt=self.seed_salt))
        return spec

    def measurement(self, name: str) -> xr.Dataset:
        """One stored measurement; skips the test, visibly, where its data set is missing."""
        if name in self.unavailable:
            raise DatasetNotFound(self.unavailable[name])
        if name not in self.measurements:
            raise RuntimeError(f"measurement {name!r} failed: {self.failed.get(name, 'not among the experiments that the test names')}")
        return _judgeable(name, self.measurements[name])

    def replicates(self, name: str, first: int, count: int) -> xr.Dataset:
        """Replicates ``first`` … ``first + count − 1`` of an experiment by the rule of its seeds: those measured already, or a block more.

        A block beyond the experiment's own seeds is measured here and stored under its own key, so that asking again costs nothing.

        Raises:
            ValueError: if a block begins within the experiment's own seeds and is not all of them.
        """
        measured = self.measurement(name)
        spec = self._specification(name)
        if first < len(spec.seeds):
            if (first, count) != (0, len(spec.seeds)):
                raise ValueError(f"the first block of {name!r} must be its {len(spec.seeds)} own seeds, got {count} from {first}")
            return measured
        wanted = replace(spec, seeds=seeds_by_rule(name, first + count, salt=self.seed_salt)[first:])
        (more,) = run([wanted], store=self.store, n_jobs=1, device=self.device)
        return _judgeable(name, more)

    def generator(self, *key: str) -> np.random.Generator:
        """A generator seeded by the hash of ``key`` and the salt of the run."""
        digest = hashlib.sha256("\0".join((*key, self.seed_salt)).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))

    def add(self, result: ClaimResult, figures: tuple[FigureData, ...] = (), data: Mapping[str, str] | None = None) -> None:
        """Take in one row, with the figures it draws and the hashes of the data it loaded."""
        if _is_timeless():
            result = replace(result, seconds=0.0)
        self.results.append(result)
        self.figures.extend(figures)
        self.data_hashes.update(data or {})
        self.advance(f"judged {result.claim} · {result.regime}")

    def complete(self, wanted: list[str] | None = None) -> list[ClaimResult]:
        """All rows in the order of the register; claims that no test judges are rows that did not run."""
        order = {claim_id: position for position, claim_id in enumerate(self.own.register)}
        rows = list(self.results)
        for claim_id in wanted or self.own.register:
            if claim_id not in self.judged_ids:
                claim = self.own.register[claim_id]
                rows.append(
                    ClaimResult(
                        claim=claim_id,
                        model="none",
                        data="none",
                        expected=Verdict(claim.expected),
                        expected_reason=claim.reason,
                        not_run="no test judges this claim yet",
                    )
                )
        return sorted(rows, key=lambda row: order[row.claim])

    def provenance(self, command: str) -> dict[str, Any]:
        """Where, with what and how this run was made; precision, determinism and threads are those of the measurements."""
        with policy(self.device, threads=1):
            here = machine_provenance(self.device)
        facts = {
            **here,
            **self._measured_under(),
            "tier": self.tier,
            "seeds": f"--seeds {self.seed_salt}" if self.seed_salt else "by rule",
            "command": command,
            "wall_time_s": round(time.perf_counter() - self.started, 1),
            "data": dict(sorted(self.data_hashes.items())),
            "missing": dict(sorted(self.unavailable.items())),
            "measured_on": self._measured_on(),
            "rows_recalled": self.recalled,
            "budget": spent(self.results),
        }
        return {name: fact for name, fact in facts.items() if not (_is_timeless() and name in ("wall_time_s", "rows_recalled"))}

    def _measured_under(self) -> dict[str, Any]:
        """The policy that the records were made under, as they say; values that differ between them side by side, as text."""
        records = [_provenance_of(record) for record in self.measurements.values()]
        found = {name: {str(facts[name]): facts[name] for facts in records if name in facts} for name in POLICY}
        return {
            name: next(iter(values.values())) if len(values) == 1 else ", ".join(sorted(values)) for name, values in found.items() if values
        }

    def _measured_on(self) -> dict[str, int]:
        """Kind of device → number of measurements made on it: a CPU and a GPU agree within a bound, not to the bit."""
        kinds = [str(_provenance_of(record).get("device", "unknown")) for record in self.measurements.values()]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def _provenance_of(record: xr.Dataset) -> dict[str, Any]:
    """Where and how a record was made; empty if it does not say."""
    try:
        facts = json.loads(record.attrs.get("provenance", "{}"))
    except (TypeError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _judgeable(name: str, record: xr.Dataset) -> xr.Dataset:
    """Return a record that was made under the policy.

    Raises:
        ValueError: if it was made under another one; says which.
    """
    departures = policy_departures(_provenance_of(record))
    if departures:
        raise ValueError(
            f"measurement {name!r} is not judged, its record was made under another policy: {'; '.join(departures)} "
            "(clean-priority store gc --other-policy sets it aside)"
        )
    return record


def _is_timeless() -> bool:
    """Whether durations are left out, as ``SOURCE_DATE_EPOCH`` asks: the same records then give the same bytes, whenever and how often."""
    return bool(os.environ.get("SOURCE_DATE_EPOCH"))


def _time_left(seconds: float) -> str:
    """``· about 3 min left`` for people; empty where it is not known or not worth saying."""
    if not 10 <= seconds < float("inf"):
        return ""
    return f" · about {round(seconds)} s left" if seconds < 90 else f" · about {round(seconds / 60)} min left"
