"""A claim of one's own: leaky ReLU. Run by ``pytest --claims docs/tutorials/leaky_relu.py``; explained in verify_a_claim.md.

σ(z) = max(z, 0) + a min(z, 0). With b = (1 − a)²/(1 + a²) the arc-cosine kernels become κ0 = 1 − bθ/π and
κ1 = cos θ + b(sin θ − θ cos θ)/π, and the gradient angle of one hidden layer mixes those of the linear and of the ReLU network:
cos θ_h = (1 − b) cos θ_d + b cos θ_h^ReLU.
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.special import stdtrit

from empirical import mean_interval, policy, seeds_by_rule
from reports.evidence import Agreement
from theory import cos_gradient_angle
from theory.claims import Claim

CLAIMS = (
    Claim(
        id="U1",
        title="Gradient angle of leaky ReLU",
        sources=("Thm 3.1 [A]",),
        quote="",
        statement=(
            "For one hidden layer with σ(z) = max(z, 0) + a min(z, 0), at infinite width, cos θ_h = (1 − b) cos θ_d + b cos θ_h^ReLU with "
            "b = (1 − a)²/(1 + a²)."
        ),
        formula=r"\cos\theta_h = \cos\theta_d + \frac{(1-a)^2}{1+a^2}\,\frac{\sin\theta_d - 2\theta_d\cos\theta_d}{2\pi}",
        hypotheses=("Both layers are trained; weights N(0, 1), no biases.", "Infinite width; the bias at width m is of order 1/m."),
        kind="rate",
        audit="OK",
        expected="AGREES",
        reason="E σ'σ' and E σσ split into the quadrants of two Gaussians, each an arc-cosine kernel at θ or π − θ.",
        control="The angles of the ReLU network (b = 1) and of the linear network (b = 0) must be rejected.",
    ),
)


# 1. Predict.
def predicted_cosine(theta: np.ndarray, slope: float) -> np.ndarray:
    """Return cos θ_h at infinite width for input angles θ."""
    b = (1 - slope) ** 2 / (1 + slope**2)
    return (1 - b) * np.cos(theta) + b * cos_gradient_angle(theta)


# 2. Measure: a frozen specification. Its key is the hash of all that determines the numbers; the harness stores what it measures.
@dataclass(frozen=True)
class LeakyCosines:
    """Cosine of the gradients of two unit inputs at given angles, for one random network per seed."""

    name: str
    width: int
    slope: float
    angles: tuple[float, ...]
    seeds: tuple[int, ...]

    def key(self) -> str:
        """Hash of all that determines the numbers; the 1 is the version of the code below."""
        return hashlib.sha256(repr(("leaky-cosines-1", astuple(self)[1:])).encode()).hexdigest()

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Draw every network and measure it."""
        cosines = []
        with policy(device):  # the house's rules for precision, threads and determinism; a record made otherwise is not judged
            for seed in self.seeds:
                generator = torch.Generator().manual_seed(seed)
                first, last = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((self.width, 2), (self.width,)))
                cosines.append([self._cosine(first, last, angle) for angle in self.angles])
        return xr.Dataset({"cosine": (("seed", "angle"), np.array(cosines))}, coords={"angle": list(self.angles)})

    def _cosine(self, first: torch.Tensor, last: torch.Tensor, angle: float) -> float:
        """Autograd through h(x) = vᵀ σ(W x), whatever the scale: angles do not depend on it."""
        gradients = []
        for x in (torch.tensor([1.0, 0.0]), torch.tensor([np.cos(angle), np.sin(angle)])):
            weights = [first.clone().requires_grad_(), last.clone().requires_grad_()]
            output = weights[1] @ torch.nn.functional.leaky_relu(weights[0] @ x.double(), negative_slope=self.slope)
            gradients.append(torch.cat([part.flatten() for part in torch.autograd.grad(output, weights)]))
        one, other = gradients
        return float(one @ other / (one.norm() * other.norm()))


ANGLES, SLOPE, WIDTH, SEEDS = (0.5, 1.0, 1.5, 2.5), 0.2, 512, 200
EXPERIMENTS = {
    "leaky-relu-width-512": LeakyCosines("leaky-relu-width-512", WIDTH, SLOPE, ANGLES, seeds_by_rule("leaky-relu-width-512", SEEDS)),
}


# 3. Judge: prediction, estimate, a margin of named terms fixed before the data, and what must be rejected.
@pytest.mark.claim("U1")
@pytest.mark.regime("network at initialisation, width 512", "unit pairs")
@pytest.mark.experiments("leaky-relu-width-512")
def test_gradient_angle_of_leaky_relu(agreement: Agreement) -> None:
    """Networks of width 512 against the mixture, and against its two ends, which must be rejected."""
    cosine = agreement.measure("leaky-relu-width-512").cosine.to_numpy()  # [seed, angle]
    theta, n = np.array(ANGLES), len(cosine)
    rate = agreement.error_rate / len(theta)  # four angles at once

    # Finite width: a mean over m hidden units scatters like 1/√m and biases a ratio of means like 1/m. The constants of ReLU are 0.5 and
    # 0.35 (theory.ntk_moments); 1 and 4 are allowed here. The half-width h of the interval follows before a network is drawn.
    half_width = -stdtrit(n - 1, rate / 2) / np.sqrt(WIDTH * n)
    margin = {"finite width": 4 / WIDTH, "sampling": half_width}

    estimate = mean_interval(cosine, error_rate=rate)
    agreement.check("cos θ_h at four angles", prediction=predicted_cosine(theta, SLOPE), estimate=estimate, margin=margin)
    agreement.control("ReLU's angle", prediction=cos_gradient_angle(theta), estimate=estimate, margin=margin)
    agreement.control("the linear network's angle", prediction=np.cos(theta), estimate=estimate, margin=margin)
    nearest = min(np.abs(other - predicted_cosine(theta, SLOPE)).max() for other in (cos_gradient_angle(theta), np.cos(theta)))
    assert nearest > 4 / WIDTH + 4 * half_width, "power: the nearer control would be rejected with probability 1 − error_rate"

    grid = np.linspace(0.01, np.pi - 0.01, 200)
    agreement.figure(
        "comparison",
        title="Gradient angle of leaky ReLU",
        caption=f"cos θ_h of networks of width {WIDTH}, a = {SLOPE}: the measured means lie on the mixture of linear and ReLU network.",
        arrays={
            "leaky ReLU@curve/x": grid,
            "leaky ReLU@curve/prediction": predicted_cosine(grid, SLOPE),
            "leaky ReLU@points/x": theta,
            "leaky ReLU@points/measured": np.asarray(estimate.value),
            "leaky ReLU@points/lower": np.asarray(estimate.lower),
            "leaky ReLU@points/upper": np.asarray(estimate.upper),
        },
        labels={"x": "input angle θ_d (rad)", "y": "cos θ_h"},
    )
