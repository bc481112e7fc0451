"""``clean-priority store ls | verify | gc | export``: what lies in the store, whether it is sound, sweeping, taking it elsewhere."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empirical.store import Store, StoreWarning
from empirical.store_upkeep import StoreEntry, export_store, list_store, sweep_store

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ACTIONS"]


def list_records(options: argparse.Namespace, console: Console) -> int:
    """Print one line per record; exit code 0."""
    store = _open(options)
    entries = list_store(store)
    if options.json:
        console.print_json(json.dumps([_plain(entry) for entry in entries]))
        return 0
    from rich.table import Table

    table = Table(title=f"{len(entries)} records in {store.path}", title_justify="left", box=None, pad_edge=False)
    for name, justify in (("key", "left"), ("name", "left"), ("regime", "left"), ("device", "left"), ("seconds", "right"), ("kB", "right")):
        table.add_column(name, justify=justify, no_wrap=name == "key")  # type: ignore[arg-type]
    table.add_column("remark")
    for entry in entries:
        seconds = "" if entry.seconds != entry.seconds else f"{entry.seconds:.3g}"
        remark = f"unreadable: {entry.fault}" if entry.fault else "; ".join(entry.departures)
        table.add_row(entry.key[:12], entry.name, entry.regime, entry.device, seconds, f"{entry.size / 1000:.0f}", remark)
    console.print(table)
    other = sum(bool(entry.departures) for entry in entries)
    if other:
        console.print(f"{other} made under another policy: they are not judged (clean-priority store gc --other-policy moves them aside)")
    return 0


def verify_records(options: argparse.Namespace, console: Console) -> int:
    """Read every record against its checksum; exit code 1 if one was set aside."""
    store = _open(options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StoreWarning)
        sound = store.verify()
    for warning in caught:
        console.print(str(warning.message), soft_wrap=True, markup=False)
    damaged = sum(not one for one in sound.values())
    console.print(f"{len(sound) - damaged} of {len(sound)} records sound in {store.path}", soft_wrap=True, markup=False)
    return 1 if damaged else 0


def sweep(options: argparse.Namespace, console: Console) -> int:
    """Remove what interrupted runs left; exit code 0."""
    store = _open(options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreWarning)  # the summary below says it
        swept = sweep_store(
            store,
            older_hours=options.older,
            set_aside=options.set_aside,
            other_policy=options.other_policy,
            dry_run=options.dry_run,
        )
    would = "would be " if options.dry_run else ""
    for verb, paths in (("removed", (*swept.temporary, *swept.removed)), ("set aside", swept.moved)):
        for path in paths:
            console.print(f"{would}{verb}: {path}", soft_wrap=True, markup=False)
    files = f"{len(swept.temporary)} unfinished and {len(swept.removed)} set-aside files"
    counts = f"{files} {would}removed, {len(swept.moved)} records {would}set aside"
    console.print(counts, soft_wrap=True)
    return 0


def export(options: argparse.Namespace, console: Console) -> int:
    """Copy records to a folder or zip archive; exit code 0."""
    store = _open(options)
    keys = [_whole_key(store, key) for key in options.keys] or None
    try:
        entries = export_store(store, options.target, keys=keys)
    except OSError as error:
        raise ValueError(f"{options.target}: cannot be written: {error.strerror or error}") from None
    console.print(f"{len(entries)} records with index.csv and index.json in {options.target}", soft_wrap=True, markup=False)
    return 0


ACTIONS: dict[str, Callable[[argparse.Namespace, Console], int]] = {
    "ls": list_records,
    "verify": verify_records,
    "gc": sweep,
    "export": export,
}
"""Action → function of the options that returns the exit code."""


def _open(options: argparse.Namespace) -> Store:
    """The store; one that is named must be there."""
    store = Store(options.store)
    if options.store is not None and not store.path.is_dir():
        raise ValueError(f"store must be the path of a folder, got {Path(options.store)}")
    return store


def _whole_key(store: Store, start: str) -> str:
    """The one key that starts so."""
    found = [key for key in store.keys() if key.startswith(start)] if start else []  # noqa: SIM118
    if len(found) != 1:
        raise ValueError(f"key must be the start of one record's key, got {start!r}, which fits {len(found)} records")
    return found[0]


def _plain(entry: StoreEntry) -> dict[str, Any]:
    """A record as JSON values."""
    fields = dict(vars(entry))
    return fields | {"departures": list(entry.departures), "seconds": None if entry.seconds != entry.seconds else entry.seconds}
