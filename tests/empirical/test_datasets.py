"""Data sets: exact contents, disjoint splits, seeds, sizes, and one clear line for everything that is missing or damaged."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical.datasets import DATA_ROOT_VARIABLE, DATASETS, Dataset, DatasetNotFound, arc_clusters, load_dataset
from empirical.sources import even_share

COUNTS = {"train": 60, "t10k": 30}


def write_mnist(
    folder: Path, *, joint: str = "-", packed: bool = False, pictures: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Write four IDX files of 4 × 3 pictures whose first pixel is their index and whose second tells the split; no picture is black."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, np.ndarray] = {}
    for split, count in COUNTS.items():
        images = np.full((count, 4, 3), 7, dtype=np.uint8)
        images[:, 0, 0] = np.arange(count)
        images[:, 0, 1] = 200 if split == "train" else 100
        labels = (np.arange(count) % 10).astype(np.uint8)
        written[f"{split}-images"], written[f"{split}-labels"] = images, labels
    written |= pictures or {}
    for part, array in written.items():
        header = struct.pack(f">I{array.ndim}I", 2051 if array.ndim == 3 else 2049, *array.shape)
        content = header + array.tobytes()
        name = f"{part}{joint}idx{array.ndim}-ubyte" + (".gz" if packed else "")
        (folder / name).write_bytes(gzip.compress(content) if packed else content)
    return written


class TestMnist:
    """Official files, found under a root."""

    @pytest.mark.parametrize("packed", [False, True], ids=["raw", "gzip"])
    @pytest.mark.parametrize("joint", ["-", "."], ids=["hyphen", "dot"])
    @pytest.mark.parametrize("place", ["", "mnist"], ids=["root", "subfolder"])
    def test_contents(self, tmp_path: Path, packed: bool, joint: str, place: str):
        """Every official spelling, at both places: pixels over 255, row by row, in the order of the file."""
        written = write_mnist(tmp_path / place, joint=joint, packed=packed)
        data = load_dataset("mnist", root=tmp_path, normalize="pixel")
        expected = (written["train-images"].reshape(60, 12).astype(np.float64) / 255).astype(np.float32)
        assert np.array_equal(data.train_inputs, expected)
        assert data.train_inputs.dtype == np.float32
        assert np.array_equal(data.test_truth, written["t10k-labels"])
        assert data.train_truth.dtype == np.int64
        assert (data.n_classes, data.image_shape, data.name) == (10, (4, 3), "mnist")

    def test_classes_become_labels_in_the_order_asked(self, tmp_path: Path):
        """Label k is the k-th class."""
        written = write_mnist(tmp_path)
        data = load_dataset("mnist", root=tmp_path, classes=(9, 7), normalize="pixel")
        index = np.rint(data.train_inputs[:, 0] * 255).astype(int)
        assert np.array_equal(np.array([9, 7])[data.train_truth], written["train-labels"][index])
        assert len(index) == 12
        assert (np.diff(index) > 0).all()
        assert data.class_names == ("9", "7")
        assert np.array_equal(load_dataset("mnist", root=tmp_path, classes=("9", "7"), normalize="pixel").train_inputs, data.train_inputs)

    def test_root_from_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """The argument wins over the environment variable."""
        write_mnist(tmp_path / "a")
        write_mnist(tmp_path / "b", pictures={"train-images": np.full((60, 4, 3), 9, dtype=np.uint8)})
        monkeypatch.setenv(DATA_ROOT_VARIABLE, str(tmp_path / "a"))
        from_variable = load_dataset("mnist")
        from_argument = load_dataset("mnist", root=tmp_path / "b")
        assert from_variable.sha256 != from_argument.sha256

    def test_files_are_parsed_once_and_again_when_they_change(self, tmp_path: Path):
        """A changed file is read anew in the same process."""
        write_mnist(tmp_path)
        first = load_dataset("mnist", root=tmp_path)
        assert load_dataset("mnist", root=tmp_path).sha256 == first.sha256
        write_mnist(tmp_path, pictures={"train-images": np.full((60, 4, 3), 9, dtype=np.uint8)})
        os.utime(tmp_path / "train-images-idx3-ubyte", ns=(1, 1))
        assert load_dataset("mnist", root=tmp_path).sha256 != first.sha256

    def test_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """One line: which files, where, how to get them."""
        monkeypatch.delenv(DATA_ROOT_VARIABLE, raising=False)
        with pytest.raises(
            DatasetNotFound, match=r"no data root is given; get the four official files .* --data-root DIR, root=DIR or set CLEAN"
        ):
            load_dataset("mnist")
        write_mnist(tmp_path)
        (tmp_path / "t10k-labels-idx1-ubyte").unlink()
        with pytest.raises(DatasetNotFound) as caught:
            load_dataset("mnist", root=tmp_path)
        message = str(caught.value)
        assert "no t10k-labels-idx1-ubyte.gz (nor raw)" in message
        assert str(tmp_path / "mnist") in message
        assert "\n" not in message

    def test_counts_that_disagree(self, tmp_path: Path):
        """Fewer labels than pictures."""
        write_mnist(tmp_path, pictures={"train-labels": np.zeros(59, dtype=np.uint8)})
        with pytest.raises(ValueError, match="train-labels-idx1-ubyte: got 59 labels, expected 60 as in train-images-idx3-ubyte"):
            load_dataset("mnist", root=tmp_path)

    def test_labels_and_sizes_out_of_range(self, tmp_path: Path):
        """A label above 9; test pictures of another size; a black picture that cannot be scaled."""
        labels = np.zeros(60, dtype=np.uint8)
        labels[17] = 12
        write_mnist(tmp_path / "a", pictures={"train-labels": labels})
        with pytest.raises(ValueError, match="got label 12 at index 17, expected 0 to 9"):
            load_dataset("mnist", root=tmp_path / "a")
        write_mnist(tmp_path / "b", pictures={"t10k-images": np.ones((30, 5, 3), dtype=np.uint8)})
        with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte: got pictures of \[5, 3\] pixels, expected \[4, 3\]"):
            load_dataset("mnist", root=tmp_path / "b")
        black = np.ones((60, 4, 3), dtype=np.uint8)
        black[3] = 0
        write_mnist(tmp_path / "c", pictures={"train-images": black})
        with pytest.raises(ValueError, match="train_inputs must have no zero rows to be scaled to norm 1, got a zero vector at row 3"):
            load_dataset("mnist", root=tmp_path / "c")
        assert load_dataset("mnist", root=tmp_path / "c", normalize="pixel").train_inputs[3].sum() == 0

    def test_the_real_files(self):
        """The official MNIST has 60000 + 10000 pictures with these counts per class (skipped where it is not there)."""
        root = os.environ.get(DATA_ROOT_VARIABLE) or Path(__file__).resolve().parents[3] / "shared" / "data"
        try:
            data = load_dataset("mnist", root=root, classes=(7, 9), n_train=12000)
        except DatasetNotFound as missing:
            pytest.skip(str(missing))
        assert data.train_inputs.shape == (12000, 784)
        assert np.bincount(data.test_truth).tolist() == [1028, 1009]
        # All 5949 nines, and sevens for the rest.
        assert np.bincount(data.train_truth).tolist() == [6051, 5949]


class TestDigits:
    """Scikit-learn's digits."""

    def test_split_is_disjoint_complete_and_drawn_by_seed(self):
        """Of each class a third, rounded, is the test set; together they are the 1797 pictures."""
        from sklearn.datasets import load_digits

        pictures, labels = load_digits(return_X_y=True)
        data = load_dataset("digits", normalize="pixel", seed=5)
        assert np.bincount(data.test_truth).tolist() == [round(n / 3) for n in np.bincount(labels)]
        together = np.concatenate([data.train_inputs, data.test_inputs]) * 16
        assert sorted(map(tuple, together.tolist())) == sorted(map(tuple, pictures.tolist()))
        assert len(np.unique(pictures, axis=0)) == 1797  # so that equality of the multisets means disjoint index sets
        assert load_dataset("digits", seed=5).sha256 == load_dataset("digits", seed=5).sha256
        assert load_dataset("digits", seed=5).sha256 != load_dataset("digits", seed=6).sha256

    def test_unit_rows(self):
        """Norm 1 to the rounding of 64 float32 entries: each is off by at most 2^-24 relative, and so is the norm."""
        data = load_dataset("digits", n_train=200)
        norms = np.linalg.norm(data.train_inputs.astype(np.float64), axis=1)
        assert np.abs(norms - 1).max() <= 2**-24

    def test_subsets_are_balanced_nested_and_in_order(self):
        """A hundred are ten of each class and lie within two hundred of the same seed."""
        small, large = (load_dataset("digits", n_train=n, n_test=20, seed=2, normalize="pixel") for n in (100, 200))
        assert np.bincount(small.train_truth).tolist() == [10] * 10
        rows = set(map(bytes, large.train_inputs))
        assert all(bytes(row) in rows for row in small.train_inputs)
        assert np.array_equal(small.test_inputs, large.test_inputs)
        assert not rows & set(map(bytes, large.test_inputs))

    def test_counts_per_class(self):
        """Imbalanced sets, for the class-wise claims."""
        data = load_dataset("digits", classes=(7, 9), n_train=(70, 20), n_test=0)
        assert np.bincount(data.train_truth).tolist() == [70, 20]
        assert data.test_inputs.shape == (0, 64)


