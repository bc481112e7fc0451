"""Networks of the papers' experiments in mini-batches, by name: the CNN, ResNet-9, widths, learning rates, initialisations, Fig. 10.

What the papers leave unstated:

* *Pictures.* Plain stochastic gradient descent, PyTorch's initialisation, pixels in [0, 1]. The papers' batch of 512 belongs to 60,000
  samples; with fewer samples the batch is smaller, so that an epoch has about ten steps or more. Learning rates are of the order of the
  largest at which training is stable, and the number of steps is such that noisy labels begin to be fitted: the test error has turned.
  ResNet-9 is that of footnote 4 [A], with Mish and batch normalisation, measured in evaluation mode; ``…-group`` has group normalisation.
  On CIFAR-10 its last layer starts at 0: as PyTorch draws it, the outputs after batch normalisation are far from 1/C (noisy loss 2.8, not
  log 10 = 2.3), and the noisy residual and loss fall at first, whatever is learnt. At the quick scale its 200 pictures are fitted before
  they are understood; at 3,000 the noise is fitted soon after; 6,000 show the rise and the fall. Its standard scale has 1/16 of the
  channels: a quarter of them, on the same pictures at the same rate, takes 26 minutes of a core for three networks, the whole standard
  tier 48 minutes instead of 39, and shows the same: noisy error 0.87 at step 907 for both, noisy residual ‖f − y‖ 0.98 for 0.97, test
  error 0.57 for 0.58.
* *Sweeps.* ``mnist-7-9-rate-…`` and ``mnist-7-9-initial-…-sgd`` repeat ``mnist-7-9-sgd`` with other learning rates and initialisations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from empirical.measurements import Experiment, GradientSample
from empirical.specifications import DataSpec, NetworkSpec, TrainingSpec, seeds_by_rule

__all__ = ["NETWORK_EXPERIMENTS"]

_TIERS = ("quick", "standard", "full")
_Value = TypeVar("_Value")
_Specification = Experiment | GradientSample


def _pick(tier: str, quick: _Value, standard: _Value, full: _Value) -> _Value:
    return (quick, standard, full)[_TIERS.index(tier)]


def _ten(tier: str, source: str) -> DataSpec:
    """Ten classes, pixels in [0, 1]."""
    sizes = {
        "digits": ((600, 500), (1000, 599), (1000, 599)),
        "mnist": ((400, 500), (1500, 1000), (None, None)),
        "cifar10": ((200, 200), (6000, 500), (None, None)),
    }
    n_train, n_test = _pick(tier, *sizes[source])
    return DataSpec(name=source, n_train=n_train, n_test=n_test, normalize="pixel")


def _convolutional(name: str, tier: str, source: str, noise_level: float, *, seeds: tuple[int, int, int] = (8, 8, 16)) -> Experiment:
    """The CNN of Appendix B [A]: a quarter of its channels in the quick tier and on digits, half of them in the standard tier."""
    small = source == "digits"
    return Experiment(
        name=name,
        data=_ten(tier, source),
        noise_level=noise_level,
        network=NetworkSpec(
            kind="cnn",
            width=32 if small else _pick(tier, 32, 64, 64),
            channels=0.25 if small else _pick(tier, 0.25, 0.5, 1.0),
            convention="pytorch",
        ),
        training=TrainingSpec(
            learning_rate=0.5 if small else _pick(tier, 0.2, 0.2, 0.2),
            steps=_pick(tier, 700, 1200, 3000) if small else _pick(tier, 400, 600, 11700),  # full: 100 epochs of 60,000
            batch_size=64 if small else _pick(tier, 32, 64, 512),
            n_records=_pick(tier, 16, 20 if small else 16, 40),
            record_samples=_pick(tier, 200, 200, 5000),
        ),
        seeds=seeds_by_rule(name, _pick(tier, *seeds)),
    )


def _residual(name: str, tier: str, source: str, noise_level: float, normalization: str) -> Experiment:
    """ResNet-9 of footnote 4 [A] (on 8 x 8 pictures the usual one, which is smaller at the top)."""
    small = source == "digits"
    return Experiment(
        name=name,
        data=_ten(tier, source),
        noise_level=noise_level,
        network=NetworkSpec(
            kind="resnet9",
            channels=1 / 16 if small else _pick(tier, 1 / 16, 1 / 16, 1.0),
            activation="mish",
            normalization=normalization,
            variant="usual" if small else "footnote",
            convention="pytorch",
            zero_output=not small,
        ),
        training=TrainingSpec(
            learning_rate=0.1 if small else 0.05,
            steps=_pick(tier, 200, 400, 1500) if small else _pick(tier, 100, 1600, 9800),  # full: 100 epochs of 50,000
            batch_size=64 if small else _pick(tier, 32, 64, 512),
            n_records=_pick(tier, 12, 14, 40),
            record_samples=_pick(tier, 100, 150, 5000),
        ),
        seeds=seeds_by_rule(name, _pick(tier, 5, 6, 8)),
    )


def _two_classes(
    name: str,
    tier: str,
    source: str,
    *,
    width: int = 512,
    convention: str = "pytorch",
    centred: bool = False,
    learning_rate: float | None = None,
) -> Experiment:
    """Fig. 12 [A] and the sweeps: the network of Fig. 5 with another width, learning rate or initialisation, on fewer samples and seeds."""
    small = source == "digits"
    usual = 0.2 if small else 0.15
    rate = learning_rate or usual
    longer = max(1, round(usual / rate))  # a smaller rate comes as far in time η·step
    if convention == "eq2" and not centred:
        longer = 3  # random output of order one is unlearnt first
    mnist = DataSpec(
        name="mnist",
        classes=(7, 9),
        n_train=_pick(tier, 500, 1000, None),
        n_test=_pick(tier, 500, 1000, None),
        normalize="pixel" if convention == "pytorch" else "unit",
    )
    return Experiment(
        name=name,
        data=DataSpec(name="digits", classes=(7, 9), normalize="pixel") if small else mnist,
        noise_level=0.4,
        network=NetworkSpec(width=width, depth=2, convention=convention, centred=centred),
        training=TrainingSpec(
            learning_rate=rate,
            steps=longer * (400 if small else _pick(tier, 300, 400, 2880)),
            batch_size=64 if small else _pick(tier, 128, 256, 256),
            n_records=_pick(tier, 16, 24, 40),
        ),
        seeds=seeds_by_rule(name, 24 if small else _pick(tier, 6, 6, 16)),  # 24 of 24 make a share above one half at 1e-6
    )


def _towards_limit(name: str, tier: str, width: int) -> Experiment:
    """Fig. 12 [A] where the infinite width is known: full-batch descent of Eq. (2) [B] from output 0, past the turn of the noisy loss."""
    return Experiment(
        name=name,
        data=DataSpec(name="digits", classes=(7, 9)),
        noise_level=0.4,
        network=NetworkSpec(width=width, depth=1, centred=True),
        training=TrainingSpec(learning_rate=1.0, steps=120, n_records=24),
        seeds=seeds_by_rule(name, _pick(tier, 96, 96, 256)),
    )


def _logits(name: str, tier: str, source: str) -> GradientSample:
    """Fig. 10 [A]: single-logit gradients of the CNN of ten classes at initialisation, δ = 0.3."""
    training = _convolutional(name, tier, source, 0.3)
    return GradientSample(
        name=name,
        data=replace(training.data, n_train=_pick(tier, 200, 400, 1000 if source == "digits" else 2000), n_test=0),
        noise_level=0.3,
        network=training.network,
        seeds=seeds_by_rule(name, 24),
        single_logit=True,
    )


def _kernel_at_start(name: str, tier: str, source: str) -> GradientSample:
    """Tangent kernels of the CNN before training, among training samples and from them to test samples: Fig. 1, 7, 8, 11, 13 [A].

    MNIST has it up to the standard scale: of 60,000 pictures it has 3.6e9 entries, and no test asks for it.
    """
    training = _convolutional(name, tier, source, 0.3)
    return GradientSample(
        name=name,
        data=training.data,
        noise_level=0.3,
        network=training.network,
        seeds=seeds_by_rule(name, 2),
        kernel=True,
        test_kernel=True,
    )


def _build() -> dict[str, tuple[str, Callable[[str], _Specification]]]:
    """Name → description and builder (tier → specification)."""
    table: dict[str, tuple[str, Callable[[str], _Specification]]] = {}

    def add(name: str, description: str, builder: Callable[..., _Specification], *arguments: object, **options: object) -> None:
        table[name] = (description, lambda tier: builder(name, tier, *arguments, **options))

    for source in ("digits", "mnist"):
        cnn = f"{source}, ten classes, CNN, mini-batches"
        seeds = (24, 24, 24) if source == "digits" else (8, 8, 16)
        add(f"{source}-cnn", f"Fig. 1, 7, 8, 11: {cnn}, δ = 0.3", _convolutional, source, 0.3, seeds=seeds)
        for level in (0.1, 0.2, 0.4):
            add(f"{source}-cnn-noise-{level}", f"Fig. 13: {cnn}, δ = {level}", _convolutional, source, level, seeds=seeds)
        for width in (16, 32, 128) if source == "digits" else ():
            text = f"Fig. 12: digits 7 and 9, one hidden layer of {width}, full-batch descent from output 0, δ = 0.4"
            add(f"digits-7-9-limit-width-{width}", text, _towards_limit, width)
        for width in (32, 64, 128, 256, 512, 1024, 2048):
            text = f"Fig. 12: {source} 7 and 9, two hidden layers of {width}, mini-batches, δ = 0.4"
            add(f"{source}-7-9-width-{width}", text, _two_classes, source, width=width)
        text = f"Fig. 1, 7, 8, 11, 13: tangent kernels at initialisation, {source}, ten classes, CNN"
        add(f"{source}-cnn-kernel", text, _kernel_at_start, source)
        add(f"figure-10-{source}", f"Fig. 10: directions of single-logit gradients, {source}, CNN, δ = 0.3", _logits, source)
    for source, level in (("digits", 0.3), ("cifar10", 0.4)):
        for suffix, normalization in (("", "batch"), ("-group", "group")):
            text = f"Fig. 7, 8, 11: {source}, ten classes, ResNet-9 with {normalization} normalisation, mini-batches, δ = {level}"
            add(f"{source}-resnet9{suffix}", text, _residual, source, level, normalization)
    for rate in (0.05, 0.5):
        add(
            f"mnist-7-9-rate-{rate}",
            f"MNIST 7 and 9, two hidden layers of 512, mini-batches, δ = 0.4, η = {rate}",
            _two_classes,
            "mnist",
            learning_rate=rate,
        )
    for kind, centred in (("random", False), ("centred", True)):
        text = f"MNIST 7 and 9, two hidden layers of 512, mini-batches, δ = 0.4, Eq. (2) [B], {kind} output at initialisation"
        options = {"convention": "eq2", "centred": centred, "learning_rate": 1.0}
        add(f"mnist-7-9-initial-{kind}-sgd", text, _two_classes, "mnist", **options)
    return table


NETWORK_EXPERIMENTS: Mapping[str, tuple[str, Callable[[str], _Specification]]] = MappingProxyType(_build())
"""Name → description and builder (tier → specification)."""
