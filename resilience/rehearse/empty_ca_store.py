"""The image has no certificates of authorities."""

from __future__ import annotations

from resilience.rehearse.scenario import Scenario
from resilience.rehearse.stage import Stage
from resilience.simulation import ca_store


class EmptyCaStore(Scenario):
    name = "empty-ca-store"
    fault = "The image's CA store is empty"
    expects = ("tls.empty-store",)

    def arrange(self, stage: Stage) -> None:
        stage.without_authorities = True
        gone = ca_store.paths()
        for name, value in list(stage.environ.items()):
            if value.startswith(gone):  # as this machine's SSL_CERT_FILE
                del stage.environ[name]
