"""Fig. 10, App. C.1 [A]: directions of single-logit gradients of a CNN with ten classes at initialisation, δ = 0.3, logit by logit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import rankdata

from empirical.inference import mean_interval
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.histogram_bands import histogram_bands
from tests.support.paired import label_draws, paired

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
N_CLASSES = 10
NAMES = ("clean", "noise", "other")
NONE = {"none allowed": 0.0}
# "Clearly separated" is a reading: histograms that hardly overlap, at most one pair in twenty in the wrong order. Two normal histograms of
# one width then lie 2.3 standard deviations apart. A share of one in ten is told from it by the intervals over networks.
SEPARATED = Range(lower=0.95)


@dataclass(frozen=True)
class Logit:
    """One logit c of one network: angles of all samples to g_clean^(c), and each clean sample left out of its own segment gradient.

    The closed form of row I2 on the network's own kernel needs no kernel matrix here: a noisy sample is a clean one with the opposite sign
    of its residual (row I1), so that noisy samples lie at 180° less the angle of a clean sample to the gradient of the *other* clean ones.

    Attributes:
        cosine: with g_clean^(c) ``[n]``.
        norm: of the single-logit gradients ``[n]``.
        residual: f_c − y_c ``[n]``.
        gram: of the segments of all classes at this logit ``[3C, 3C]``.
        clean, noise, other: masks ``[n]``.
    """

    c: int
    cosine: Array
    norm: Array
    residual: Array
    gram: Array
    clean: Mask
    noise: Mask
    other: Mask

    @property
    def angle(self) -> Array:
        """Degrees ``[n]``."""
        return np.degrees(np.arccos(np.clip(self.cosine, -1, 1)))

    @cached_property
    def left_out(self) -> Array:
        """Angles of the clean samples of class c to the gradient of the other ones, degrees ``[n_c]``."""
        square, norm = self.gram[self.c, self.c], self.norm[self.clean]
        inner = self.cosine[self.clean] * norm * np.sqrt(square)
        cosine = (inner - norm**2) / (norm * np.sqrt(square - 2 * inner + norm**2))
        return np.degrees(np.arccos(np.clip(cosine, -1, 1)))

    @property
    def departure(self) -> float:
        """Predicted 180° − ∠(g_clean, g_noise), row I4 with the mean diagonal and off-diagonal of the network's own kernel."""
        norm, residual = self.norm[self.clean], np.abs(self.residual[self.clean])
        diagonal = float(np.mean((norm / residual) ** 2))
        off = float((self.gram[self.c, self.c] - (norm**2).sum()) / (residual.sum() ** 2 - (residual**2).sum()))
        return float(np.degrees(np.arcsin(np.sqrt((diagonal - off) / off * (1 / self.clean.sum() + 1 / self.noise.sum())))))

    def angle_between(self, segments: Array) -> float:
        """Angle of a sum of segments ``[3C]`` to g_clean^(c), degrees."""
        row = self.gram[self.c]
        return float(np.degrees(np.arccos(row @ segments / np.sqrt(row[self.c] * (segments @ self.gram @ segments)))))


def logits_of(run: xr.Dataset, seed: int) -> list[Logit]:
    """All logits of one network."""
    truth, observed = run["truth"].values, run["observed"].values[seed]
    cosines, norms, residuals, grams = (
        np.asarray(run[name].values[seed], dtype=float) for name in ("sample_cosines", "sample_norm", "residual", "gram")
    )
    clean = truth == observed
    return [
        Logit(c, cosines[:, c], norms[:, c], residuals[:, c], grams[c], (truth == c) & clean, (truth == c) & ~clean, (truth != c) & clean)
        for c in range(N_CLASSES)
    ]


def right_order(smaller: Array, larger: Array) -> float:
    """Share of pairs in which the first is the smaller angle (area under the ROC curve)."""
    ranks = rankdata(np.concatenate([smaller, larger]))[len(smaller) :]
    return float((ranks.sum() - len(larger) * (len(larger) + 1) / 2) / (len(smaller) * len(larger)))


