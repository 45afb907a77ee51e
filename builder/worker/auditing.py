"""Which actions a worker audits though they have not asked for it.

The choice goes by an action's digest, which is as good as a die and the same on every worker: an
action that is tried again is audited again, and nobody's result depends on where it ran.
"""

from dataclasses import dataclass

from builder.base.digest import Digest
from builder.sandbox.interface import AuditLevel

HASH_DIGITS = 13  # 52 bits, which a float holds exactly
ALL_HASHES = 16.0**HASH_DIGITS


@dataclass(frozen=True, slots=True)
class Auditing:
    """`share` of all actions, from 0 to 1, at this level; None is none of them."""

    level: AuditLevel | None = None
    share: float = 1.0

    def of(self, action: Digest) -> AuditLevel | None:
        """At which level this action is audited."""
        return self.level if int(action.hash[:HASH_DIGITS], 16) < self.share * ALL_HASHES else None
