"""The address of a measurement: the canonical form of its specification, the key in the store, and what a record says of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import Field, fields
from typing import Any, ClassVar, Protocol

from empirical.specifications import MEASUREMENT_VERSION, DataSpec, NetworkSpec, TrainingSpec

__all__ = ["canonical_form", "key_of", "record_attributes"]


class _Specification(Protocol):
    """A frozen dataclass that names a measurement."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def name(self) -> str: ...

    @property
    def regime(self) -> str: ...

    def canonical(self) -> dict[str, Any]: ...


def canonical_form(kind: str, specification: _Specification, *, only_if_set: Collection[str] = ()) -> dict[str, Any]:
    """JSON-able form of all fields but the name, so of all that determines the measurement but the data themselves.

    Args:
        kind: of specification, in words.
        specification: whose fields are numbers, text, tuples of them, or the parts ``DataSpec``, ``NetworkSpec``, ``TrainingSpec``.
        only_if_set: flags that enter only when they are true: added later, they leave the keys of older records alone.
    """
    form: dict[str, Any] = {"kind": kind}
    for item in fields(specification):
        value = getattr(specification, item.name)
        if item.name == "name" or (item.name in only_if_set and not value):
            continue
        if isinstance(value, (DataSpec, NetworkSpec, TrainingSpec)):
            value = value.canonical()
        form[item.name] = list(value) if isinstance(value, tuple) else value
    return form


def key_of(canonical: dict[str, Any], data_sha256: str) -> str:
    """Hash of a canonical form, the data and the version of the instruments: sha256, hexadecimal."""
    content = {"specification": canonical, "data": data_sha256, "measurement_version": MEASUREMENT_VERSION}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


def record_attributes(specification: _Specification) -> dict[str, Any]:
    """What a record says of itself: name, specification, regime, version of the instruments."""
    return {
        "name": specification.name,
        "specification": json.dumps(specification.canonical(), sort_keys=True),
        "regime": specification.regime,
        "measurement_version": MEASUREMENT_VERSION,
    }
