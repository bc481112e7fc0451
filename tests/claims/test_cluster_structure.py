"""Fig. 3, Sec. 3 [B]: ∇h preserves the cluster structure. The order of pairs within and between classes is kept, their contrast is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit
from scipy.stats import rankdata

from empirical.experiments import experiment
from empirical.inference import exact, mean_interval
from empirical.measurements import GradientSample
from reports.agreement import Range
from reports.evidence import Agreement
from theory.angles import gradient_angle
from theory.finite_width import ntk_moments
from theory.kernels import ntk

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
NONE = {"none": 0.0}
# Standard deviation between networks of width 1024 of the order of pairs and of a mean cosine, at most; averages over thousands of pairs.
ORDER_SCATTER, COSINE_SCATTER = 0.015, 0.014
BINS = 400


def right_order(angles: Array, within: Mask) -> float:
    """Probability that a pair within has a smaller angle than a pair between (area under the ROC curve; ties count half)."""
    ranks = rankdata(angles)
    n_within, n_between = within.sum(), (~within).sum()
    return float((ranks[~within].sum() - n_between * (n_between + 1) / 2) / (n_within * n_between))


def blurred_order(angles: Array, within: Mask, scatter: float) -> float:
    """The same if every angle carried independent normal noise: mean of Φ(difference/(√2 scatter)), on quantiles of both groups."""
    levels = (np.arange(BINS) + 0.5) / BINS
    inner, outer = (np.quantile(angles[group], levels) for group in (within, ~within))
    return float(ndtr((outer - inner[:, None]) / (np.sqrt(2) * scatter)).mean())


@pytest.mark.claim("G9")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            f"pairs-{name}",
            id=name,
            marks=[pytest.mark.regime("networks at initialisation, m = 1024", label), pytest.mark.experiments(f"pairs-{name}")],
        )
        for name, label in (
            ("digits-0-1", "digits 0/1"),
            ("digits-7-9", "digits 7/9"),
            ("mnist-0-1", "MNIST 0/1"),
            ("mnist-7-9", "MNIST 7/9"),
        )
    ],
)
def test_order_of_pairs_within_and_between_classes(agreement: Agreement, name: str) -> None:
    rate, run, spec = agreement.error_rate, agreement.measure(name), experiment(name, tier=agreement.tier)
    assert isinstance(spec, GradientSample)
    data = agreement.dataset(spec.data.name, classes=spec.data.classes, n_train=spec.data.n_train, n_test=0)
    truth, networks, width = data.train_truth, run.sizes["seed"], spec.network.width
    left, right = np.triu_indices(len(truth), k=1)
    within = truth[left] == truth[right]
    limit = ntk(data.train_inputs.astype(float))
    foreseen = limit[left, right] / np.sqrt(limit[left, left] * limit[right, right])
    kernel = run["kernel"].values.astype(float)
    length = np.sqrt(np.einsum("sii->si", kernel))
    cosines = kernel[:, left, right] / (length[:, left] * length[:, right])
    x = data.train_inputs.astype(float)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    inputs = np.arccos(np.clip((unit @ unit.T)[left, right], -1, 1))

    # Hypothesis: angles within a class are smaller than between classes. It is a property of the data.
    order = right_order(inputs, within)
    agreement.hypothesis("P(θ_d within < θ_d between)", prediction=Range(lower=0.5), estimate=exact(order), margin=NONE)
    # One hidden layer keeps the order of angles up to 142°; digits are all within 90°.
    agreement.check(
        "infinite width: P(θ_h within < θ_h between) is that of θ_d",
        prediction=order,
        estimate=exact(right_order(gradient_angle(inputs), within)),
        margin={"ties from rounding": 1 / within.sum()},
    )

    # Networks: an angle scatters by σ/√m about its limit. Common to all pairs that changes no order; independent between pairs it blurs it.
    # The truth lies between the two.
    moments = ntk_moments(np.linspace(np.quantile(inputs, 0.001), inputs.max(), 100), width=width)
    scatter = float(np.sqrt(moments.angle_variance.max()))
    blurred = blurred_order(gradient_angle(inputs), within, scatter)
    estimate = mean_interval(np.array([right_order(-c, within) for c in cosines]), error_rate=rate)
    half_width = float(-stdtrit(networks - 1, rate / 2) * ORDER_SCATTER / np.sqrt(networks))
    margin = {"networks": 2 * half_width, "quantiles": 2 / BINS}
    # Power: chance, 1/2, is rejected.
    assert blurred - sum(margin.values()) - 2 * half_width > 0.5
    agreement.check("P(θ_h within < θ_h between)", prediction=Range(blurred, order), estimate=estimate, margin=margin)
    agreement.check("'within' has smaller angles than 'between'", prediction=Range(lower=0.5), estimate=estimate, margin=NONE)
    shuffled = agreement.rng.permutation(truth)
    mixed = mean_interval(np.array([right_order(-c, shuffled[left] == shuffled[right]) for c in cosines]), error_rate=rate)
    agreement.control("P(θ_h within < θ_h between), classes shuffled", prediction=Range(blurred, order), estimate=mixed, margin=margin)

    # The mean cosine of each group, pair by pair from the closed form; its bias is of order 1/m.
    groups = {"within": within, "between": ~within}
    means = {group: float(foreseen[mask].mean()) for group, mask in groups.items()}
    bias = float(np.abs(moments.cosine_bias).max())
    reach = float(-stdtrit(networks - 1, rate / 2) * COSINE_SCATTER / np.sqrt(networks))
    terms = {"finite width": bias, "networks": 2 * reach}
    assert means["within"] - means["between"] > bias + 3 * reach  # power
    for group, mask in groups.items():
        measured = mean_interval(cosines[:, mask].mean(axis=1), error_rate=rate)
        agreement.check(f"mean cos θ_h {group} classes", prediction=means[group], estimate=measured, margin=terms)
        other = means["between" if group == "within" else "within"]
        agreement.control(f"mean cos θ_h {group} classes, groups exchanged", prediction=other, estimate=measured, margin=terms)
    agreement.note(
        f"P(within < between): inputs {order:.3f}, networks {float(estimate.value):.3f}, shuffled {float(mixed.value):.3f}; mean cos θ_h "
        f"within {means['within']:.3f}, between {means['between']:.3f} (of the inputs {np.cos(inputs[within]).mean():.3f}, "
        f"{np.cos(inputs[~within]).mean():.3f}): the order is kept, the contrast is not."
    )
    edges = np.linspace(0, np.degrees(gradient_angle(inputs)).max() * 1.05, 41)
    centres = (edges[1:] + edges[:-1]) / 2
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    arrays: dict[str, Array] = {}
    for group, mask in groups.items():
        counts = np.stack([np.histogram(row[mask], bins=edges, density=True)[0] for row in angles])
        arrays |= {
            f"{group}/x": centres,
            f"{group}/prediction": np.histogram(np.degrees(gradient_angle(inputs[mask])), bins=edges, density=True)[0],
            f"{group}/measured": counts.mean(axis=0),
        }
    agreement.figure(
        "comparison",
        title="Angles between gradients within and between classes",
        caption=f"Densities of θ_h over pairs: mean over networks, and the image of the input angles. Within a class θ_h is "
        f"{angles[:, within].mean():.1f}° on average, between classes {angles[:, ~within].mean():.1f}°; of the inputs it is "
        f"{np.degrees(inputs[within].mean()):.1f}° and {np.degrees(inputs[~within].mean()):.1f}°.",
        arrays=arrays,
        labels={"x": "θ_h in degrees", "y": "density per degree"},
    )
