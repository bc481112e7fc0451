"""Nothing is unpickled, evaluated or run by a shell; downloads are pinned; archives do not climb; one option imports code."""

from __future__ import annotations

import ast
import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from empirical.cifar_binary import CIFAR10_ARCHIVE, CIFAR10_FILES, CIFAR10_FOLDER
from empirical.datasets import load_dataset
from empirical.downloads import DOWNLOADS, Download, fetch_dataset, is_official

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("theory", "empirical", "reports") for path in (ROOT / room).rglob("*.py"))

FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "shelve", "marshal", "cloudpickle", "joblib.externals", "pty", "imp"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.spawnl", "subprocess.getoutput"}
FORBIDDEN_CALLS |= {"runpy.run_path", "runpy.run_module"}
UNPICKLING = {"np.load": "allow_pickle", "numpy.load": "allow_pickle", "torch.load": "weights_only"}
PICKLING_ANYWAY = {"joblib.load", "pd.read_pickle", "pandas.read_pickle", "torch.jit.load", "yaml.load", "numpy.lib.format.read_array"}
NETWORK = {"urllib", "http", "requests", "socket", "ftplib", "httpx", "aiohttp", "pooch"}
MAY_IMPORT_BY_NAME = {
    "reports/diagnosis_files.py": "the network factory named on the command line",
    "reports/own_claims.py": "the file of claims named on the command line; cloudpickle, between the processes of one run",
    "reports/__init__.py": "modules of this package, when they are first used",
}


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an expression; "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def imported(tree: ast.Module) -> dict[str, str]:
    """What the names that a source imports stand for: ``np`` → ``numpy``, ``load`` → ``numpy.load``."""
    meaning = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            meaning |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            meaning |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return meaning


def offences(source: str) -> list[str]:
    """What a source does that it must not."""
    found = []
    tree = ast.parse(source)
    meaning = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"import {name}" for name in names if any(name == bad or name.startswith(f"{bad}.") for bad in FORBIDDEN_MODULES)]
        if not isinstance(node, ast.Call):
            continue
        head, dot, rest = dotted(node.func).partition(".")
        name = f"{meaning.get(head, head)}{dot}{rest}"
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in FORBIDDEN_CALLS | PICKLING_ANYWAY:
            found.append(f"{name}(…)")
        wanted = UNPICKLING.get(name)
        if wanted is not None:
            safe = keywords.get(wanted)
            if not (isinstance(safe, ast.Constant) and safe.value is (wanted == "weights_only")):
                found.append(f"{name} without {wanted}={wanted == 'weights_only'}")
        shell = keywords.get("shell")
        if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
            found.append(f"{name} with shell")
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("extractall", "extract") and "filter" not in keywords:
            found.append(f"{name} without a filter")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_unpickles_evaluates_or_calls_a_shell(path: Path) -> None:
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import numpy as np; np.load('x.npy', allow_pickle=True)",
        "import numpy as np; np.load('x.npy')",
        "from numpy import load; load('x.npy', allow_pickle=True)",
        "import numpy as numbers; numbers.load('x.npy')",
        "import torch; torch.load('x.pt')",
        "from torch import load as read; read('x.pt')",
        "import torch; torch.load('x.pt', weights_only=False)",
        "import joblib; joblib.load('x')",
        "eval('1')",
        "exec(text)",
        "import os; os.system('ls')",
        "from os import system; system('ls')",
        "import runpy; runpy.run_path('x.py')",
        "import subprocess; subprocess.run('ls', shell=True)",
        "import subprocess; subprocess.run('ls', shell=flag)",
        "import tarfile; tarfile.open('x').extractall('y')",
    ],
)
def test_that_test_can_fail(source: str) -> None:
    assert offences(source)


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np; np.load('x.npy', allow_pickle=False)",
        "import torch; torch.load('x.pt', weights_only=True)",
        "import subprocess; subprocess.run(['git'])",
        "import re; re.compile('a')",
    ],
)
def test_what_is_safe_passes(source: str) -> None:
    assert offences(source) == []


