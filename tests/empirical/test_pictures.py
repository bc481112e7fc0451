"""CIFAR-10 and pictures by class: exact contents from every place and format, and one clear line for whatever is damaged or missing."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from empirical import cifar_binary, pictures
from empirical.cifar_binary import CIFAR10_ARCHIVE, CIFAR10_CLASSES, CIFAR10_FILES, CIFAR10_FOLDER
from empirical.datasets import DATA_ROOT_VARIABLE, DatasetNotFound, load_dataset

COUNTS = {"train": 4, "test": 2}


def png(pixels: np.ndarray, **options: object) -> bytes:
    """PNG keeps every byte, so that contents can be compared exactly."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def written_pictures(classes: tuple[str, ...] = ("cat", "dog", "eel"), shape: tuple[int, ...] = (4, 5, 3)) -> dict[str, np.ndarray]:
    """Random pictures by file name; counts per class are those of ``COUNTS``."""
    rng = np.random.default_rng(0)
    return {
        f"{split}/{c}/{k:04d}.png": rng.integers(1, 256, shape, dtype=np.uint8)
        for split, count in COUNTS.items()
        for c in classes
        for k in range(count)
    }


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def encoded(pixels: dict[str, np.ndarray]) -> dict[str, bytes]:
    return {name: png(array) for name, array in pixels.items()}


def rows_of(pixels: dict[str, np.ndarray], split: str) -> np.ndarray:
    """Channel-first rows in the order of class names and file names, as float32 of byte/255."""
    arrays = [np.atleast_3d(array).transpose(2, 0, 1).reshape(-1) for name, array in sorted(pixels.items()) if name.startswith(split)]
    return (np.stack(arrays).astype(np.float64) / 255).astype(np.float32)


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "folder": write_folder,
    "zip": lambda path, files: write_zip(path / "pictures.zip", files),
    "zip-with-a-top-folder": lambda path, files: write_zip(
        path / "pictures.zip", {f"top/{name}": content for name, content in files.items()} | {"__MACOSX/top/train/cat/._1.png": b"x"}
    ),
}


