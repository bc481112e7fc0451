"""The registry of planted faults: what the kill matrix plants, room by room, and what must catch it."""

from __future__ import annotations

from tests.support.faults_instruments import INSTRUMENT_FAULTS
from tests.support.faults_judging import JUDGING_FAULTS
from tests.support.faults_theory import THEORY_FAULTS
from tests.support.planting import Fault

__all__ = ["FAULTS"]

FAULTS: tuple[Fault, ...] = (*THEORY_FAULTS, *INSTRUMENT_FAULTS, *JUDGING_FAULTS)
