"""Training of a network of the user's own on a data set with noisy labels, followed by a recorder: what ``reports.diagnose`` runs.

Plain stochastic gradient descent on the papers' loss, w ← w − η ∇L(batch), with a permutation of the samples every epoch.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from empirical._validation import check_integer, check_positive
from empirical.datasets import Dataset
from empirical.devices import policy
from empirical.general_segments import evaluate
from empirical.image_networks import ConvolutionalNetwork
from empirical.losses import sample_losses
from empirical.networks import FullyConnected
from empirical.noise import NoisyLabels
from empirical.record import Trace, record

__all__ = ["FACTORY_FACTS", "build_network", "default_network", "network_inputs", "train_task"]

_STREAM = int.from_bytes(b"task", "big")  # keeps the order of mini-batches independent of other draws with the same seed
_RECORDS = 20  # that a run of mini-batches is meant to be followed by
_LEAST, _MOST = (256, 512), (2048, 10_000)  # samples of a record: of gradients, of losses
_PICTURE_PIXELS = 16  # smallest height and width for which the default network is convolutional

FACTORY_FACTS = ("image_shape", "n_inputs", "n_outputs", "n_classes", "seed")
"""What a network factory is given, if it names it."""


def default_network(image_shape: tuple[int, ...] | None, n_inputs: int, n_outputs: int, seed: int) -> nn.Module:
    """The network that is taken if none is given, in PyTorch's default initialisation.

    Pictures of 16 × 16 pixels or more: the CNN of Appendix B [A] (two convolutions of 32 and 64 channels, one hidden layer of 64). Other
    data: two hidden layers of 512 ReLU units.

    Example:
        >>> default_network((8, 8), 64, 1, 0)(torch.ones(3, 64)).shape
        torch.Size([3])
    """
    if image_shape is not None and min(image_shape[-2:]) >= _PICTURE_PIXELS and (len(image_shape) == 2 or image_shape[0] in (1, 3)):
        return ConvolutionalNetwork(image_shape, n_outputs, seed=seed)
    return FullyConnected(n_inputs, 512, 2, n_outputs=n_outputs, convention="pytorch", seed=seed)


def build_network(factory: Callable[..., nn.Module], dataset: Dataset, *, seed: int) -> nn.Module:
    """Call a network factory: with those of ``FACTORY_FACTS`` that it names, and torch's random numbers set by ``seed`` for the time.

    Args:
        factory: function or class; may name ``image_shape``, ``n_inputs``, ``n_outputs`` (1 for two classes, else C), ``n_classes`` and
            ``seed``.
        dataset: what the network is for.
        seed: of the initialisation.

    Raises:
        ValueError: if the factory asks for something else, fails, or gives no network with trainable parameters.

    Example:
        >>> data = Dataset.from_arrays([[1.0, 0.0], [0.0, 1.0]], [0, 1])
        >>> build_network(lambda n_inputs: nn.Linear(n_inputs, 1), data, seed=0).weight.shape
        torch.Size([1, 2])
    """
    name = getattr(factory, "__name__", type(factory).__name__)
    if not callable(factory) or isinstance(factory, nn.Module):
        raise ValueError(f"network must be a function or class that makes a torch.nn.Module, got {type(factory).__name__}")
    facts: dict[str, Any] = {
        "image_shape": dataset.image_shape,
        "n_inputs": dataset.train_inputs.shape[1],
        "n_outputs": 1 if dataset.n_classes == 2 else dataset.n_classes,
        "n_classes": dataset.n_classes,
        "seed": seed,
    }
    try:
        named = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a callable without a signature of its own
        named = {}  # type: ignore[assignment]
    for key, parameter in named.items():
        if (
            key not in facts
            and parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ):
            raise ValueError(f"network factory {name!r} asks for {key!r}, expected none but {', '.join(FACTORY_FACTS)}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            network = factory(**{key: value for key, value in facts.items() if key in named})
        except Exception as error:  # whatever the user's code raises
            raise ValueError(f"network factory {name!r} failed: {type(error).__name__}: {_brief(error)}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"network factory {name!r} must give a torch.nn.Module, got {type(network).__name__}")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(f"network factory {name!r} gives a network without trainable parameters, expected at least one")
    return network


def network_inputs(network: nn.Module, dataset: Dataset) -> tuple[tuple[int, ...], torch.dtype]:
    """The shape and type in which a network takes the samples: pictures, else rows, else rows of integers (embeddings).

    Returns:
        shape of one sample, and the type.

    Raises:
        ValueError: if the network takes none of them, or its output does not match the classes.

    Example:
        >>> data = Dataset.from_arrays(np.ones((4, 2, 2)), [0, 1, 0, 1], image_shape=(2, 2))
        >>> network_inputs(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)), data)[0]
        (1, 2, 2)
    """
    shape, n_inputs = dataset.image_shape, dataset.train_inputs.shape[1]
    few = torch.tensor(dataset.train_inputs[: min(4, len(dataset.train_inputs))])
    forms: list[tuple[tuple[int, ...], torch.dtype]] = []
    if shape is not None:
        forms.append(((1, *shape) if len(shape) == 2 else tuple(shape), torch.float32))
    forms.append(((n_inputs,), torch.float32))
    if bool((few == few.round()).all()):
        forms.append(((n_inputs,), torch.int64))
    complaints: list[str] = []
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        for sample_shape, dtype in forms:
            try:
                with torch.no_grad(), torch.random.fork_rng():
                    evaluate(network, few.to(dtype).reshape(len(few), *sample_shape), dataset.n_classes)
                return sample_shape, dtype
            except ValueError as error:
                complaints.append(_brief(error))
            except Exception as error:  # whatever the user's code raises on inputs of another shape
                complaints.append(f"it fails on samples of shape {list(sample_shape)}: {_brief(error)}")
    finally:
        for module, mode in modes:
            module.training = mode
    fitting = [text for text in complaints if not text.startswith("it fails")]
    raise ValueError(f"network does not fit the data: {(fitting or complaints)[0]}")


def train_task(
    factory: Callable[..., nn.Module],
    dataset: Dataset,
    noisy: NoisyLabels,
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int | None,
    seed: int,
    device: str | torch.device = "auto",
    validation: tuple[Any, Any] | None = None,
    every: str | int | Sequence[int] = "log",
    on_step: Callable[[int, int], None] | None = None,
) -> Trace:
    """Train one network from one seed, and follow it.

    Args:
        factory: see ``build_network``.
        dataset: training set with the true labels, and the test set.
        noisy: labels that training sees.
        epochs: passes over the training set.
        learning_rate: η.
        batch_size: samples of a mini-batch; None for all of them.
        seed: of the initialisation and of the order of the samples.
        device: see ``empirical.resolve_device``.
        validation: inputs ``[n_val, d]`` and noisy labels of samples that are not trained on.
        every: see ``record``.
        on_step: called with the steps taken and the steps in all.

    Raises:
        ValueError: if a number is out of range, the network does not fit, or training diverges.

    Example:
        >>> from empirical import corrupt_labels, load_dataset
        >>> data = load_dataset("clusters", n_train=40, n_test=20)
        >>> noisy = corrupt_labels(data.train_truth, 0.3, n_classes=2, seed=0)
        >>> factory = lambda n_inputs, seed: FullyConnected(n_inputs, 32, 1, seed=seed)
        >>> trace = train_task(factory, data, noisy, epochs=3, learning_rate=0.1, batch_size=20, seed=0, device="cpu", every=(0, 3, 6))
        >>> trace.trajectory.times.round(2).tolist()
        [0.0, 0.3, 0.6]
    """
    epochs, rate = check_integer(epochs, "epochs"), check_positive(learning_rate, "learning_rate")
    n = len(dataset.train_inputs)
    size = n if batch_size is None else min(n, check_integer(batch_size, "batch_size"))
    network = build_network(factory, dataset, seed=seed)
    shape, dtype = network_inputs(network, dataset)

    def tensor(rows: Any) -> Tensor:
        return torch.tensor(np.asarray(rows)).to(dtype).reshape(len(rows), *shape)

    total = epochs * -(-n // size)
    with policy(device) as place, torch.random.fork_rng([place] if place.type == "cuda" else []), warnings.catch_warnings():
        torch.manual_seed(seed)
        network.to(place).train()
        inputs, labels = tensor(dataset.train_inputs), torch.tensor(noisy.observed)
        on_device, labels_on_device = inputs.to(place), labels.to(place)
        optimizer = torch.optim.SGD((p for p in network.parameters() if p.requires_grad), lr=rate)
        held_out = len(dataset.test_inputs) > 0
        samples, evaluated = _sizes(epochs, n) if isinstance(every, str) else (_MOST[0], _MOST[1])
        trace = record(
            network,
            inputs,
            labels,
            truth=noisy.truth,
            n_classes=dataset.n_classes,
            test_inputs=tensor(dataset.test_inputs) if held_out else None,
            test_truth=dataset.test_truth if held_out else None,
            noisy_validation=None if validation is None else (tensor(validation[0]), validation[1]),
            learning_rate=rate,
            steps=total,
            every=every,
            samples=samples,
            evaluated=evaluated,
            class_names=dataset.class_names,
            seed=seed,
            name=dataset.name,
        )
        generator = np.random.default_rng([_STREAM, seed])
        with trace:
            for _ in range(epochs):
                order = torch.from_numpy(generator.permutation(n)).to(place)
                for start in range(0, n, size):
                    index = order[start : start + size]
                    optimizer.zero_grad(set_to_none=True)
                    try:
                        logits = network(on_device[index]).reshape(len(index), -1)
                    except ValueError as error:  # a batch normalisation cannot take a batch of one sample, for example
                        raise ValueError(f"network fails in training on a batch of {len(index)}: {_brief(error)}") from None
                    sample_losses(logits[None], labels_on_device[index][None]).mean().backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    trace.step()
                    if on_step is not None:
                        on_step(trace.n_steps, total)
    return trace


def _sizes(epochs: int, n: int) -> tuple[int, int]:
    """How many samples a record may take of gradients, and of losses, so that about twenty records cost a quarter of the training.

    In units of one sample of training, a sample costs about two for its gradients (three passes, in small pieces) and a third for its loss,
    in training and test set; three fifths of a record's share go to gradients.
    """
    share = 0.25 * epochs * n / _RECORDS
    return tuple(int(min(most, max(least, size))) for size, least, most in zip((0.3 * share, 0.6 * share), _LEAST, _MOST, strict=True))  # type: ignore[return-value]


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:159] + "…"