class TestClusters:
    """Arc clusters."""

    def test_angles_and_radii_stay_within_the_stated_bounds(self):
        """Centres 5° and 85°, cut off at three standard deviations of 10°, radius in [0.7, 1.3]; rounding to float32 adds 1e-7."""
        data = load_dataset("clusters", n_train=2000, n_test=10, normalize="pixel", seed=1)
        degrees = np.degrees(np.arctan2(data.train_inputs[:, 1], data.train_inputs[:, 0]).astype(np.float64))
        radius = np.linalg.norm(data.train_inputs.astype(np.float64), axis=1)
        for label, centre in ((0, 5.0), (1, 85.0)):
            deviation = degrees[data.train_truth == label] - centre
            assert np.abs(deviation).max() <= 30 + 1e-4
            # Standard deviation of a normal cut off at ±3: 0.9866. Standard errors for n = 1000: of the deviation a share 1/√(2n), 2.2 %
            # (a little less for a law that is cut off), of the mean σ/√n. Five of them: wrong for one seed in 10⁶.
            assert deviation.std() == pytest.approx(9.866, rel=5 / np.sqrt(2 * 1000))
            assert abs(deviation.mean()) < 5 * 9.866 / np.sqrt(1000)
        assert 0.7 - 1e-6 <= radius.min() < 0.8
        assert 1.2 < radius.max() <= 1.3 + 1e-6
        assert np.bincount(data.train_truth).tolist() == [1000, 1000]

    def test_prefix_does_not_depend_on_the_number(self):
        """The first samples of a cluster are those of a smaller draw."""
        few, _ = arc_clusters([3, 5], seed=4)
        many, labels = arc_clusters([10, 10], seed=4)
        assert np.array_equal(few[:3], many[:3])
        assert np.array_equal(few[3:], many[10:15])
        assert labels.tolist() == [0] * 10 + [1] * 10

    def test_more_classes_and_their_order(self):
        """Three clusters; with the classes reversed the labels are."""
        data = load_dataset("clusters", classes=(0, 1, 2), n_train=31, n_test=3)
        turned = load_dataset("clusters", classes=(2, 1, 0), n_train=(10, 10, 11), n_test=3)
        assert np.bincount(data.train_truth).tolist() == [11, 10, 10]
        assert np.array_equal(data.train_inputs, turned.train_inputs)
        assert np.array_equal(data.train_truth, 2 - turned.train_truth)

    def test_train_and_test_are_different_draws(self):
        """No point in common, and different for every seed."""
        data, other = load_dataset("clusters", seed=0, normalize="pixel"), load_dataset("clusters", seed=1, normalize="pixel")
        rows = [set(map(bytes, part)) for part in (data.train_inputs, data.test_inputs, other.train_inputs, other.test_inputs)]
        assert len(set.union(*rows)) == sum(map(len, rows)) == 1600


