"""The theory drawn over the CNN's figures, on kernels for which its curves are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.frozen_kernel import frozen_caption, frozen_run, kernel_of

EACH, NOISY = 10, 3  # samples of each of ten classes, and those of them with a wrong label
TRUTH = np.repeat(np.arange(10), EACH)
OBSERVED = np.where(np.arange(10 * EACH) % EACH < NOISY, (TRUTH + 1) % 10, TRUTH)
NOISE_LEVEL = NOISY / EACH
EPS = np.finfo(float).eps


@pytest.mark.parametrize(
    ("kernel", "ratio"),
    [
        # One location for all: the residuals of a segment add up, (C − 1)(1 − δ)/δ of row M3 [A].
        (np.ones((100, 100)), 9 * (1 - NOISE_LEVEL) / NOISE_LEVEL),
        # Every sample by itself: their squares do.
        (np.eye(100), 9 * np.sqrt((1 - NOISE_LEVEL) / NOISE_LEVEL)),
    ],
    ids=["one location", "apart"],
)
def test_the_start_is_that_of_guessing(kernel: np.ndarray, ratio: float) -> None:
    run = frozen_run(kernel, TRUTH, OBSERVED, rate=1.0, steps=[0])
    # Sums of 100 numbers of relative rounding eps, one logarithm or root: a hundred eps.
    close = {"rtol": 0, "atol": 100 * EPS}
    np.testing.assert_allclose(run["ratios"], np.log(ratio), **close)
    for segment in ("clean", "noise", "train"):
        np.testing.assert_allclose(run[f"{segment}_error"], 0.9, **close)
        np.testing.assert_allclose(run[f"{segment}_loss"], np.log(10), **close)
        np.testing.assert_allclose(run[f"{segment}_residual_norm"], np.sqrt(0.9**2 + 9 * 0.1**2), **close)


def test_the_first_step_moves_every_logit_by_its_own_residuals() -> None:
    """Samples apart: h = −(η/n)(f − y), so that the label's logit gains 0.9 η/n and every other one loses 0.1 η/n."""
    rate = 7.0
    run = frozen_run(np.eye(100), TRUTH, OBSERVED, rate=rate, steps=[0, 1])
    label, other = np.exp(0.9 * rate / 100), np.exp(-0.1 * rate / 100)
    f = label / (label + 9 * other)
    for segment in ("clean", "noise", "train"):  # all of them alike
        np.testing.assert_allclose(run[f"{segment}_loss"][1], -np.log(f), rtol=0, atol=100 * EPS)
        np.testing.assert_allclose(run[f"{segment}_residual_norm"][1], np.sqrt((1 - f) ** 2 * (1 + 1 / 9)), rtol=0, atol=100 * EPS)
        assert run[f"{segment}_error"][1] == 0
    # Control: without the mean over n samples the step is a hundred times as long.
    assert abs(run["clean_loss"][1] - np.log(1 + 9 * np.exp(-rate))) > 1


def test_classes_at_one_location_end_at_the_shares_of_their_labels() -> None:
    """Clean samples outnumber the noisy ones there: outputs go to the shares 1 − δ and δ of the labels, and the ratio to 1 (row X1)."""
    run = frozen_run(np.kron(np.eye(10), np.ones((EACH, EACH))), TRUTH, OBSERVED, rate=5.0, steps=[0, 1, 2000])
    assert run["clean_error"].tolist() == pytest.approx([0.9, 0.0, 0.0])
    assert run["noise_error"].tolist() == pytest.approx([0.9, 1.0, 1.0])
    # Other labels' outputs f fall as 1/t: each logit moves by η/n·10·f = f/2 a step, so that 8f is about 8/1000 after 2,000 steps; that
    # is missing in the outputs, and over δ in the noisy loss and in the ratio.
    np.testing.assert_allclose(run["clean_loss"][2], -np.log(1 - NOISE_LEVEL), rtol=0, atol=8e-3)
    np.testing.assert_allclose(run["noise_loss"][2], -np.log(NOISE_LEVEL), rtol=0, atol=8e-3 / NOISE_LEVEL)
    assert (np.abs(run["ratios"][2]) < 8e-3 / NOISE_LEVEL).all()
    assert (run["ratios"][1] > 8e-3 / NOISE_LEVEL).all()
    assert (np.diff(run["ratios"], axis=0) < 0).all()


def test_test_samples_follow_the_kernel_that_leads_to_them() -> None:
    """At a class's location a test sample has its outputs: right after one step. Led to the next class's it is wrong; to none, a guess."""
    kernel, here = np.kron(np.eye(10), np.ones((EACH, EACH))), np.kron(np.eye(10), np.ones((2, EACH)))
    for cross, expected in ((here, 0.0), (np.roll(here, EACH, axis=1), 1.0), (0 * here, 0.9)):
        run = frozen_run(kernel, TRUTH, OBSERVED, rate=5.0, steps=[0, 1, 50], cross=cross, test_truth=np.repeat(np.arange(10), 2))
        assert run["test_error"].tolist() == pytest.approx([0.9, expected, expected])
    assert "test_error" not in frozen_run(kernel, TRUTH, OBSERVED, rate=5.0, steps=[0])


def test_captions_say_why_there_is_no_theory() -> None:
    assert kernel_of("mnist-cnn-noise-0.4") == kernel_of("mnist-cnn")
    assert "batch normalisation" in frozen_caption(None, "cifar10-resnet9")
    assert "PyTorch's parametrisation" in frozen_caption(None, "mnist-7-9-sgd")
    assert "not measured" in frozen_caption(None, "mnist-cnn")
