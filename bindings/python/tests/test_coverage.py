"""Runs after all the others."""

import conftest


def test_every_function_of_the_facade_was_called() -> None:
    assert conftest.missing() == []
