"""Which files of this machine the children see otherwise, where they may have mounts of their own.

/etc/resolv.conf, nsswitch.conf    a name server of the stage, which is away or silent
CA stores, certifi's bundle        the same, and the authority that the stage's https is from
the store, in ``empty-ca-store``   nothing
.env and its like                  nothing, for other programs than Python too
closed folders (as root)           nothing but what the project needs
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from resilience.rehearse.request import Request
from resilience.simulation import ca_store, name_server
from resilience.simulation.mounts import View

if TYPE_CHECKING:
    from resilience.simulation.authority import Authority


@dataclass(frozen=True)
class Sights:
    """``authority`` is in every store; None where trustme is not installed.

    ``opened`` are folders that any user shall reach, ``hidden`` files that are not there.
    """

    opened: tuple[str, ...]
    hidden: tuple[str, ...]
    names: Mapping[str, str] = field(repr=False)
    stores: Mapping[str, str] = field(repr=False)
    authority: Authority | None = None

    @classmethod
    def made(cls, request: Request, opened: tuple[str, ...]) -> Self:
        """Write the files into the folder of the run. Raises OSError."""
        folder = Path(request.folder) / "sights"
        folder.mkdir()
        authority = _authority()
        stores = ca_store.extended(folder / "stores", authority.ca_pem) if authority else {}
        hidden = tuple(str(Path(request.root) / name) for name in request.hidden)
        return cls(opened, hidden, name_server.written(folder), stores, authority)

    def view(self, *, without_authorities: bool = False) -> View:
        """For one child."""
        gone = tuple(map(os.path.realpath, ca_store.paths())) if without_authorities else ()
        kept = {
            path: copy
            for path, copy in self.stores.items()
            if not any(path == each or path.startswith(f"{each}{os.sep}") for each in gone)
        }
        emptied = (*name_server.CACHES, *self.hidden, *gone)
        return View(self.opened, emptied, {**self.names, **kept})


def _authority() -> Authority | None:
    try:
        from resilience.simulation.authority import Authority  # noqa: PLC0415 - needs trustme
    except ModuleNotFoundError:
        return None
    return Authority()
