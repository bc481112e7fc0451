"""The result type of every estimator: a value with a confidence set, the number of seeds behind it, and how it was made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical._validation import as_real_array, check_integer, check_text

__all__ = ["Estimate", "exact"]

Value = float | NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """A measured quantity with its confidence set.

    Attributes:
        value: point estimate, a float or a read-only array ``[k]`` (or any shape).
        lower: lower end, same shape; −inf where the data bound nothing.
        upper: upper end, same shape; +inf where the data bound nothing.
        confidence: probability, at least, that the set covers the quantity: jointly for a band, for each component otherwise (``method``
            says which); 1 for an exact value.
        n_seeds: number of independent replicas.
        method: name of the estimator with its assumption.
        unit: unit of the value, empty for a pure number.

    Raises:
        ValueError: if the shapes differ, a number is NaN, an interval does not contain its value, or the confidence is not in (0, 1].

    Example:
        >>> estimate = Estimate(value=0.5, lower=0.4, upper=0.7, confidence=0.99, n_seeds=12, method="Student t, normal means")
        >>> estimate.contains(0.65), round(estimate.half_width, 3)
        (True, 0.15)
    """

    value: Value
    lower: Value
    upper: Value
    confidence: float
    n_seeds: int
    method: str
    unit: str = ""

    def __post_init__(self) -> None:
        """Convert to float or read-only float64 arrays and check."""
        check_text(self.unit, "unit")
        value, lower, upper = (np.array(part, dtype=np.float64) for part in (self.value, self.lower, self.upper))
        if not value.shape == lower.shape == upper.shape:
            raise ValueError(
                f"value, lower and upper must have one shape, got {list(value.shape)}, {list(lower.shape)}, {list(upper.shape)}"
            )
        wrong = ~((lower <= value) & (value <= upper))
        if wrong.any():
            first = tuple(np.argwhere(wrong)[0])
            raise ValueError(f"an interval must contain its value, got {value[first]} in [{lower[first]}, {upper[first]}]")
        if not 0 < self.confidence <= 1:
            raise ValueError(f"confidence must lie in (0, 1], got {self.confidence}")
        check_integer(self.n_seeds, "n_seeds", minimum=1)
        for name, part in (("value", value), ("lower", lower), ("upper", upper)):
            part.setflags(write=False)
            object.__setattr__(self, name, float(part) if part.ndim == 0 else part)

    @property
    def half_width(self) -> float | NDArray[np.float64]:
        """Half of the interval's length, same shape as ``value``."""
        half: float | NDArray[np.float64] = (self.upper - self.lower) / 2
        return half

    def contains(self, target: ArrayLike) -> bool:
        """Whether the set contains ``target`` (in every component; broadcasts).

        Raises:
            ValueError: if ``target`` is not finite and real.
        """
        wanted = as_real_array(target, "target")
        return bool(np.all((self.lower <= wanted) & (wanted <= self.upper)))

    def as_dict(self) -> dict[str, object]:
        """JSON-able fields; infinite ends become None."""
        fields: dict[str, object] = {}
        for name in ("value", "lower", "upper"):
            part = np.asarray(getattr(self, name))
            fields[name] = np.where(np.isfinite(part), part.astype(object), np.array(None)).tolist()
        return fields | {"confidence": self.confidence, "n_seeds": self.n_seeds, "method": self.method, "unit": self.unit}


def exact(value: ArrayLike, *, n_seeds: int = 1, unit: str = "") -> Estimate:
    """Estimate without uncertainty: a deterministic quantity such as an identity evaluated on one set of weights.

    Args:
        value: finite number or array.
        n_seeds: number of instances behind it.
        unit: unit of the value.

    Raises:
        ValueError: if a value is not a finite real number.

    Example:
        >>> exact(1.25).lower, exact(1.25).confidence
        (1.25, 1.0)
    """
    number = as_real_array(value, "value").astype(np.float64)
    return Estimate(value=number, lower=number, upper=number, confidence=1.0, n_seeds=n_seeds, method="exact value", unit=unit)


def as_samples(samples: ArrayLike, *, minimum: int, name: str = "samples") -> NDArray[np.float64]:
    """Samples ``[n, …]`` in float64 with the seeds on axis 0, at least ``minimum`` of them."""
    array = as_real_array(samples, name)
    if array.ndim == 0 or array.size == 0 or len(array) < minimum:
        raise ValueError(f"{name} must have shape [n, ...] with n >= {minimum} seeds on axis 0, got shape {list(array.shape)}")
    return array.astype(np.float64)