def test_only_downloads_opens_connections() -> None:
    """The cluster's connections are Dask's."""
    for path in SOURCES:
        modules = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            if name != "urllib.parse"  # takes addresses apart, opens none
        }
        assert path.name == "downloads.py" or not modules & NETWORK, path
        plain = re.findall(r"http://(?!www\.w3\.org/)\S+", path.read_text())  # names of XML vocabularies are no addresses
        assert path.name == "downloads.py" or not plain, path


def test_only_the_network_factory_is_imported_by_name() -> None:
    for path in SOURCES:
        if "import_module" in path.read_text() or "spec_from_file_location" in path.read_text():
            assert str(path.relative_to(ROOT)) in MAY_IMPORT_BY_NAME, path


@pytest.mark.parametrize("download", [one for files in DOWNLOADS.values() for one in files], ids=lambda one: one.name)
def test_downloads_are_https_and_pinned(download: Download) -> None:
    assert len(set(download.urls)) >= 2  # one that does not answer is not the end
    assert all(url.startswith("https://") and url.endswith(f"/{download.name}") for url in download.urls)
    assert re.fullmatch(r"[0-9a-f]{64}", download.sha256)


def test_an_address_without_https_is_refused() -> None:
    with pytest.raises(ValueError, match="each of urls must start with https://, got 'http://host/x'"):
        Download(urls=("https://host/x", "http://host/x"), name="x", sha256="0" * 64)
    with pytest.raises(ValueError, match="urls must be a tuple of at least one address, got"):
        Download(urls=(), name="x", sha256="0" * 64)
    with pytest.raises(ValueError, match="a plain file name"):
        Download(urls=("https://host/x",), name="../x", sha256="0" * 64)


class _Handler(BaseHTTPRequestHandler):
    content = b"not what was promised"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on this machine that gives everybody the same file."""
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/file"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server() -> Iterator[str]:
    with serving(_Handler) as url:
        yield url


def planted(*urls: str, sha256: str) -> dict[str, tuple[Download, ...]]:
    """A download whose addresses were changed behind the check for HTTPS, as a test may."""
    download = Download(urls=("https://host/file",), name="file", sha256=sha256)
    object.__setattr__(download, "urls", urls)
    return {"planted": (download,)}


@pytest.fixture
def dead() -> str:
    """An address on this machine where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/file"


class _Altered(_Handler):
    content = b"an altered file"


def test_only_the_pinned_file_is_kept(server: str, tmp_path: Path) -> None:
    pytest.importorskip("pooch", reason="the extra [download] is not installed")
    right = hashlib.sha256(b"not what was promised").hexdigest()
    with pytest.raises(ValueError, match="cannot be fetched") as caught:
        fetch_dataset("planted", tmp_path / "a", downloads=planted(server, sha256="0" * 64))
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "a").rglob("*") if path.is_file()] == []
    (path,) = fetch_dataset("planted", tmp_path / "b", downloads=planted(server, sha256=right))
    assert path.read_bytes() == b"not what was promised"
    assert fetch_dataset("planted", tmp_path / "b", downloads=planted("https://nowhere.invalid/x", sha256=right)) == [path]  # it is there
    path.write_bytes(b"changed")
    with pytest.raises(ValueError, match="not the official file, got SHA-256"):
        fetch_dataset("planted", tmp_path / "b", downloads=planted(server, sha256=right))
    assert path.read_bytes() == b"changed"  # never overwritten


def test_the_next_address_is_tried_where_one_is_dead_or_gives_another_file(server: str, dead: str, tmp_path: Path) -> None:
    pytest.importorskip("pooch", reason="the extra [download] is not installed")
    right = hashlib.sha256(_Handler.content).hexdigest()
    with serving(_Altered) as altered:
        (path,) = fetch_dataset("planted", tmp_path / "a", downloads=planted(dead, altered, server, sha256=right))
        assert path.read_bytes() == _Handler.content
        with pytest.raises(ValueError, match=r"^file: cannot be fetched from http://") as caught:
            fetch_dataset("planted", tmp_path / "b", downloads=planted(dead, altered, sha256=right))
    text = str(caught.value)
    assert f"{dead} (ConnectionError: " in text
    assert f"{altered} (ValueError: SHA256 hash of downloaded file" in text
    assert "\n" not in text
    assert [path for path in (tmp_path / "b").rglob("*") if path.is_file()] == []