@pytest.mark.claim("F10")
@pytest.mark.parametrize(
    "source",
    [
        pytest.param(
            source,
            id=source,
            marks=[pytest.mark.regime("CNN at initialisation", f"{name}, 10 classes"), pytest.mark.experiments(f"figure-10-{source}")],
        )
        for source, name in (("digits", "digits"), ("mnist", "MNIST"))
    ],
)
def test_directions_at_every_logit(agreement: Agreement, source: str) -> None:
    run, rate = agreement.measure(f"figure-10-{source}"), agreement.error_rate
    networks = [logits_of(run, seed) for seed in range(run.sizes["seed"])]
    n = len(networks)

    def mean(function: object) -> Array:
        """Mean over the logits of each network ``[R]``."""
        return np.array([np.mean([function(one) for one in logits]) for logits in networks])  # type: ignore[operator]

    # The printed statement, network by network: extremes over all samples and logits, orders of pairs.
    bluntest = mean_interval(np.array([max(one.angle[one.clean].max() for one in logits) for logits in networks]), error_rate=rate)
    agreement.check(
        "largest angle of a clean sample, degrees", prediction=Range(upper=90), estimate=bluntest, margin=NONE, expected="AGREES"
    )
    sharpest = mean_interval(np.array([min(one.angle[one.noise].min() for one in logits) for logits in networks]), error_rate=rate)
    agreement.check(
        "smallest angle of a noisy sample, degrees", prediction=Range(lower=90), estimate=sharpest, margin=NONE, expected="AGREES"
    )
    above_clean = mean_interval(mean(lambda one: right_order(one.angle[one.clean], one.angle[one.other])), error_rate=rate)
    agreement.check("P(θ_clean < θ_other)", prediction=SEPARATED, estimate=above_clean, margin=NONE, expected="AGREES")
    below_noise = mean_interval(mean(lambda one: right_order(one.angle[one.other], one.angle[one.noise])), error_rate=rate)
    agreement.check(
        "P(θ_other < θ_noise): 'other' clearly separated from the noise",
        prediction=SEPARATED,
        estimate=below_noise,
        margin=NONE,
        expected="DISAGREES",
    )

    # What holds: "other" lies between in the mean; noise is the mirror image of clean; its gradient is as opposite as row I4 says.
    agreement.correct("P(θ_other < θ_noise): 'other' between in the mean", prediction=Range(lower=0.5), estimate=below_noise, margin=NONE)
    mirror = 180 - mean(lambda one: float(one.left_out.mean()))
    noisy = mean(lambda one: float(one.angle[one.noise].mean()))
    # Means of n_c clean and n_n noisy samples of one class: the spread of the clean ones is that of both; ten logits in each network.
    spread = mean(lambda one: float(one.left_out.std(ddof=1) * np.sqrt(1 / one.clean.sum() + 1 / one.noise.sum())))
    prediction, estimate = paired(noisy, mirror, error_rate=rate)
    sampling = label_draws(float(spread.mean()), replicates=n, error_rate=rate)
    agreement.correct(
        "mean angle of the noisy samples: 180° less that of clean ones, each left out of its own segment",
        prediction=prediction,
        estimate=estimate,
        margin={"label draws": sampling},
    )
    assert 2 * sampling < 180 - 2 * (180 - prediction)  # power: noise taken for clean
    agreement.control(
        "noisy samples at the angles of clean ones", prediction=180 - prediction, estimate=estimate, margin={"label draws": sampling}
    )
    predicted = mean(lambda one: one.departure)
    segment = mean(lambda one: 180 - one.angle_between(np.eye(3 * N_CLASSES)[N_CLASSES + one.c]))
    middle, estimate = paired(segment, predicted, error_rate=rate)
    # Row I4 is E sin²: with q degrees of freedom in the noise its square root is low by 1/(4q) of itself, and scatters by 1/√(2q) from
    # draw to draw; of a kernel that one direction dominates q may be as small as 2. Ten logits share the network but not their samples.
    margin = {
        "expectation of sin²": middle / 8,
        "label draws": label_draws(float(middle / 2 / np.sqrt(N_CLASSES)), replicates=n, error_rate=rate),
    }
    agreement.correct(
        "180° − ∠(g_clean, g_noise), degrees, row I4 on the network's own kernel", prediction=middle, estimate=estimate, margin=margin
    )
    shuffled = np.array([shuffled_order(agreement.rng, logits) for logits in networks])
    agreement.control(
        "shuffled masks: P(θ_clean < θ_other)", prediction=SEPARATED, estimate=mean_interval(shuffled, error_rate=rate), margin=NONE
    )
    others = np.tile(np.r_[np.ones(N_CLASSES), np.zeros(2 * N_CLASSES)], (N_CLASSES, 1))
    np.fill_diagonal(others, 0.0)
    other = mean(lambda one: one.angle_between(others[one.c]))
    angles = {name: mean(lambda one, name=name: float(one.angle[getattr(one, name)].mean())).mean() for name in NAMES}
    agreement.note(
        f"Mean angles over {n} networks and ten logits: clean {angles['clean']:.1f}°, other {angles['other']:.1f}°, noise "
        f"{angles['noise']:.1f}°. Segment gradients: other {other.mean():.1f}° (sine {np.sin(np.radians(other)).mean():.2f}), noise "
        f"{180 - segment.mean():.1f}° (row I4: {180 - predicted.mean():.1f}°)."
    )

    shown, arrays = networks[0], {}
    for one in shown:
        panel = f"logit {one.c}"
        every = {f"{panel}|{name}": [logits[one.c].angle[getattr(logits[one.c], name)] for logits in networks] for name in NAMES}
        arrays |= histogram_bands(every, predicted=[180 - one.left_out])
        for name in NAMES:
            arrays[f"{panel}|{name}/angle"] = one.angle[getattr(one, name)]
        arrays[f"{panel}|noise/predicted"] = 180 - one.left_out
        arrays[f"{panel}|noise/segment"] = np.array([one.angle_between(np.eye(3 * N_CLASSES)[N_CLASSES + one.c])])
        arrays[f"{panel}|noise/segment_predicted"] = np.array([180 - one.departure])
        arrays[f"{panel}|other/segment"] = np.array([one.angle_between(others[one.c])])
    agreement.figure(
        "figure_10",
        id=f"figure-10-{source}",
        title=f"Fig. 10: directions of single-logit gradients of a CNN, {'MNIST' if source == 'mnist' else source}, δ = 0.3",
        caption=f"One network, and in each bin the middle 80 % of {n}. Outline: the mirror image of its clean samples. "
        f"Dashed: gradients of the noisy segment and of the other classes; triangle: row I4 on the network's own kernel. On average "
        f"clean {angles['clean']:.0f}°, other {angles['other']:.0f}°, noise {angles['noise']:.0f}°: 'other' "
        f"is not clearly separated from noise.",
        arrays=arrays,
    )


def shuffled_order(rng: np.random.Generator, logits: list[Logit]) -> float:
    """Mean over the logits of P(θ_clean < θ_other) with masks of the same sizes that have nothing to do with the classes."""
    found = []
    for one in logits:
        order = rng.permutation(len(one.angle))
        found.append(right_order(one.angle[one.clean[order]], one.angle[one.other[order]]))
    return float(np.mean(found))