class TestDataset:
    """Plain arrays and the hash."""

    def test_arrays_are_copies_and_read_only(self):
        """The caller's array stays his own."""
        mine = np.ones((2, 3))
        data = Dataset.from_arrays(mine, [0, 1])
        mine[0] = 5
        assert data.train_inputs[0, 0] == 1
        with pytest.raises(ValueError, match="read-only"):
            data.train_inputs[0, 0] = 2
        with pytest.raises(ValueError, match="read-only"):
            data.train_truth[0] = 1

    def test_every_part_enters_the_hash(self):
        """Any change of values, labels, split or names changes it."""
        base = ([[1.0, 2.0], [3.0, 4.0]], [0, 1], [[5.0, 6.0]], [0])
        variants = [
            Dataset.from_arrays(*base),
            Dataset.from_arrays([[1.0, 2.0], [3.0, 4.5]], *base[1:]),
            Dataset.from_arrays(base[0], [1, 0], *base[2:]),
            Dataset.from_arrays(*base[:3], [1]),
            Dataset.from_arrays(*base, class_names=("a", "b")),
            Dataset.from_arrays([[1.0, 2.0]], [0], [[3.0, 4.0], [5.0, 6.0]], [1, 0]),
        ]
        assert len({data.sha256 for data in variants}) == len(variants)

    def test_hash_does_not_depend_on_layout_and_process(self):
        """Fortran order, float64 and another process give the same hash."""
        values = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
        plain = Dataset.from_arrays(values, [0, 1, 0]).sha256
        assert Dataset.from_arrays(np.asfortranarray(values.astype(np.float64)), np.array([0, 1, 0], dtype=np.uint8)).sha256 == plain
        code = "from empirical.datasets import Dataset; print(Dataset.from_arrays([[1, 2], [3, 4], [5, 6]], [0, 1, 0]).sha256)"
        root = Path(__file__).resolve().parents[2]
        assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout.strip() == plain

    @pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
    def test_unit_rows_of_any_scale(self, scale: float):
        """No overflow or underflow of squares."""
        data = Dataset.from_arrays(np.array([[3.0, 4.0]]) * scale, [0], normalize="unit")
        assert data.train_inputs[0].tolist() == np.array([0.6, 0.8], dtype=np.float32).tolist()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([[1.0, np.nan]], [0]), r"train_inputs must be finite, got nan at index \[0, 1\]"),
            (([1.0, 2.0], [0, 1]), r"train_inputs must have shape \[n, d\]"),
            (([["a"]], [0]), "train_inputs must hold real numbers, got dtype"),
            (([[1e60]], [0]), "train_inputs must fit single precision"),
            (([[1.0]], [0, 1]), "train_truth must have one label per row of train_inputs"),
            (([[1.0]], [0.0]), "train_truth must hold integers, got dtype float64"),
            (([[1.0]], [-1]), r"train_truth must lie in 0..1 \(2 classes\), got -1 at index 0"),
            (([[1.0]], [0], [[1.0]]), "test_inputs and test_truth must be given together"),
            (([[1.0]], [0], [[1.0, 2.0]], [0]), "test_inputs must have 1 columns"),
            (([[1.0]], [0], [[1.0]], [0, 1]), "test_truth must have one label per row"),
        ],
    )
    def test_bad_arrays(self, arguments: tuple[object, ...], message: str):
        """One line that names the argument."""
        with pytest.raises(ValueError, match=message) as caught:
            Dataset.from_arrays(*arguments)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "mnits",
            {},
            "data set name must be one of 'clusters', 'digits', 'mnist', 'cifar10', 'images', got 'mnits'; did you mean 'mnist'?",
        ),
        (7, {}, "data set name must be one of"),
        ("digits", {"classes": (7, 11)}, "class '11' is not in 'digits', expected some of 0, 1"),
        ("digits", {"classes": (7, 7)}, "classes must be at least two different classes, got 7, 7"),
        ("digits", {"classes": (7,)}, "classes must be at least two different classes, got 7"),
        ("digits", {"classes": "79"}, "classes must be a sequence"),
        ("digits", {"classes": (7.0, 9.0)}, "classes must be integers or names, got 7.0"),
        ("digits", {"classes": (True, False)}, "classes must be integers or names, got True"),
        ("digits", {"n_train": 1199}, "n_train of 'digits' must be at most 1198, .* got 1199"),
        ("digits", {"n_test": 600}, "n_test of 'digits' must be at most 599"),
        ("digits", {"n_train": 0}, "n_train must be an integer >= 1, got 0"),
        ("digits", {"n_train": 10.0}, "n_train must be an integer >= 1, got 10.0"),
        ("digits", {"n_train": True}, "n_train must be an integer >= 1, got True"),
        ("digits", {"n_train": "ten"}, "n_train must be a number of samples or one count per class, got 'ten'"),
        ("digits", {"n_test": -1}, "n_test must be an integer >= 0, got -1"),
        ("digits", {"classes": (7, 9), "n_train": (1, 2, 3)}, "n_train of 'digits' must be one number or 2 counts"),
        ("digits", {"classes": (7, 9), "n_train": (500, 2)}, "n_train of 'digits' asks for 500 samples of class 7, expected at most 119"),
        ("digits", {"classes": (7, 9), "n_train": (0, 0)}, "n_train must have at least 1 sample"),
        ("digits", {"seed": -1}, "seed must be an integer >= 0, got -1"),
        ("digits", {"seed": 0.5}, "seed must be an integer >= 0, got 0.5"),
        ("digits", {"normalize": "max"}, "normalize must be one of 'unit', 'pixel', got 'max'"),
        ("digits", {"root": 3}, "root must be a folder's path, got 3"),
        ("clusters", {"classes": (0, 2)}, "classes of 'clusters' must be 0 to C - 1, got 0, 2"),
        ("clusters", {"n_train": 10**9}, "n_train of 'clusters' must be at most 20000000"),
    ],
)
def test_bad_requests(name: object, arguments: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(name, **arguments)
    assert "\n" not in str(caught.value)


def test_every_name_is_described():
    from empirical.sources import LOADERS

    assert set(DATASETS) == set(LOADERS)


@given(available=st.lists(st.integers(0, 40), min_size=1, max_size=6), data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_even_share_is_complete_feasible_and_as_even_as_possible(available: list[int], data: st.DataObject):
    """The shares add up, none exceeds what there is, and no class gives two fewer than another unless it has run out."""
    size = data.draw(st.integers(0, sum(available)))
    share = even_share(size, available, "n_train", [str(c) for c in range(len(available))])
    assert sum(share) == size
    assert all(part <= most for part, most in zip(share, available, strict=True))
    unexhausted = [part for part, most in zip(share, available, strict=True) if part < most]
    assert not unexhausted or max(share) - min(unexhausted) <= 1
