"""``clean-priority diagnose``: options, reading, printing. The work is done in diagnose.py."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["add_diagnose", "run_diagnose"]

DESCRIPTION = """Train a network on data with wrong labels, follow it, and answer: is there clean priority, until when, how large is the
dominance of clean gradients, where is the test-error minimum, and where would rules that need no clean label have stopped?"""
EPILOG = """A network factory is a function or class; it is given those of image_shape, n_inputs, n_outputs (1 logit for two classes),
n_classes and seed that it names. The module that --network names is the only code that is imported; data and labels are read as numbers
and pictures. Exit code 0: answered; 2: bad input."""


def add_diagnose(commands: Any) -> None:
    """Add the command to the sub-parsers of the command line; the function that runs it is set there."""
    parser = commands.add_parser(
        "diagnose", help="the same questions about your own network, data and noise", description=DESCRIPTION, epilog=EPILOG
    )
    what = parser.add_argument_group("what is trained on what")
    what.add_argument(
        "--data",
        required=True,
        metavar="NAME|PATH",
        help="digits, mnist, cifar10, clusters; a folder or .zip of train/<class>/ (and test/<class>/); or .npz",
    )
    what.add_argument(
        "--network",
        default=None,
        metavar="MODULE:FACTORY",
        help="makes the network (default: a CNN for pictures from 16 x 16, else an MLP)",
    )
    what.add_argument("--classes", default=None, metavar="A,B,…", help="classes to keep (default: all)")
    what.add_argument("--n-train", type=int, default=None, metavar="N", help="training samples (default: all)")
    what.add_argument("--n-test", type=int, default=None, metavar="N", help="test samples (default: all)")
    what.add_argument(
        "--normalize", default="pixel", metavar="pixel|unit", help="pixels in [0, 1], or samples of norm 1 (default: %(default)s)"
    )
    what.add_argument("--data-root", type=Path, default=None, metavar="DIR", help="folder with mnist/, cifar10/")
    noise = parser.add_argument_group("which labels are wrong (one of these, unless the .npz file holds observed labels)")
    one = noise.add_mutually_exclusive_group()
    one.add_argument("--noise", type=float, default=None, metavar="DELTA", help="share of wrong labels, exact in every class")
    one.add_argument(
        "--observed-labels", type=Path, default=None, metavar="FILE", help=".npy, text with one label per line, or a noise file"
    )
    one.add_argument("--transition", type=Path, default=None, metavar="FILE", help="matrix P(observed j | true i): text, .npy or .json")
    training = parser.add_argument_group("training by stochastic gradient descent")
    training.add_argument("--epochs", type=int, default=100, metavar="N", help="default: %(default)s")
    training.add_argument("--learning-rate", type=float, default=0.1, metavar="ETA", help="default: %(default)s")
    training.add_argument("--batch-size", type=int, default=64, metavar="N", help="0 for all samples at once (default: %(default)s)")
    training.add_argument("--seeds", type=int, default=5, metavar="N", help="number of seeds (default: %(default)s)")
    training.add_argument(
        "--validation-share", type=float, default=0.1, metavar="SHARE", help="held out with noisy labels (default: %(default)s)"
    )
    training.add_argument("--device", default="auto", help="cpu, cuda, … (default: %(default)s)")
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, default=Path("diagnosis"), metavar="DIR", help="folder of the report (default: %(default)s)")
    output.add_argument(
        "--record-every",
        type=int,
        default=None,
        metavar="N",
        help="measure every N steps (default: evenly in log time, at most 25 %% of the training time, or half a second)",
    )
    output.add_argument("--no-progress", action="store_true", help="no progress bar")


def run_diagnose(options: argparse.Namespace, console: Console, progress: Callable[..., AbstractContextManager[Any]]) -> int:
    """Run the command; bad input is a ValueError of one line."""
    from reports.diagnosis_files import load_data, load_factory, read_matrix
    from reports.writer import check_target

    check_target(options.out)
    factory = None if options.network is None else load_factory(options.network)
    root = options.data_root or (Path(os.environ["CLEAN_PRIORITY_DATA"]) if os.environ.get("CLEAN_PRIORITY_DATA") else None)
    data = load_data(
        options.data,
        classes=None if options.classes is None else [part.strip() for part in options.classes.split(",") if part.strip()],
        n_train=options.n_train,
        n_test=options.n_test,
        root=root,
        normalize=options.normalize,
    )
    from reports.diagnose import diagnose, observed_from_file  # torch is loaded here

    observed = data.observed if options.noise is None and options.transition is None else None
    if options.observed_labels is not None:
        observed = observed_from_file(options.observed_labels, data.dataset.train_truth)
    if observed is None and options.noise is None and options.transition is None:
        raise ValueError("give one of --noise, --observed-labels and --transition, got none")
    with progress(shown=not options.no_progress) as on_progress:
        report = diagnose(
            factory,
            data.dataset,
            noise_level=options.noise,
            observed_labels=observed,
            transition=None if options.transition is None else read_matrix(options.transition),
            epochs=options.epochs,
            learning_rate=options.learning_rate,
            batch_size=options.batch_size or None,
            seeds=options.seeds,
            validation_share=options.validation_share,
            every="log" if options.record_every is None else options.record_every,
            device=options.device,
            command=f"clean-priority {shlex.join(options.words)}",
            on_progress=on_progress,
        )
        page = report.write(options.out)
    print_diagnosis(report.document, console)
    console.print(f"report: {page}", soft_wrap=True, markup=False)
    return 0


def print_diagnosis(document: Mapping[str, Any], console: Console) -> None:
    """Print question, verdict and answer, one row each."""
    from rich import box
    from rich.table import Table

    from reports.diagnosis_page import title, tone

    colors = {"agrees": "green", "disagrees": "dark_orange3", "inconclusive": "yellow", "assumption-violated": "magenta"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title=title(document["task"]), title_justify="left")
    table.add_column("question", max_width=34)
    table.add_column("verdict", no_wrap=True)
    table.add_column("answer", ratio=1)
    for one in document["answers"]:
        kind, sign = tone(one["verdict"])
        table.add_row(
            one["question"], f"[{colors.get(kind, 'bright_black')}]{sign} {one['verdict']}[/]", one["sentence"].replace("[", r"\[")
        )
    console.print(table)
