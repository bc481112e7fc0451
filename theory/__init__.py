"""What the infinite-width theory of clean-priority learning says: NumPy and SciPy only, no input or output, no randomness."""

from __future__ import annotations

# The claim register
from theory.claims import CLAIMS, SLIPS, Claim, Slip, claim

__all__ = ["CLAIMS", "SLIPS", "Claim", "Slip", "claim"]
