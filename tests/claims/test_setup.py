"""Sec. 2 [A], [B]: label noise, outputs in (0, 1), the two-layer networks of Eq. (6), (7) [A], and data that can be fitted exactly."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from empirical.inference import exact
from empirical.networks import FullyConnected
from empirical.noise import corrupt_labels, corrupt_labels_batch
from empirical.tangent_kernel import empirical_ntk
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.estimates import mean_design, means
from tests.support.sampling import two_layer_gradients
from theory.kernels import ntk
from theory.segments import Segments

Array = NDArray[np.float64]
EPS = np.finfo(np.float64).eps
NONE = {"none allowed": 0.0}


@pytest.mark.claim("S2")
@pytest.mark.regime("label noise", "random class sizes")
def test_noise_has_the_stated_count_and_uniform_wrong_labels(agreement: Agreement) -> None:
    rng, rate = agreement.rng, agreement.error_rate
    class_level, level, size, total, counted, theirs = [], [], [], [], [], []
    for _ in range(100):
        n_classes, noise_level = int(rng.integers(2, 11)), round(float(rng.uniform(0.02, 0.49)), 2)
        sizes = rng.integers(10, 200, size=n_classes)
        truth = rng.permutation(np.repeat(np.arange(n_classes), sizes))
        observed = corrupt_labels(truth, noise_level, n_classes=n_classes, seed=int(rng.integers(2**31))).observed
        pairs = Counter(zip(truth.tolist(), observed.tolist(), strict=True))
        wrong = [sum(count for (true, label), count in pairs.items() if true == c != label) for c in range(n_classes)]
        class_level += [noise / members for noise, members in zip(wrong, sizes, strict=True)]
        level += [noise_level] * n_classes
        size += sizes.tolist()
        total.append((sum(wrong) / len(truth), noise_level, n_classes / (2 * len(truth))))
        segments = Segments.from_labels(truth, observed, n_classes)
        theirs += [segments.noise_level, *segments.class_noise_level]
        counted += [total[-1][0], *class_level[-n_classes:]]
    reached, wanted, share = np.array(total).T
    # A count of samples is a whole number: δ n_c is rounded to the nearest, in every class.
    count = {"whole samples": 1 / (2 * np.array(size)), "rounding": 4 * EPS}
    agreement.hypothesis("the same δ_c in every class", prediction=level, estimate=exact(class_level), margin=count)
    agreement.hypothesis("δ < 1/2", prediction=Range(upper=0.5), estimate=exact(wanted), margin=NONE)
    agreement.check(
        "|D_noise|/|D| against δ", prediction=wanted, estimate=exact(reached), margin={"whole samples": share, "rounding": 4 * EPS}
    )
    agreement.check("δ and δ_c of the theory's segments", prediction=theirs, estimate=exact(counted), margin={"rounding": 4 * EPS})

    # Wrong labels: 16 of 40 samples of each of 5 classes. The share of one wrong label among a class's 16 is a mean of independent draws.
    n_classes, members, noise_level, seeds = 5, 40, 0.4, 1000
    truth = np.repeat(np.arange(n_classes), members)
    observed = corrupt_labels_batch(truth, noise_level, n_classes=n_classes, seeds=rng.choice(2**31, size=seeds, replace=False).tolist())
    uniform = 1 / (n_classes - 1)
    sd = np.full(n_classes * (n_classes - 1), np.sqrt(uniform * (1 - uniform) / (noise_level * members)))
    design = mean_design(sd, n_seeds=seeds, error_rate=rate)
    assert np.all(design.detectable() < uniform / 2)  # power: a wrong label half as frequent is seen
    next_class = np.where(observed != truth, (truth + 1) % n_classes, truth)
    for judge_it, name, labels in (
        (agreement.check, "P(y = k | y ≠ ŷ) for each class and wrong label", observed),
        (agreement.control, "all noise goes to the next class", next_class),
    ):
        estimate = means(wrong_label_shares(truth, labels, n_classes), sigma=sd, error_rate=rate)
        judge_it(name, prediction=np.full(len(sd), uniform), estimate=estimate, margin={"sampling": design.margin})

    # Each noisy sample draws its label from all C classes, the true one among them.
    resampled = np.where(observed != truth, rng.integers(0, n_classes, size=observed.shape), observed)
    kept = np.sqrt(noise_level * (1 - 1 / n_classes) / n_classes / len(truth))  # a share 1/C of the δn falls back to the truth
    design = mean_design(kept, n_seeds=seeds, error_rate=rate)
    assert design.detectable(count=1 / (2 * members)) < noise_level / n_classes
    agreement.control(
        "symmetric resampling over all C classes: |D_noise|/|D| against δ",
        prediction=noise_level,
        estimate=means((resampled != truth).mean(axis=1), sigma=kept, error_rate=rate),
        margin={"whole samples": 1 / (2 * members), "sampling": design.margin},
    )


def wrong_label_shares(truth: NDArray[np.int64], observed: NDArray[np.int64], n_classes: int) -> Array:
    """Share of each wrong label among the noisy samples of each class ``[draws, C(C − 1)]``."""
    columns = []
    for c in range(n_classes):
        labels = observed[:, truth == c]
        columns += [(labels == k).sum(axis=1) / (labels != c).sum(axis=1) for k in range(n_classes) if k != c]
    return np.stack(columns, axis=1)


@pytest.mark.claim("S3")
@pytest.mark.regime("random networks", "Gaussian inputs")
def test_outputs_lie_in_the_open_unit_interval(agreement: Agreement) -> None:
    """1 − f is evaluated as σ(−h) or as the sum of the other softmax outputs, so that f < 1 is judged without the rounding of f."""
    rng, networks = agreement.rng, 150
    outside, excess, raw = 0, [], 0
    for _ in range(networks):
        n_outputs = int(rng.integers(1, 11))
        network = FullyConnected(
            6,
            int(rng.choice([4, 64])),
            int(rng.integers(1, 5)),
            n_outputs=n_outputs,
            convention=str(rng.choice(["eq2", "eq7"])),
            seed=int(rng.integers(2**62)),
            dtype=torch.float64,
        )
        h = network(torch.tensor(rng.normal(size=(20, 6)) * 10 ** rng.uniform(-2, 4, size=(20, 1)))).detach()
        h = h * min(1.0, 350 / max(float(h.abs().max()), 1.0))  # beyond, e^−|h| is no longer a number of double precision
        if n_outputs == 1:
            f, complement = torch.sigmoid(h), torch.sigmoid(-h)
        else:
            f = torch.softmax(h, dim=1)
            complement = torch.stack([f[:, [k for k in range(n_outputs) if k != c]].sum(dim=1) for c in range(n_outputs)], dim=1)
            excess.append(float((f.sum(dim=1) - 1).abs().max()))
        outside += int(((f <= 0) | (complement <= 0)).sum())
        raw += int(((h <= 0) | (h >= 1)).sum())
    agreement.check("outputs f with f ≤ 0 or 1 − f ≤ 0", prediction=0, estimate=exact(outside, n_seeds=networks), margin=NONE)
    # C ≤ 10 quotients, each rounded twice, and their sum.
    agreement.check("|Σ_c f_c − 1|", prediction=0, estimate=exact(excess, n_seeds=networks), margin={"rounding": 3 * 10 * EPS})
    agreement.control("the logit in place of the output", prediction=0, estimate=exact(raw, n_seeds=networks), margin=NONE)

    # Where a type stops to tell f from 1: 1 + e^−h rounds to 1 once e^−h is below half the spacing of numbers above 1.
    for name, dtype, digits in (("float64", torch.float64, 53), ("float32", torch.float32, 24)):
        h = torch.linspace(0, 60, 60_001, dtype=dtype)
        first = float(h[torch.sigmoid(h) == 1][0])
        agreement.check(
            f"logit from which f rounds to 1 in {name}",
            prediction=digits * np.log(2),
            estimate=exact(first),
            margin={"one binary digit in 1 + e^−h": np.log(2)},
        )


@pytest.mark.claim("S5")
@pytest.mark.regime("random networks", "Gaussian inputs")
def test_first_layer_is_the_matrix_and_second_layer_the_vector(agreement: Agreement) -> None:
    rng, networks, n_inputs = agreement.rng, 60, 5
    error, larger, excess, shapes, expected = [], [], [], [], []
    for _ in range(networks):
        m, seed, x = int(rng.choice([3, 64])), int(rng.integers(2**62)), rng.normal(size=(4, n_inputs))
        for convention, activation in (("eq6", "linear"), ("eq7", "relu")):
            network = FullyConnected(n_inputs, m, 1, convention=convention, activation=activation, seed=seed, dtype=torch.float64)
            first, second = (layer.weight.detach().numpy() for layer in network.layers)
            shapes += [*first.shape, second.size]
            expected += [m, n_inputs, m]
            hidden = np.array([[sum(a * b for a, b in zip(row, point, strict=True)) for row in first] for point in x])
            terms = (hidden if activation == "linear" else np.maximum(hidden, 0)) * second[0]
            written_out = np.array([sum(row) for row in terms]) / np.sqrt(m)
            scale = np.linalg.norm(terms, axis=1) / np.sqrt(m) + 1e-300
            error.append(np.abs(network(torch.tensor(x)).detach().numpy() - written_out) / scale)
        doubled = FullyConnected(n_inputs, m, 1, convention="eq2", seed=seed, dtype=torch.float64)
        larger.append(np.abs(doubled(torch.tensor(x)).detach().numpy() - written_out) / scale)
        kernels = [np.asarray(empirical_ntk(one, x)) for one in (doubled, network)]
        length = np.sqrt(np.diag(kernels[1])) + 1e-300
        excess.append(np.abs(kernels[0] - 2 * kernels[1]) / length[:, None] / length)
    # A sum of m products of sums of d products: √m terms' norm, each rounded (m + d) times at most.
    rounding = {"rounding": 64**1.5 * EPS}
    agreement.check("shapes of first and second parameter", prediction=expected, estimate=exact(shapes, n_seeds=networks), margin=NONE)
    agreement.check(
        "h1 and h2 against Σ_k v_k σ(Σ_j A_kj x_j)/√m written out, relative",
        prediction=0,
        estimate=exact(error, n_seeds=networks),
        margin=rounding,
    )
    agreement.check(
        "kernel of Eq. (2) [B] less twice that of Eq. (7) [A], over √(K_xx K_zz)",
        prediction=0,
        estimate=exact(excess, n_seeds=networks),
        margin=rounding,
    )
    agreement.control("Eq. (2) [B] taken for Eq. (7) [A]", prediction=0, estimate=exact(larger, n_seeds=networks), margin=rounding)

    # Mean kernels of networks with explicit gradients against the theory's conventions; K(x, x) of unit inputs has variance 4/m (χ²_2m/m)
    # for Eq. (6) and 3/m for Eq. (7).
    draws, m, unit = 2000, 64, np.array([[1.0, 0.0]])
    for convention, activation, variance in (("eq6", "linear", 4 / m), ("eq7", "relu", 3 / m)):
        diagonal = agreement.drawn(f"K(x, x), {convention}", partial(diagonals, unit, width=m, draws=draws, activation=activation))
        design = mean_design(np.sqrt(variance), n_seeds=draws, error_rate=agreement.error_rate)
        assert design.detectable() < 0.5  # power: a factor 2 in a kernel of size 1 or 2
        agreement.check(
            f"E K(x, x) in the theory's convention {convention}",
            prediction=float(ntk(unit, activation=activation, convention=convention)[0, 0]),
            estimate=means(diagonal["K"], sigma=np.sqrt(variance), error_rate=agreement.error_rate),
            margin={"sampling": design.margin},
        )


def diagonals(x: Array, rng: np.random.Generator, **network: Any) -> dict[str, Array]:
    """K(x, x) of random networks from explicit gradients ``[draws]``; options of `two_layer_gradients`."""
    return {"K": (two_layer_gradients(rng, x, **network)[1][:, 0] ** 2).sum(axis=1)}


@pytest.mark.claim("S7")
@pytest.mark.parametrize(
    ("name", "classes", "n_train"),
    [
        pytest.param("clusters", (0, 1), 200, id="clusters", marks=pytest.mark.regime("fixed kernel", "clusters")),
        pytest.param("digits", (7, 9), None, id="digits-7-9", marks=pytest.mark.regime("fixed kernel", "digits 7/9")),
        pytest.param("mnist", (7, 9), 400, id="mnist-7-9", marks=pytest.mark.regime("fixed kernel", "MNIST 7/9")),
    ],
)
def test_any_labels_can_be_fitted(agreement: Agreement, name: str, classes: tuple[int, int], n_train: int | None) -> None:
    x = agreement.dataset(name, classes=classes, n_train=n_train).train_inputs.astype(float)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    labels = agreement.rng.choice([-1.0, 1.0], size=len(x))
    apart = np.sqrt(np.maximum(2 - 2 * np.abs(np.where(np.eye(len(x)) == 1, 0.0, x @ x.T)), 0)).min()
    # Inputs are stored in float32: closer ones could be equal. The product x·z loses √eps.
    distinct = Range(lower=2 * np.sqrt(EPS))
    agreement.hypothesis("distance of the nearest pair ±x, z", prediction=distinct, estimate=exact(apart), margin=NONE)
    for depth in (1, 2):
        kernel = ntk(x, depth=depth)
        relative, error, rounding = spectrum_and_fit(kernel, labels)
        agreement.check(
            f"λ_min/λ_max, L = {depth}, above what rounding hides", prediction=solvable(len(x)), estimate=exact(relative), margin=NONE
        )
        agreement.check(f"random labels after the fit, L = {depth}", prediction=0, estimate=exact(error), margin={"rounding": rounding})
        agreement.note(f"λ_min over the mean diagonal, L = {depth}: {relative * np.linalg.norm(kernel, 2) / (depth + 1):.2g}.")

    twice, opposite = np.concatenate([x, x[:1]]), np.concatenate([labels, -labels[:1]])
    relative, error, _ = spectrum_and_fit(ntk(twice), opposite)
    agreement.control("a repeated input: λ_min/λ_max", prediction=solvable(len(twice)), estimate=exact(relative), margin=NONE)
    agreement.control("a repeated input with both labels: fit", prediction=0, estimate=exact(error), margin={"rounding": rounding})
    # ∇h(x) − ∇h(−x) is linear in x for L = 1: more than d opposite pairs are dependent; for L = 2 they are not.
    pairs = agreement.rng.normal(size=(8, 3))
    pairs = np.concatenate([pairs, -pairs])
    shallow, deep = (spectrum_and_fit(ntk(pairs, depth=depth), labels[:16])[0] for depth in (1, 2))
    agreement.control("8 opposite pairs in 3 dimensions, L = 1", prediction=solvable(16), estimate=exact(shallow), margin=NONE)
    agreement.check("8 opposite pairs in 3 dimensions, L = 2", prediction=solvable(16), estimate=exact(deep), margin=NONE)


@pytest.mark.claim("S7")
@pytest.mark.regime("network at initialisation", "digits 7/9")
def test_wide_networks_can_fit_any_labels(agreement: Agreement) -> None:
    x = agreement.dataset("digits", classes=(7, 9)).train_inputs.astype(float)
    relative = {
        width: [smallest_eigenvalue(x, width, seed) for seed in agreement.rng.integers(2**62, size=4).tolist()] for width in (256, 2)
    }
    agreement.check(
        "λ_min/λ_max of networks of width 256, 16 640 parameters",
        prediction=solvable(len(x)),
        estimate=exact(relative[256], n_seeds=4),
        margin=NONE,
    )
    agreement.control(
        "width 2: fewer parameters than samples", prediction=solvable(len(x)), estimate=exact(relative[2], n_seeds=4), margin=NONE
    )


def smallest_eigenvalue(x: Array, width: int, seed: int) -> float:
    """λ_min/λ_max of a random network's tangent kernel; 0 where both are, for a network that is dead at every input."""
    values = np.linalg.eigvalsh(empirical_ntk(FullyConnected(x.shape[1], width, 1, seed=seed, dtype=torch.float64), x))
    return float(values[0] / values[-1]) if values[-1] > 0 else 0.0


def solvable(n: int) -> Range:
    """λ_min/λ_max of a kernel that float64 tells from a singular one.

    Entries carry a relative error of 1e-13, which moves eigenvalues by as much of λ_max; the eigensolver adds n·eps.
    """
    return Range(lower=1e-13 + n * EPS)


def spectrum_and_fit(kernel: Array, labels: Array) -> tuple[float, float, float]:
    """λ_min/λ_max; the largest error of the best fit to labels ±1; and its rounding: residual n^1.5·eps·‖K‖‖coefficients‖."""
    values, vectors = np.linalg.eigh(kernel)
    kept = values > solvable(len(kernel)).lower * values[-1]
    coefficients = vectors[:, kept] @ ((vectors[:, kept].T @ labels) / values[kept])
    rounding = len(kernel) ** 1.5 * EPS * values[-1] * float(np.linalg.norm(coefficients))
    return float(values[0] / values[-1]), float(np.abs(kernel @ coefficients - labels).max()), rounding
