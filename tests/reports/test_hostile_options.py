"""Every option of the command line with hostile values: the work begins, or one line and exit code 2; nothing half-written."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import reports.__main__ as command_line

WORDS = {
    "empty": "",
    "blank": " ",
    "nan": "nan",
    "inf": "inf",
    "minus-one": "-1",
    "zero": "0",
    "fraction": "0.37",
    "huge": "1" + "0" * 400,
    "number-and-text": "12x",
    "hexadecimal": "0x10",
    "long": "x" * 5000,
    "markup": "<script>alert(1)</script>",
    "newline": "a\nb",
    "quote": "a'b\"c",
    "path-out": "../../../../etc/passwd",
    "missing-path": "/nonexistent/folder/file",
    "device-file": "/dev/null",
    "shell": "$(touch pwned); `touch pwned`",
    "rich-markup": "[red]x[/red]",
    "unpaired-surrogate": os.fsdecode(b"\xff\xfe"),
    "module": "os:system",
    "option": "--help-me",
    "comma": ",,,",
    "bidi": "\u202egnp.exe",
}

# What comes before the option, so that nothing else is wrong; {report} is the folder of a good report.
VALID = {
    "report": [],
    "claims": [],
    "render": ["{report}"],
    "compare": ["{report}", "{report}"],
    "diagnose": ["--data", "digits", "--classes", "7,9", "--noise", "0.4"],
    "store ls": [],
    "store verify": [],
    "store gc": ["--dry-run"],
    "store export": ["{new}"],
    "fetch": ["mnist", "{new}"],
}


# Where the work begins, which is not done here.
WORK = (
    ("reports.harness", "run_claims"),
    ("reports.diagnose", "diagnose"),
    ("reports.plugin", "check_cluster"),
    ("empirical.downloads", "_retrieve"),
)


class _BeganError(Exception):
    """The arguments were taken and the work would begin."""


def _commands(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for name, sub in action.choices.items():
            yield from _commands(sub, f"{prefix} {name}".strip())
    if not below:
        yield prefix, parser


COMMANDS = dict(_commands(command_line._parser()))
CASES = [
    pytest.param(command, action, word, id=f"{command}-{(action.option_strings or [action.dest])[-1]}={label}")
    for command, parser in COMMANDS.items()
    for action in parser._actions
    if action.nargs != 0
    for label, word in WORDS.items()
]


def test_every_command_is_attacked() -> None:
    assert set(COMMANDS) == set(VALID)
    assert len(CASES) >= 900


@pytest.mark.parametrize(("command", "action", "word"), CASES)
def test_hostile_option(
    command: str,
    action: argparse.Action,
    word: str,
    written: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("CLEAN_PRIORITY_STORE", str(tmp_path / "store"))
    for module, function in WORK:
        monkeypatch.setattr(importlib.import_module(module), function, _begin)

    given = [part.format(report=written, new=tmp_path / "new") for part in VALID[command]]
    if action.option_strings:
        words = [*given, f"{action.option_strings[-1]}={word}"]
    else:
        place = [a.dest for a in COMMANDS[command]._actions if not a.option_strings].index(action.dest)
        words = [*given[:place], word, *given[place + 1 :]] if len(given) > place and not given[place].startswith("-") else [word, *given]
    try:
        code = command_line.main([*command.split(), *words])
    except _BeganError:
        return
    said = capfd.readouterr().err
    assert code in (0, 1, 2)
    if code == 2:
        assert len(said.strip().splitlines()) == 1, said
        assert len(said) <= 7000
        assert "Traceback" not in said
    assert not list(here.glob("pwned"))


def _begin(*arguments: object, **options: object) -> object:
    raise _BeganError
