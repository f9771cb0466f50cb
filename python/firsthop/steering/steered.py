"""A client that was steered: the decision, and what follows from it for its call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from firsthop.addresses import Candidates
from firsthop.fleet.model import Fleet, FleetIngress
from firsthop.steering.context import Context
from firsthop.steering.decide import Decision

#: By it a trusted proxy names the ingress points of a client, most preferred first.
INGRESS_HEADER: Final = "Firsthop-Ingress"
#: By it an answer tells what was decided.
STEERED_HEADER: Final = "Firsthop-Steered"
_INGRESSES: Final = re.compile(r"\d{1,3}( *, *\d{1,3}){0,7}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Steered:
    """What was decided for a client."""

    context: Context
    decision: Decision
    candidates: Candidates | None = None
    """What its answer names; None: what the settings say."""

    @property
    def header(self) -> str:
        """The value of `STEERED_HEADER`."""
        return told(self.decision)

    def story(self) -> Mapping[str, object]:
        """What a log tells of it: never who the client is."""
        return {
            "country": self.context.country,
            "source": self.context.source,
            "cluster": self.decision.cluster,
            "ingresses": list(self.decision.ingresses),
            "reasons": list(self.decision.reasons),
        }


def told(decision: Decision) -> str:
    """Return a decision as answers tell it: ``cluster=1; ingress=3,1``."""
    return f"cluster={decision.cluster}; ingress={ids_text(decision.ingresses)}"


def ids_text(ingresses: tuple[int, ...]) -> str:
    """Return ids as `INGRESS_HEADER` has them."""
    return ",".join(map(str, ingresses))


def named(header: str, fleet: Fleet, cluster: int) -> tuple[FleetIngress, ...]:
    """Return the ingress points that a header names, those left out that do not reach a cluster."""
    if not _INGRESSES.fullmatch(header.strip()):
        return ()
    ids = dict.fromkeys(int(id_) for id_ in header.split(","))
    found = (fleet.ingress(id_) for id_ in ids)
    return tuple(one for one in found if one is not None and one.reaches(cluster))
