"""The official files of MNIST and CIFAR-10, fetched on request only, over HTTPS only, and kept only if their SHA-256 is the pinned one.

Nothing else in this project opens a connection to the internet. Each file lies at two addresses; what is kept is the same, wherever it came
from. The hashes are those that several independent public loaders of these files pin; for CIFAR-10 they name the file whose MD5 stands on
the authors' page. For MNIST the hash of the unpacked images and labels is pinned, too, so that a copy that was packed anew can be checked.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from empirical._validation import check_choice
from empirical.cifar_binary import CIFAR10_ARCHIVE

__all__ = ["DOWNLOADS", "Download", "fetch_dataset", "is_official"]


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file to be fetched.

    Attributes:
        urls: where it lies; HTTPS; tried in this order.
        name: of the file under the data set's folder.
        sha256: of the file, hexadecimal.
        content_sha256: of what a gzip file unpacks to; "" where that is not pinned.
    """

    urls: tuple[str, ...]
    name: str
    sha256: str
    content_sha256: str = ""

    def __post_init__(self) -> None:
        if not self.urls or isinstance(self.urls, str):
            raise ValueError(f"urls must be a tuple of at least one address, got {self.urls!r}")
        for url in self.urls:
            if not url.startswith("https://"):
                raise ValueError(f"each of urls must start with https://, got {url!r}")
        if len(self.sha256) != 64 or Path(self.name).name != self.name:
            raise ValueError(f"download must have a SHA-256 and a plain file name, got {self.sha256!r} and {self.name!r}")


_MNIST = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
_CIFAR10 = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")


def _mnist(name: str, sha256: str, content_sha256: str) -> Download:
    return Download(urls=tuple(folder + name for folder in _MNIST), name=name, sha256=sha256, content_sha256=content_sha256)


DOWNLOADS: Mapping[str, tuple[Download, ...]] = MappingProxyType(
    {
        "mnist": (
            _mnist(
                "train-images-idx3-ubyte.gz",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            _mnist(
                "train-labels-idx1-ubyte.gz",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            _mnist(
                "t10k-images-idx3-ubyte.gz",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            _mnist(
                "t10k-labels-idx1-ubyte.gz",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
        "cifar10": (
            Download(
                urls=tuple(folder + CIFAR10_ARCHIVE for folder in _CIFAR10),
                name=CIFAR10_ARCHIVE,
                sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
    }
)
"""Data set → its files."""


def fetch_dataset(name: str, root: str | os.PathLike[str], *, downloads: Mapping[str, tuple[Download, ...]] = DOWNLOADS) -> list[Path]:
    """Fetch the official files of a data set that are not there yet into ``root/<name>``.

    A file that is there is left alone if it is the official one, and is an error otherwise; it is never overwritten. Where one address does
    not give the pinned file, the next is tried.

    Args:
        name: one of ``DOWNLOADS``.
        root: data root, as for ``load_dataset``; made if need be.
        downloads: what may be fetched.

    Returns:
        Paths of the files.

    Raises:
        ValueError: if the name is unknown, pooch is not installed, a file is there that is not the official one, or no address gives the
            file with the pinned SHA-256 (nothing else is kept); the line names all addresses and what was wrong with each.
    """
    check_choice(name, "data set to fetch", tuple(downloads))
    folder = Path(root).expanduser() / name
    paths = []
    for download in downloads[name]:
        path = folder / download.name
        if path.exists():
            if not is_official(path, download):
                raise ValueError(f"{path}: not the official file, got SHA-256 {_sha256(path)[:12]}…, expected {download.sha256[:12]}…")
        else:
            _retrieve(download, folder)
        paths.append(path)
    return paths


def is_official(path: Path, download: Download) -> bool:
    """Whether a file has the pinned hash, packed or unpacked.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        if _sha256(path) == download.sha256:
            return True
        if not download.content_sha256:
            return False
        with gzip.open(path, "rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return False
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    return digest.hexdigest() == download.content_sha256


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _retrieve(download: Download, folder: Path) -> None:
    """Fetch one file; pooch writes it under a temporary name and renames it only if the hash is right."""
    try:
        import pooch
    except ImportError:
        raise ValueError('fetching needs pooch, which is not installed: python -m pip install "clean-priority[download]"') from None
    pooch.get_logger().setLevel("ERROR")
    failures = []
    for url in download.urls:
        try:
            pooch.retrieve(url, known_hash=f"sha256:{download.sha256}", fname=download.name, path=folder, downloader=pooch.HTTPDownloader())
        except Exception as error:  # requests raises many kinds
            failures.append(f"{url} ({type(error).__name__}: {' '.join(str(error).split())[:200]})")
        else:
            return
    raise ValueError(f"{download.name}: cannot be fetched from {', nor from '.join(failures)}")
