"""Losses, errors and residuals of many networks at once: logistic for one logit, cross-entropy for several.

Arrays have the networks S first, then the samples, then the logits ``[S, n, K]``; labels are ``[S, n]``.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["label_residuals", "measure_labels", "sample_errors", "sample_losses"]


def sample_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Logistic loss (one logit) or cross-entropy ``[S, n]`` of logits ``[S, n, K]`` for labels ``[S, n]``; no overflow."""
    if logits.shape[-1] == 1:
        h = logits[..., 0]
        return torch.nn.functional.softplus(torch.where(labels == 1, -h, h))
    return torch.logsumexp(logits, dim=-1) - _at(logits, labels)


def sample_errors(logits: Tensor, labels: Tensor) -> Tensor:
    """Classification errors ``[S, n]``: 0 or 1; a tie among k largest logits that holds the label counts 1 − 1/k (½ at h = 0)."""
    if logits.shape[-1] == 1:
        signed = torch.where(labels == 1, logits[..., 0], -logits[..., 0])
        return (signed < 0).to(logits.dtype) + (signed == 0).to(logits.dtype) / 2
    best = logits.max(dim=-1, keepdim=True).values
    tied = logits == best
    return 1 - _at(tied.to(logits.dtype), labels) / tied.sum(-1)


def label_residuals(logits: Tensor, labels: Tensor) -> Tensor:
    """Residuals f − y ``[S, n, K]`` of logits ``[S, n, K]`` for labels ``[S, n]`` (one-hot for K > 1)."""
    if logits.shape[-1] == 1:
        return torch.sigmoid(logits) - labels[..., None].to(logits.dtype)
    return torch.softmax(logits, dim=-1) - torch.nn.functional.one_hot(labels, logits.shape[-1]).to(logits.dtype)


def measure_labels(logits: Tensor, truth: Tensor, observed: Tensor, n_classes: int) -> dict[str, Tensor]:
    """Means over the training samples and over their clean and noisy parts, ``[S]`` each, and the mean logit of each class.

    Args:
        logits: ``[S, n, K]``.
        truth: ``[n]``.
        observed: ``[S, n]``.
        n_classes: C.

    Returns:
        losses, errors and residuals |f − y| (1 − f_y for K > 1) by name; means in float64; nan over an empty part.
    """
    logits = logits.to(torch.float64)
    true_labels = truth.expand_as(observed)
    noisy = observed != truth
    parts = {"train": torch.ones_like(noisy), "clean": ~noisy, "noise": noisy}
    losses, errors = sample_losses(logits, observed), sample_errors(logits, observed)
    residuals = _absolute_residual(logits, observed)
    measured = {}
    for part, mask in parts.items():
        measured[f"{part}_loss"] = _mean(losses, mask)
        measured[f"{part}_error"] = _mean(errors, mask)
        measured[f"{part}_residual"] = _mean(residuals, mask)
    measured["truth_loss"] = sample_losses(logits, true_labels).mean(1)
    measured["truth_residual"] = _absolute_residual(logits, true_labels).mean(1)
    if logits.shape[-1] > 1:
        norms = torch.linalg.vector_norm(label_residuals(logits, observed), dim=-1)
        measured |= {f"{part}_residual_norm": _mean(norms, parts[part]) for part in ("clean", "noise")}
    by_class = [_mean(logits[..., 0 if logits.shape[-1] == 1 else c], (true_labels == c)) for c in range(n_classes)]
    measured["mean_output"] = torch.stack(by_class, dim=1)
    return measured


def _absolute_residual(logits: Tensor, labels: Tensor) -> Tensor:
    """|f − y| of one logit; 1 − f_y of several: the same number for two classes."""
    return -torch.expm1(-sample_losses(logits, labels))


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the masked samples of each row; nan for an empty row."""
    return torch.where(mask, values, 0).sum(1) / mask.sum(1)


def _at(values: Tensor, labels: Tensor) -> Tensor:
    """``values[s, i, labels[s, i]]``."""
    return values.gather(-1, labels[..., None])[..., 0]