class TestImages:
    """Any collection of pictures by class."""

    @pytest.mark.parametrize("kind", WRITERS)
    @pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5)], ids=["colour", "grey"])
    def test_contents(self, tmp_path: Path, kind: str, shape: tuple[int, ...]):
        """Every byte, in the order of classes and names, channel first; labels and names of the folders."""
        pixels = written_pictures(shape=shape)
        data = load_dataset("images", root=WRITERS[kind](tmp_path, encoded(pixels)), normalize="pixel")
        np.testing.assert_array_equal(data.train_inputs, rows_of(pixels, "train"))
        np.testing.assert_array_equal(data.test_inputs, rows_of(pixels, "test"))
        assert data.train_inputs.dtype == np.float32
        assert data.train_truth.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        assert data.class_names == ("cat", "dog", "eel")
        assert data.image_shape == ((3, 4, 5) if len(shape) == 3 else (4, 5))

    def test_classes_become_labels_in_the_order_asked(self, tmp_path: Path):
        """Classes named by numbers are sorted by value; label k is the k-th class asked for."""
        pixels = written_pictures(("10", "9", "2"))
        root = write_folder(tmp_path, encoded(pixels))
        assert load_dataset("images", root=root).class_names == ("2", "9", "10")
        data = load_dataset("images", root=root, classes=(10, 2), n_train=2, n_test=0, normalize="pixel")
        of_class = {c: {row.tobytes() for row in rows_of(pixels, f"train/{c}/")} for c in ("10", "2")}
        assert {(row.tobytes() in of_class["10"], int(label)) for row, label in zip(data.train_inputs, data.train_truth, strict=True)} == {
            (True, 0),
            (False, 1),
        }

    def test_unit_rows_and_subsets_are_those_of_the_whole(self, tmp_path: Path):
        """A larger set of the same seed contains the smaller one; rows are scaled to norm 1 in double precision, then rounded to float32.

        Rounding changes each entry by at most a share 2⁻²⁴ of it, and so the norm.
        """
        root = write_folder(tmp_path, encoded(written_pictures()))
        small, large = (load_dataset("images", root=root, n_train=n, seed=3) for n in (3, 9))
        assert {row.tobytes() for row in small.train_inputs} < {row.tobytes() for row in large.train_inputs}
        np.testing.assert_allclose(np.linalg.norm(large.train_inputs.astype(float), axis=1), 1, rtol=2**-24)

    @pytest.mark.parametrize("kind", ["folder", "zip"])
    def test_only_what_is_selected_is_decoded(self, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
        """Three training and three test pictures: six are decoded, beside the header of the first."""
        root = WRITERS[kind](tmp_path, encoded(written_pictures()))
        decoded: list[str] = []
        original = pictures._decode

        def counting(content: bytes, label: str, shape: tuple[int, ...]) -> np.ndarray:
            decoded.append(label)
            return original(content, label, shape)

        monkeypatch.setattr(pictures, "_decode", counting)
        load_dataset("images", root=root, n_train=3, n_test=3)
        assert len(decoded) == len(set(decoded)) == 6

    def test_threads_give_the_same_rows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """The order of decoding does not matter."""
        root = WRITERS["zip"](tmp_path, encoded(written_pictures()))
        alone = load_dataset("images", root=root)
        monkeypatch.setattr(pictures, "_PARALLEL", 1)
        assert load_dataset("images", root=root).sha256 == alone.sha256

    def test_palettes_and_grey_pictures_among_coloured_ones_become_colour(self, tmp_path: Path):
        """A grey picture has three equal channels."""
        pixels = written_pictures()
        grey = np.full((4, 5), 7, dtype=np.uint8)
        files = encoded(pixels) | {"train/dog/0000.png": png(grey)}
        data = load_dataset("images", root=write_folder(tmp_path, files), normalize="pixel")
        np.testing.assert_array_equal(data.train_inputs[4], np.full(60, 7 / 255, dtype=np.float32))

    def test_a_test_split_is_needed_only_if_asked_for(self, tmp_path: Path):
        """With ``n_test=0`` only the training split is looked at."""
        files = {name: content for name, content in encoded(written_pictures()).items() if name.startswith("train")}
        root = write_folder(tmp_path, files)
        assert len(load_dataset("images", root=root, n_test=0).test_inputs) == 0
        with pytest.raises(ValueError, match=r"no test/<class>/ in it, expected train/<class>/<picture> and test/<class>/<picture>"):
            load_dataset("images", root=root)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"train/dog/0001.png": b"no picture"}, r"dog/0001.png: damaged or no picture .*, expected one that Pillow can decode"),
            ({"train/cat/0000.png": b""}, r"cat/0000.png: damaged or no picture .*, expected one that Pillow can decode"),
            ({"train/dog/0001.png": png(np.ones((4, 5, 3), np.uint8))[:-30]}, r"dog/0001.png: damaged or no picture"),
            (
                {"test/eel/0000.png": png(np.ones((5, 5, 3), np.uint8))},
                r"eel/0000.png: got a picture of \[5, 5\] pixels, expected \[4, 5\]",
            ),
            ({"train/cat/0002.png": png(np.ones((4, 5, 4), np.uint8))}, r"0002.png: got a picture of mode RGBA, expected RGB, grey \(L\)"),
            ({"train/cat/notes.txt": b"x"}, r"got 'train/cat/notes.txt', expected train/<class>/<picture> and .* that ends in .jpg"),
            ({"train/cat/deep/1.png": b"x"}, r"got 'train/cat/deep.*', expected train/<class>/<picture>"),
            ({"train/newt/0000.png": png(np.ones((4, 5, 3), np.uint8))}, r"got no picture in test/newt, expected at least one for every"),
        ],
        ids=["no-picture", "empty", "truncated", "mixed-sizes", "transparency", "other-file", "too-deep", "class-without-pictures"],
    )
    @pytest.mark.parametrize("kind", ["folder", "zip"])
    def test_faults_are_one_line(self, tmp_path: Path, kind: str, change: dict[str, bytes], message: str):
        """Each names the file and what was expected."""
        root = WRITERS[kind](tmp_path, encoded(written_pictures()) | change)
        with pytest.raises(ValueError, match=message) as caught:
            load_dataset("images", root=root)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)

    def test_grey_collections_refuse_colour_and_empty_class_folders_count(self, tmp_path: Path):
        """Colour would be lost; a class without pictures is not passed over."""
        grey = encoded(written_pictures(shape=(4, 5)))
        root = write_folder(tmp_path / "a", grey | {"test/dog/0001.png": png(np.ones((4, 5, 3), np.uint8))})
        with pytest.raises(ValueError, match=r"0001.png: got a colour picture \(mode RGB\), expected grey"):
            load_dataset("images", root=root)
        root = write_folder(tmp_path / "b", grey)
        (root / "train" / "ant").mkdir()
        with pytest.raises(ValueError, match="got no picture in train/ant, expected at least one for every class"):
            load_dataset("images", root=root)

    @pytest.mark.parametrize(
        "name", ["../train/cat/9.png", "train/../../cat/9.png", "/train/cat/9.png", "..\\train\\cat\\9.png", "C:/9.png"]
    )
    def test_members_that_lead_out_of_the_archive_are_refused(self, tmp_path: Path, name: str):
        """Although nothing is unpacked to disk."""
        root = write_zip(tmp_path / "a.zip", encoded(written_pictures()) | {name: b"x"})
        with pytest.raises(ValueError, match=r"a.zip: member .* leads out of the archive, expected paths inside it"):
            load_dataset("images", root=root)

    def test_damaged_archives(self, tmp_path: Path):
        """Cut short; and a member whose bytes do not fit their checksum."""
        root = write_zip(tmp_path / "a.zip", encoded(written_pictures()))
        content = root.read_bytes()
        (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=r"cut.zip: cannot be opened .*, expected a folder or a zip archive"):
            load_dataset("images", root=tmp_path / "cut.zip")
        place = content.index(b"train/dog/0001.png") + len(b"train/dog/0001.png") + 20
        (tmp_path / "bad.zip").write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        with pytest.raises(ValueError, match=r"bad.zip/train/dog/0001.png: cannot be read \(Bad CRC-32"):
            load_dataset("images", root=tmp_path / "bad.zip")

    def test_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """One line: what, where, how to get it."""
        monkeypatch.delenv(DATA_ROOT_VARIABLE, raising=False)
        with pytest.raises(DatasetNotFound, match="no data root is given; pass root=PATH of a folder or zip archive"):
            load_dataset("images")
        with pytest.raises(DatasetNotFound, match=r"nothing at .*images.zip"):
            load_dataset("images", root=tmp_path)


