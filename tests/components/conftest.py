"""What the tests of the components share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.components import parts


@pytest.fixture(autouse=True)
def clean_parts() -> Iterator[None]:
    parts.forget()
    yield
    parts.forget()
