"""``manage.py checktls``: does this process trust that server, and if not, what has to change?"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from resilience.management.command import ReportCommand, argument
from resilience.management.output import USAGE
from resilience.probes import tls
from resilience.probes.base import Probe
from resilience.probes.discovery import through_proxy
from resilience.probes.endpoints import Endpoint, parse
from resilience.probes.stores import Stores
from resilience.tls import policy


class Command(ReportCommand):
    help = (
        "Examine TLS stage by stage: DNS, TCP, proxy or STARTTLS, handshake, certificate, first "
        "words of the protocol; and the certificate stores of this process. Without arguments "
        "every TLS server that the settings name. Exit status as checkdeploy's."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "targets",
            nargs="*",
            type=argument(parse),
            metavar="HOST:PORT|URL",
            help="host:port, or a URL: https, rediss, postgres, smtp (STARTTLS), smtps, amqps, tls",
        )
        parser.add_argument(
            "--write-bundle",
            metavar="PATH",
            help="write all trusted certificates to this file, for libraries that take only one",
        )

    def probes(self, options: dict[str, Any]) -> Sequence[Probe]:
        asked: list[Endpoint] = options["targets"]
        self.app = not asked
        if options["write_bundle"]:
            self._write(options["write_bundle"])
        if not asked:
            return tls.probes()
        found = {each.where: through_proxy(each) for each in asked}
        return [Stores("tls"), *tls.probes_of(list(found.values()))]

    def _write(self, path: str) -> None:
        trust = policy.trust_of()
        if not trust.certificates:
            raise CommandError("There is no certificate to write.", returncode=USAGE)
        target = Path(path)
        try:
            # Whole or not at all: a running process may be reading the old one.
            handle, unfinished = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}")
            with os.fdopen(handle, "w") as file:
                file.write(trust.pem())
            Path(unfinished).chmod(0o644)  # it holds nothing secret, and other users read it
            Path(unfinished).replace(target)
        except OSError as error:
            raise CommandError(
                f"--write-bundle: {path}: {error.strerror}. Name a file in a directory that this "
                "user may write to.",
                returncode=USAGE,
            ) from None
        sys.stderr.write(
            f"{len(trust.certificates)} certificates are in {path}; "
            f"SSL_CERT_FILE={path} REQUESTS_CA_BUNDLE={path} have every library use them.\n"
        )
