"""When to stop on noisy labels, without a single true label: the mean residual to the observed labels falls to what their noise explains.

The level is `noise_residual`: 2δ(1 − δ) for two classes. A smaller residual means that single wrong labels are being fitted. This is the
rule of row R2; where it fails is measured, see docs/stopping_rule.md.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from empirical._validation import as_real_array, check_integer, check_labels, check_real
from empirical.estimates import Estimate
from empirical.noise_estimate import gini, noise_level_from_disagreement, noise_residual

__all__ = ["EarlyStoppingMonitor"]

_STATE_VERSION = 1
_LEARNT = 3.0  # standard errors by which the disagreement must be below chance before a target is derived from it


class EarlyStoppingMonitor:
    """Tell when the mean residual to the observed labels has fallen to what their noise explains.

    The rule: each update carries a mean residual (of an epoch, a step, a mini-batch). The *smoothed value* is the mean, weighted by numbers
    of samples, over the most recent updates that together hold at least ``window`` samples; nothing is decided before there are as many.
    The level is *reached* when ``confirm`` smoothed values in a row are at or below the target. It stays reached: later values above the
    target are counted in ``crossings_back``, they do not undo it.

    The mean over N independent samples is off by more than √(ln(1/p)/(2N)) with probability at most p (Hoeffding): with mini-batches choose
    ``window`` such that this is small beside what matters, for example 10 000 samples for 0.02 at p = 0.0003.

    With ``noise_level=None`` the target follows from the disagreement of the predictions with the observed labels, best on held-out samples
    whose labels have the same noise: its smallest smoothed value so far stands for δ. No target exists until the disagreement is below that
    of chance by three standard errors.

    Where the rule fails (measured, docs/stopping_rule.md): a noise level that is too low, and classes that overlap (their own error adds to
    the noise), make it stop late or never; rare classes and networks that fit single labels at once are no reason to trust it either. At
    δ = 0 the target is 0 and is never reached.

    Args:
        noise_level: δ of symmetric noise, below (C − 1)/C: from there on the labels say nothing, and it is refused with a ValueError. None
            derives it from the disagreement.
        n_classes: C ≥ 2.
        target: residual to stop at, in place of ``noise_level``; for other noise see `noise_residual`.
        window: samples over which to average; updates without ``n_samples`` count as one sample each.
        confirm: smoothed values in a row at or below the target.

    Raises:
        ValueError: if an argument is out of range, or a noise level and a target are given.

    Source: row R2; theory/notes/early_stopping.md §3.

    Example:
        >>> monitor = EarlyStoppingMonitor(noise_level=0.4)  # target 0.48
        >>> [monitor.update(residual) for residual in (0.5, 0.49, 0.47, 0.46)]
        [False, False, True, True]
        >>> monitor.stopped_at, round(monitor.crossing, 2)  # the third update; between the second and the third
        (3, 2.5)
    """

    def __init__(
        self,
        noise_level: float | None = None,
        *,
        n_classes: int = 2,
        target: float | None = None,
        window: int = 1,
        confirm: int = 1,
    ) -> None:
        self.n_classes = check_integer(n_classes, "n_classes", minimum=2)
        if noise_level is not None and target is not None:
            raise ValueError("give noise_level or target, got both")
        if noise_level is not None:
            target = noise_residual(noise_level, n_classes=self.n_classes)
        elif target is not None and not 0 <= check_real(target, "target") < 1:
            raise ValueError(f"target must lie in [0, 1), got {target}")
        self.noise_level = None if noise_level is None else float(noise_level)
        self.window = check_integer(window, "window")
        self.confirm = check_integer(confirm, "confirm")
        self._fixed_target = None if target is None else float(target)
        self._recent: deque[tuple[float, int, float, int, int]] = deque()  # residual, samples, step, wrong, checked
        self._counted = True
        self._lowest: tuple[int, int] | None = None  # counts of the smallest smoothed disagreement
        self._looks = 0
        self._below = 0
        self._previous: tuple[float, float] | None = None  # centre and excess over the target of the last smoothed value
        self._entered = math.nan
        self.n_updates = 0
        self.stopped_at: float | None = None  # an integer where steps are integers
        self.crossing: float | None = None
        self.crossings_back = 0

    @property
    def reached(self) -> bool:
        """Whether the level has been reached."""
        return self.stopped_at is not None

    @property
    def target(self) -> float | None:
        """Residual at which to stop; None while an unknown noise level has no estimate yet."""
        if self._fixed_target is not None:
            return self._fixed_target
        return None if self._lowest is None else gini(self._lowest[0] / self._lowest[1], self.n_classes)

    @property
    def value(self) -> float | None:
        """Smoothed mean residual; None before there are ``window`` samples."""
        weight = sum(entry[1] for entry in self._recent)
        return sum(entry[0] * entry[1] for entry in self._recent) / weight if self._recent and weight >= self.window else None

    @property
    def standard_error(self) -> float | None:
        """Largest standard error that the smoothed value can have, √(v(1 − v)/N), for independent samples; None if N is not known."""
        value = self.value
        if value is None or not self._counted:
            return None
        return math.sqrt(value * (1 - value) / sum(entry[1] for entry in self._recent))

    def update(
        self,
        mean_residual: float,
        *,
        n_samples: int | None = None,
        disagreement: tuple[int, int] | None = None,
        step: float | None = None,
    ) -> bool:
        """Take in a mean residual; return whether the level has been reached.

        Args:
            mean_residual: mean over samples of 1 − f_y, the probability that the network does not give to the observed label; for one
                logit |f − y|.
            n_samples: how many samples it is the mean of.
            disagreement: (wrong, checked): of ``checked`` samples, how many are predicted otherwise than their observed label; needed with
                ``noise_level=None``.
            step: step, epoch or time of the update; must increase. By default 1, 2, 3, ….

        Raises:
            ValueError: if a number is not finite or out of range; nothing is taken in then.
        """
        residual = check_real(mean_residual, "mean_residual")
        if not 0 <= residual <= 1:
            raise ValueError(f"mean_residual must lie in [0, 1], got {residual}")
        weight = 1 if n_samples is None else check_integer(n_samples, "n_samples")
        wrong, checked = (0, 0) if disagreement is None else _counts(disagreement)
        if disagreement is None and self._fixed_target is None:
            raise ValueError("disagreement must be given where the noise level is not known, got None")
        last = self._recent[-1][2] if self._recent else -math.inf
        place = (self.n_updates if last == -math.inf else last) + 1 if step is None else check_real(step, "step")
        place = int(place) if float(place).is_integer() else place
        if place <= last:
            raise ValueError(f"step must increase, got {place:g} after {last:g}")
        self.n_updates += 1
        self._counted &= n_samples is not None
        self._recent.append((residual, weight, place, wrong, checked))
        while sum(entry[1] for entry in self._recent) - self._recent[0][1] >= self.window:
            self._recent.popleft()
        self._judge(place)
        return self.reached

    def update_from_logits(self, logits: Tensor | ArrayLike, labels: Tensor | ArrayLike, *, step: float | None = None) -> bool:
        """Take in the logits of samples and their observed labels; `update` with residual, number of samples and disagreement.

        Args:
            logits: ``[n]`` or ``[n, 1]`` (two classes), or ``[n, C]``.
            labels: observed labels ``[n]``, integers 0 … C − 1.
            step: as in `update`.

        Raises:
            ValueError: if a logit is not finite, shapes do not fit, or labels are not classes.

        Example:
            >>> EarlyStoppingMonitor(noise_level=0.3).update_from_logits([2.0, -1.0, 0.5], [1, 0, 0])  # mean residual 0.34 < 0.42
            True
        """
        if isinstance(logits, Tensor):
            logits = (logits.double() if logits.is_floating_point() else logits).detach().cpu().numpy()
        values = torch.from_numpy(np.array(as_real_array(logits, "logits"), dtype=np.float64))
        observed = check_labels(labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels, self.n_classes)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        shape = (len(observed),) if self.n_classes == 2 and values.ndim == 1 else (len(observed), self.n_classes)
        if tuple(values.shape) != shape:
            raise ValueError(
                f"logits must have shape {list(shape)} for {len(observed)} labels of {self.n_classes} classes, got {list(values.shape)}"
            )
        if values.ndim == 1:
            values = torch.stack([torch.zeros_like(values), values], dim=1)
        own = values.gather(1, torch.from_numpy(observed)[:, None])[:, 0]
        residual = -torch.expm1(own - torch.logsumexp(values, dim=1))
        others = values.clone().scatter_(1, torch.from_numpy(observed)[:, None], -math.inf)
        wrong = int((others.max(dim=1).values >= own).sum())  # a tie counts as wrong
        mean = min(max(float(residual.mean()), 0.0), 1.0)
        return self.update(mean, n_samples=len(observed), disagreement=(wrong, len(observed)), step=step)

    def noise_level_estimate(self, *, max_model_error: float | None = None, error_rate: float = 0.05) -> Estimate | None:
        """Noise level from the smallest smoothed disagreement so far, or None if none was judged; see `noise_level_from_disagreement`.

        The error rate is divided by the number of disagreements looked at. The interval holds for held-out samples whose labels have the
        same noise; for training samples, which the network fits, it covers the sampling error alone, and the noise level is underestimated
        once single labels are fitted (docs/stopping_rule.md).

        Args:
            max_model_error: largest error of the predictions against the true labels that is thought possible; None bounds nothing.
            error_rate: probability, at most, of missing the noise level.

        Raises:
            ValueError: if an argument is out of range.
        """
        if self._lowest is None:
            return None
        return noise_level_from_disagreement(
            *self._lowest, n_classes=self.n_classes, max_model_error=max_model_error, error_rate=error_rate / max(self._looks, 1)
        )

    def describe(self) -> str:
        """One line for a log.

        Example:
            >>> monitor = EarlyStoppingMonitor(noise_level=0.4)
            >>> _ = monitor.update(0.495)
            >>> monitor.describe()
            'not reached after 1 update: mean residual 0.495, stops at 0.480'
        """
        count = f"{self.n_updates} update{'' if self.n_updates == 1 else 's'}"
        value = "none yet" if self.value is None else f"{self.value:.3f}"
        level = "not known yet" if self.target is None else f"{self.target:.3f}"
        if self.stopped_at is None:
            return f"not reached after {count}: mean residual {value}, stops at {level}"
        back = f"; {self.crossings_back} later values above it" if self.crossings_back else ""
        return f"reached at {self.stopped_at:g} of {count}: mean residual now {value}, stopped at {level}{back}"

    def state_dict(self) -> dict[str, Any]:
        """Settings and state as plain JSON values, for a checkpoint."""
        return {
            "version": _STATE_VERSION,
            "settings": self._settings(),
            "recent": [list(entry) for entry in self._recent],
            "counted": self._counted,
            "lowest": None if self._lowest is None else list(self._lowest),
            "looks": self._looks,
            "below": self._below,
            "previous": None if self._previous is None else list(self._previous),
            "entered": None if math.isnan(self._entered) else self._entered,
            "n_updates": self.n_updates,
            "stopped_at": self.stopped_at,
            "crossing": self.crossing,
            "crossings_back": self.crossings_back,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another monitor with the same settings stood.

        Raises:
            ValueError: if the state is not one of a monitor with these settings; this monitor is unchanged then.
        """
        if not isinstance(state, Mapping) or state.get("version") != _STATE_VERSION:
            raise ValueError(f"state must come from state_dict of an EarlyStoppingMonitor, got {' '.join(repr(state).split())[:60]}")
        mine, theirs = self._settings(), state.get("settings")
        if theirs != mine:
            raise ValueError(f"state belongs to a monitor with the settings {theirs}, this one has {mine}")
        missing = sorted(set(self.state_dict()) - set(state))
        if missing:
            raise ValueError(f"state has no {missing[0]!r}: it is not complete")
        recent = deque((float(r), int(n), p, int(w), int(c)) for r, n, p, w, c in state["recent"])
        previous, lowest = state["previous"], state["lowest"]
        self._recent = recent
        self._counted = bool(state["counted"])
        self._lowest = None if lowest is None else (int(lowest[0]), int(lowest[1]))
        self._looks, self._below = int(state["looks"]), int(state["below"])
        self._previous = None if previous is None else (float(previous[0]), float(previous[1]))
        self._entered = math.nan if state["entered"] is None else float(state["entered"])
        self.n_updates, self.crossings_back = int(state["n_updates"]), int(state["crossings_back"])
        self.stopped_at, self.crossing = state["stopped_at"], state["crossing"]

    def _settings(self) -> dict[str, Any]:
        return {
            "noise_level": self.noise_level,
            "n_classes": self.n_classes,
            "target": self._fixed_target,
            "window": self.window,
            "confirm": self.confirm,
        }

    def _judge(self, place: float) -> None:
        """Compare the smoothed value with the target and keep the books."""
        value = self.value
        if value is None:
            return
        wrong, checked = sum(entry[3] for entry in self._recent), sum(entry[4] for entry in self._recent)
        if checked and not self.reached:
            self._look(wrong, checked)
        target = self.target
        if target is None:
            return
        weight = sum(entry[1] for entry in self._recent)
        centre = sum(entry[1] * entry[2] for entry in self._recent) / weight
        excess = value - target
        if excess > 0:
            self._below = 0
            self.crossings_back += self.reached
        else:
            if self._below == 0:
                self._entered = self._between(centre, excess)
            self._below += 1
            if not self.reached and self._below >= self.confirm:
                self.stopped_at, self.crossing = place, self._entered
        self._previous = (centre, excess)

    def _look(self, wrong: int, checked: int) -> None:
        """Take in a smoothed disagreement if something has been learnt: the smallest one stands for the noise level."""
        share, chance = wrong / checked, (self.n_classes - 1) / self.n_classes
        self._looks += 1
        if share >= chance - _LEARNT * math.sqrt(share * (1 - share) / checked):
            return
        if self._lowest is None or share < self._lowest[0] / self._lowest[1]:
            self._lowest = (wrong, checked)

    def _between(self, centre: float, excess: float) -> float:
        """Where the smoothed value met the target: linear between the centres of the last window above and the first below."""
        if self._previous is None or self._previous[1] <= 0:
            return centre
        before, above = self._previous
        return before + (centre - before) * above / (above - excess)


def _counts(disagreement: tuple[int, int]) -> tuple[int, int]:
    try:
        wrong, checked = disagreement
    except (TypeError, ValueError):
        raise ValueError(f"disagreement must be the pair (wrong, checked), got {' '.join(repr(disagreement).split())[:60]}") from None
    checked = check_integer(checked, "disagreement[1]")
    wrong = check_integer(wrong, "disagreement[0]", minimum=0)
    if wrong > checked:
        raise ValueError(f"disagreement must not count more wrong than checked samples, got {wrong} of {checked}")
    return wrong, checked