def test_a_copy_that_was_packed_anew_is_official(tmp_path: Path) -> None:
    content = b"official content"
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(content))
    download = Download(urls=("https://host/x",), name="file.gz", sha256="0" * 64, content_sha256=hashlib.sha256(content).hexdigest())
    assert is_official(path, download)
    path.write_bytes(gzip.compress(b"something else"))
    assert not is_official(path, download)
    path.write_bytes(b"no archive")
    assert not is_official(path, download)


CLIMBING = ["../evil.png", "train/../../evil.png", "/etc/evil.png", "..\\evil.png", "C:/evil.png", "train/a/../../../evil.png"]


@pytest.mark.parametrize("name", CLIMBING)
def test_zip_members_that_climb_out_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "inner" / "pictures.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train/a/1.png", b"x")
        archive.writestr(zipfile.ZipInfo(name), b"evil")
    with pytest.raises(ValueError, match="leads out of the archive, expected paths inside it") as caught:
        load_dataset("images", root=path)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["pictures.zip"]  # nothing is unpacked


@pytest.mark.parametrize("name", CLIMBING)
def test_tar_members_that_climb_out_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "cifar10" / CIFAR10_ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for member, content in ((f"{CIFAR10_FOLDER}/{CIFAR10_FILES[0]}", bytes(3073)), (name, b"evil")):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with pytest.raises(ValueError, match="leads out of the archive"):
        load_dataset("cifar10", root=tmp_path)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == [CIFAR10_ARCHIVE]


def test_a_pickled_array_is_no_measurement(tmp_path: Path) -> None:
    """What would run code if it were unpickled is set aside unread."""
    from empirical.store import Store, StoreWarning

    path = tmp_path / f"{'a' * 64}.nc"
    np.save(path.with_suffix(".npy"), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    path.with_suffix(".npy").rename(path)
    with pytest.warns(StoreWarning, match="set aside"):
        assert Store(tmp_path).get("a" * 64) is None


AUDITED = {"name": "sound", "version": "1.0", "vulns": []}
VULNERABLE = {"name": "weak", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "unknown", "skip_reason": "the service cannot be reached"}


@pytest.mark.skipif(os.name != "posix", reason="the made-up pip-audit is a shell script")
@pytest.mark.parametrize(
    ("found", "says", "code"),
    [
        ([AUDITED, AUDITED], "2 of 2 dependencies audited, 0 with a known vulnerability", 0),
        ([AUDITED, VULNERABLE], "weak 2.0: PYSEC-1, fixed in 2.1", 1),
        ([SKIPPED, SKIPPED], "SKIPPED pip-audit: its database cannot be reached (0 of 2 dependencies audited)", 0),
        (None, "SKIPPED pip-audit: it did not run", 0),
    ],
    ids=["sound", "vulnerable", "no-database", "not-installed"],
)
def test_the_audit_in_ci_finds_or_says_that_it_is_skipped(found: list[object] | None, says: str, code: int, tmp_path: Path) -> None:
    if found is not None:
        (tmp_path / "found.json").write_text(json.dumps({"dependencies": found}))
        (tmp_path / "pip-audit").write_text(f"#!/bin/sh\ncat {tmp_path / 'found.json'}\n")
        (tmp_path / "pip-audit").chmod(0o755)
    path = str(tmp_path) if found is None else f"{tmp_path}{os.pathsep}{os.defpath}"
    done = subprocess.run([sys.executable, str(ROOT / ".ci" / "audit")], capture_output=True, text=True, cwd=ROOT, env={"PATH": path})
    assert says in done.stdout
    assert done.returncode == code


def test_ci_runs_the_audit() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "python .ci/audit" in lines
    assert any(line.startswith("set -e") for line in lines)  # a vulnerability ends the run
