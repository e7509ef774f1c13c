"""Records which functions of the interface are called."""

from __future__ import annotations

import re
from typing import Any

import pytest
import support
from libmusig._ffi import musig as generated

PREFIX = "uniffi_libmusig_fn_"
NAMES = sorted(
    name
    for name in set(re.findall(r"uniffi_libmusig_fn_\w+", open(generated.__file__).read()))
    if not re.match(PREFIX + "(clone|free|init)_", name)
)


def record(name: str) -> None:
    original = getattr(generated._UniffiLib, name)

    def recording(*arguments: Any) -> Any:
        support.COVERED.add(name[len(PREFIX) :])
        return original(*arguments)

    setattr(generated._UniffiLib, name, recording)


for _name in NAMES:
    record(_name)


@pytest.fixture(autouse=True)
def baseline() -> None:
    support.BASELINE.clear()
    support.BASELINE.update(support.live())


def missing() -> list[str]:
    return [name[len(PREFIX) :] for name in NAMES if name[len(PREFIX) :] not in support.COVERED]


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """What looks at all the others comes last."""
    items.sort(key=lambda item: item.path.name == "test_coverage.py")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.section("functions of the facade")
    gone = set(missing())
    for name in NAMES:
        short = name[len(PREFIX) :]
        terminalreporter.line(f"{'MISSING' if short in gone else 'covered':<9}{short}")
    terminalreporter.line(f"{len(NAMES) - len(gone)} of {len(NAMES)} covered")
