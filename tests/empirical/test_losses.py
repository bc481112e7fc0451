"""Losses, errors and residuals of many networks at once are PyTorch's, sample by sample; ties and empty parts are said, not hidden."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from empirical.losses import label_residuals, measure_labels, sample_errors, sample_losses

RNG = np.random.default_rng(4)
BINARY = torch.tensor(RNG.normal(0, 3, (2, 9, 1)))
SEVERAL = torch.tensor(RNG.normal(0, 3, (2, 9, 4)))
TWO, FOUR = torch.tensor(RNG.integers(0, 2, (2, 9))), torch.tensor(RNG.integers(0, 4, (2, 9)))
EXACT = {"rtol": 1e-13, "atol": 1e-13}  # a handful of operations in float64


def test_losses_and_residuals_are_those_of_pytorch() -> None:
    """The residual is the derivative of the loss, taken by autograd."""
    for logits, labels in ((BINARY, TWO), (SEVERAL, FOUR)):
        leaf = logits.clone().requires_grad_()
        if logits.shape[-1] == 1:
            expected = nn.functional.binary_cross_entropy_with_logits(leaf[..., 0], labels.double(), reduction="none")
        else:
            expected = nn.functional.cross_entropy(leaf.flatten(0, 1), labels.flatten(), reduction="none").view(2, 9)
        np.testing.assert_allclose(sample_losses(logits, labels), expected.detach(), **EXACT)
        (derivative,) = torch.autograd.grad(expected.sum(), leaf)
        np.testing.assert_allclose(label_residuals(logits, labels), derivative, **EXACT)


def test_no_overflow() -> None:
    assert sample_losses(torch.tensor([[[1e4]]]), torch.tensor([[0]])).item() == 1e4
    assert sample_losses(torch.tensor([[[1e4, 0.0, 0.0]]]), torch.tensor([[1]])).item() == 1e4


def test_ties_count_what_a_guess_among_them_would() -> None:
    assert sample_errors(torch.zeros(1, 1, 1), torch.tensor([[1]])).item() == 0.5
    assert sample_errors(torch.tensor([[[2.0, 2.0, 1.0, 2.0]]]).double(), torch.tensor([[1]])).item() == 1 - 1 / 3
    assert sample_errors(torch.tensor([[[2.0, 2.0, 1.0, 2.0]]]), torch.tensor([[2]])).item() == 1


def test_means_are_over_the_parts() -> None:
    """Written out sample by sample; a part without samples is nan."""
    truth, observed = torch.arange(9) % 4, FOUR.clone()
    observed[1] = truth  # the second network has no noise
    measured = measure_labels(SEVERAL, truth, observed, 4)
    noisy = (observed[0] != truth).numpy()
    losses = sample_losses(SEVERAL, observed)[0].numpy()
    f = torch.softmax(SEVERAL[0], dim=1).numpy()
    y = np.eye(4)[observed[0].numpy()]
    np.testing.assert_allclose(measured["clean_loss"][0], losses[~noisy].mean(), **EXACT)
    np.testing.assert_allclose(measured["noise_loss"][0], losses[noisy].mean(), **EXACT)
    np.testing.assert_allclose(measured["train_residual"][0], (1 - (f * y).sum(1)).mean(), **EXACT)
    np.testing.assert_allclose(measured["noise_residual_norm"][0], np.linalg.norm(f - y, axis=1)[noisy].mean(), **EXACT)
    np.testing.assert_allclose(measured["mean_output"][0, 2], SEVERAL[0, truth == 2, 2].mean(), **EXACT)
    assert torch.isnan(measured["noise_loss"][1])
    assert torch.isnan(measured["noise_residual_norm"][1])
