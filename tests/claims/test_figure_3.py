"""Figure 3 [A], [B]: two clusters of inputs become two clusters of gradients; angles within and between, depth 2, width 512."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata

from empirical.inference import simultaneous_band
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.histogram_bands import histogram_bands
from theory.angles import gradient_angle
from theory.finite_width import ntk_moments

Array = NDArray[np.float64]
WIDTH, DEPTH = 512, 2
DECILES = np.arange(1, 10) / 10

# The scatter of one network blurs a histogram that is several degrees wide at every decile by less than half a degree. Student's quantile
# for 18 deciles at once and 64 networks or more is below 6.5.
BLUR, QUANTILE = 0.5, 6.5


@pytest.mark.claim("F3")
@pytest.mark.regime("network at initialisation, L = 2, width 512", "two clusters")
@pytest.mark.experiments("figure-3")
def test_two_clusters_of_inputs_become_two_clusters_of_gradients(agreement: Agreement) -> None:
    sample, data = agreement.measure("figure-3"), agreement.dataset("clusters", n_train=200, n_test=0)
    assert sample.attrs["data_sha256"] == data.sha256
    x, truth, n = data.train_inputs.astype(float), data.train_truth, sample.sizes["seed"]
    left, right = np.triu_indices(len(x), k=1)
    within = truth[left] == truth[right]

    direction = np.arctan2(x[:, 1], x[:, 0])
    turn = np.abs(direction[left] - direction[right])
    predicted = np.degrees(gradient_angle(np.minimum(turn, 2 * np.pi - turn), depth=DEPTH))
    kernel = sample.kernel.values.astype(float)
    length = np.sqrt(np.einsum("sii->si", kernel))
    measured = np.degrees(np.arccos(np.clip(kernel[:, left, right] / (length[:, left] * length[:, right]), -1, 1)))

    # Variance and bias of θ_h over networks: at most L times those of one hidden layer, at the worst angle (delta method, order 1/m).
    one_layer = ntk_moments(np.linspace(np.quantile(turn, 0.01), np.pi, 500), width=WIDTH)
    scatter = np.degrees(np.sqrt(DEPTH * one_layer.angle_variance.max()))
    bias = np.degrees(DEPTH * np.abs(one_layer.angle_bias).max())
    rate, sampling = agreement.error_rate, 2 * QUANTILE * scatter / np.sqrt(n)
    margin = {"finite width": bias, "blur by one network's scatter": BLUR, "sampling": sampling}
    groups = {"within": within, "between": ~within}
    deciles = np.concatenate([np.quantile(measured[:, group], DECILES, axis=1).T for group in groups.values()], axis=1)
    images = {name: np.quantile(predicted[group], DECILES) for name, group in groups.items()}
    estimate = simultaneous_band(deciles, error_rate=rate, unit="°")
    # Power: 'within' taken for 'between' moves every decile by more than what is sure to be rejected.
    assert np.all(np.abs(images["within"] - images["between"]) > bias + BLUR + 2 * sampling)
    agreement.check("deciles of θ_h within and between", prediction=np.concatenate(list(images.values())), estimate=estimate, margin=margin)
    agreement.control(
        "deciles with 'within' and 'between' exchanged",
        prediction=np.concatenate(list(images.values())[::-1]),
        estimate=estimate,
        margin=margin,
    )

    # Share of pairs of pairs in the right order. A network may exchange those whose predicted angles are less than 3·√2 scatters apart.
    ranks, predicted_ranks = np.argsort(np.argsort(measured, axis=1), axis=1) + 1.0, rankdata(predicted)
    order = np.array([right_order(one, within) for one in ranks])
    close = contested(predicted, within, 3 * np.sqrt(2) * scatter)
    order_margin = {"pairs within one network's scatter": close}
    estimate = simultaneous_band(order[:, None], error_rate=rate)
    agreement.check(
        "P(θ_h within < θ_h between)", prediction=np.full(1, right_order(predicted_ranks, within)), estimate=estimate, margin=order_margin
    )
    agreement.check(
        "'within' has smaller angles than 'between'", prediction=Range(lower=0.5 + close), estimate=estimate, margin={"none": 0.0}
    )
    shuffled = agreement.rng.permutation(truth)
    mixed = np.array([right_order(one, shuffled[left] == shuffled[right]) for one in ranks])
    agreement.control(
        "P(θ_h within < θ_h between) with shuffled clusters",
        prediction=np.full(1, right_order(predicted_ranks, within)),
        estimate=simultaneous_band(mixed[:, None], error_rate=rate),
        margin=order_margin,
    )

    bands = histogram_bands({name: list(measured[:, group]) for name, group in groups.items()}, predicted=[predicted])
    shown = agreement.rng.permutation(len(left))[:4000]
    arrays = {f"cluster {c + 1}/{axis}": x[truth == c, i] for c in (0, 1) for i, axis in enumerate("xy")} | bands
    for name, group in groups.items():
        chosen = shown[group[shown]]
        arrays |= {f"{name}/angle": measured[0, chosen], f"{name}/predicted": predicted[chosen]}
    agreement.figure(
        "figure_3",
        title="Fig. 3: angles between gradients within and between two clusters",
        caption="Gradients within a cluster lie closer than those of different clusters. One ReLU network with two hidden layers of 512 at "
        f"initialisation, and in each bin the middle 80 % of {n}; outlines: the image of the same pairs' input angles.",
        arrays=arrays,
        id="figure-3",
    )


def right_order(ranks: Array, within: NDArray[np.bool_]) -> float:
    """Probability that a pair within has a smaller angle than a pair between, from the ranks of all angles (area under the ROC curve)."""
    n_within, n_between = within.sum(), (~within).sum()
    return float((ranks[~within].sum() - n_between * (n_between + 1) / 2) / (n_within * n_between))


def contested(angles: Array, within: NDArray[np.bool_], reach: float) -> float:
    """Share of (within, between) comparisons whose angles differ by less than ``reach``."""
    ordered = np.sort(angles[~within])
    near = np.searchsorted(ordered, angles[within] + reach) - np.searchsorted(ordered, angles[within] - reach)
    return float(near.mean() / len(ordered))
