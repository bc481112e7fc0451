"""The result type of every estimator."""

from __future__ import annotations

import numpy as np
import pytest

from empirical import inference
from empirical.inference import Estimate


def test_scalars_become_floats_and_arrays_read_only():
    scalar = Estimate(value=np.float32(1), lower=np.array(0.5), upper=2, confidence=0.9, n_seeds=3, method="m")
    assert (type(scalar.value), type(scalar.lower), type(scalar.upper)) == (float, float, float)
    source = np.array([1.0, 2.0])
    array = Estimate(value=source, lower=source - 1, upper=source + 1, confidence=0.9, n_seeds=3, method="m")
    source[0] = 9
    assert array.value[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        array.value[0] = 0


def test_contains_needs_every_component():
    band = Estimate(value=[0.0, 0.0], lower=[-1.0, -1.0], upper=[1.0, 2.0], confidence=0.9, n_seeds=3, method="m")
    assert band.contains([0.5, 1.5])
    assert not band.contains([1.5, 1.5])
    assert band.contains(1.0)
    with pytest.raises(ValueError, match="target must be finite, got nan"):
        band.contains(np.nan)


def test_dictionary_has_no_infinity():
    fields = Estimate(value=0.0, lower=-np.inf, upper=1.0, confidence=0.9, n_seeds=1, method="m", unit="rad").as_dict()
    assert fields == {"value": 0.0, "lower": None, "upper": 1.0, "confidence": 0.9, "n_seeds": 1, "method": "m", "unit": "rad"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lower": 2.0}, "an interval must contain its value, got 1.0 in"),
        ({"value": np.nan}, "an interval must contain its value, got nan"),
        ({"lower": [0.0, 0.0]}, "one shape"),
        ({"confidence": 1.5}, r"confidence must lie in \(0, 1\], got 1.5"),
        ({"n_seeds": 0}, "n_seeds must be an integer >= 1, got 0"),
    ],
    ids=["value-outside", "nan", "shapes", "confidence", "seeds"],
)
def test_refuses_contradictions(change: dict[str, object], message: str):
    fields = {"value": 1.0, "lower": 0.0, "upper": 2.0, "confidence": 0.9, "n_seeds": 3, "method": "m"} | change
    with pytest.raises(ValueError, match=message):
        Estimate(**fields)


def test_exact_has_zero_width_and_full_confidence():
    estimate = inference.exact([1.0, 2.0], unit="rad")
    assert np.array_equal(estimate.lower, estimate.upper)
    assert estimate.confidence == 1.0