def records(seed: int, count: int) -> np.ndarray:
    """Records of CIFAR-10: label byte, then 3072 pixels."""
    rng = np.random.default_rng(seed)
    content = rng.integers(1, 256, (count, 3073), dtype=np.uint8)
    content[:, 0] = np.arange(count) % 10
    return content


def binary_files() -> dict[str, bytes]:
    return {name: records(k, 20).tobytes() for k, name in enumerate(CIFAR10_FILES)}


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


class TestCifar10:
    """The official binary version, else pictures."""

    @pytest.mark.parametrize("place", ["", "cifar10"], ids=["root", "subfolder"])
    @pytest.mark.parametrize("kind", ["files", "folder", "archive"])
    def test_contents_of_the_binary_version(self, tmp_path: Path, place: str, kind: str):
        """Every byte, from loose files, their folder or the archive, at both places."""
        folder = tmp_path / place
        if kind == "archive":
            write_tar(folder / CIFAR10_ARCHIVE, {f"{CIFAR10_FOLDER}/{name}": content for name, content in binary_files().items()})
        else:
            write_folder(folder / (CIFAR10_FOLDER if kind == "folder" else ""), binary_files())
        data = load_dataset("cifar10", root=tmp_path, normalize="pixel")
        expected = np.concatenate([records(k, 20) for k in range(5)])
        np.testing.assert_array_equal(data.train_inputs, (expected[:, 1:] / 255).astype(np.float32))
        np.testing.assert_array_equal(data.train_truth, expected[:, 0])
        np.testing.assert_array_equal(data.test_inputs, (records(5, 20)[:, 1:] / 255).astype(np.float32))
        assert (data.n_classes, data.image_shape, data.name, data.class_names) == (10, (3, 32, 32), "cifar10", CIFAR10_CLASSES)

    @pytest.mark.parametrize("place", ["cifar10.zip", "cifar10/cifar10-jpeg.zip", "cifar-10-pictures.zip", "cifar10", ""])
    def test_pictures_where_the_binary_version_is_not_there(self, tmp_path: Path, place: str):
        """The same pixels give the same data as the binary version would."""
        pixels = written_pictures(CIFAR10_CLASSES, (32, 32, 3))
        (write_zip if place.endswith("zip") else write_folder)(tmp_path / place, encoded(pixels))
        data = load_dataset("cifar10", root=tmp_path, normalize="pixel")
        np.testing.assert_array_equal(data.train_inputs, rows_of(pixels, "train"))
        assert data.class_names == CIFAR10_CLASSES
        assert data.image_shape == (3, 32, 32)
        two = load_dataset("cifar10", root=tmp_path, classes=("dog", "cat"), n_train=4, n_test=2)
        assert two.class_names == ("dog", "cat")
        write_folder(tmp_path / CIFAR10_FOLDER, binary_files())
        assert len(load_dataset("cifar10", root=tmp_path).train_inputs) == 100  # the binary version comes first

    def test_other_pictures_are_not_cifar10(self, tmp_path: Path):
        """Whatever lies in the folder of that name must be CIFAR-10."""
        write_folder(tmp_path / "cifar10", encoded(written_pictures()))
        with pytest.raises(ValueError, match=r"got classes cat, dog, eel and pictures \[3, 4, 5\], expected the ten of CIFAR-10"):
            load_dataset("cifar10", root=tmp_path)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("data_batch_3.bin", b"", r"data_batch_3.bin: got 0 bytes, expected a positive multiple of 3073"),
            ("test_batch.bin", records(5, 2).tobytes()[:-1], r"test_batch.bin: got 6145 bytes, expected a positive multiple of 3073"),
            ("data_batch_1.bin", b"\x0b" * 3073, r"data_batch_1.bin: got label 11 in record 0, expected 0 to 9"),
            ("data_batch_4.bin", records(3, 19).tobytes(), r"data_batch_4.bin: got 19 records, expected 20 as in the other files"),
            ("data_batch_2.bin", None, r"data_batch_2.bin"),
        ],
        ids=["empty", "truncated", "label", "cut-at-a-record", "missing"],
    )
    @pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
    def test_damaged_binary_files(self, tmp_path: Path, packed: bool, name: str, content: bytes | None, message: str):
        """Each names the file and what was expected."""
        files = {key: value for key, value in (binary_files() | {name: content}).items() if value is not None}
        if packed:
            write_tar(tmp_path / CIFAR10_ARCHIVE, files)
        else:
            write_folder(tmp_path, files)
        with pytest.raises(ValueError, match=message) as caught:
            load_dataset("cifar10", root=tmp_path)
        assert "\n" not in str(caught.value)

    def test_damaged_archives(self, tmp_path: Path):
        """A member that climbs out; an archive cut short."""
        archive = write_tar(tmp_path / "a" / CIFAR10_ARCHIVE, binary_files() | {"../escape.bin": b"x"})
        with pytest.raises(ValueError, match=r"member '../escape.bin' leads out of the archive"):
            load_dataset("cifar10", root=archive.parent)
        archive.write_bytes(archive.read_bytes()[:1000])
        with pytest.raises(ValueError, match=r"damaged archive \(.*\), expected the official cifar-10-binary.tar.gz"):
            load_dataset("cifar10", root=archive.parent)

    def test_an_archive_is_unpacked_once_and_again_when_it_changes(self, tmp_path: Path):
        """A changed archive is read anew in the same process."""
        archive = write_tar(tmp_path / CIFAR10_ARCHIVE, binary_files())
        cifar_binary._unpack_once.cache_clear()
        first = load_dataset("cifar10", root=tmp_path)
        assert load_dataset("cifar10", root=tmp_path).sha256 == first.sha256
        assert cifar_binary._unpack_once.cache_info().misses == 1
        write_tar(archive, binary_files() | {"test_batch.bin": records(9, 20).tobytes()})
        os.utime(archive, ns=(1, 1))
        assert load_dataset("cifar10", root=tmp_path).sha256 != first.sha256

    def test_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """One line: what, where, how to get it."""
        monkeypatch.delenv(DATA_ROOT_VARIABLE, raising=False)
        with pytest.raises(DatasetNotFound, match=r"no data root is given; get the official cifar-10-binary.tar.gz, or its pictures"):
            load_dataset("cifar10")
        with pytest.raises(DatasetNotFound, match=r"neither cifar-10-binary.tar.gz nor pictures in .*cifar10 or ") as caught:
            load_dataset("cifar10", root=tmp_path)
        assert "\n" not in str(caught.value)

    def test_the_real_pictures(self):
        """Real CIFAR-10 (skipped where it is not there): classes balanced, values in [0, 1], mean near the known 0.47."""
        root = os.environ.get(DATA_ROOT_VARIABLE) or Path(__file__).resolve().parents[3] / "shared" / "data"
        try:
            data = load_dataset("cifar10", root=root, n_train=400, n_test=100, normalize="pixel")
        except DatasetNotFound as missing:
            pytest.skip(str(missing))
        assert data.train_inputs.shape == (400, 3072)
        assert np.bincount(data.train_truth).tolist() == [40] * 10
        assert np.bincount(data.test_truth).tolist() == [10] * 10
        assert data.class_names == CIFAR10_CLASSES
        # A picture's mean brightness has standard deviation 0.13 over CIFAR-10: 0.1 is 15 standard errors of the mean of 400.
        assert abs(float(data.train_inputs.mean()) - 0.47) < 0.1
