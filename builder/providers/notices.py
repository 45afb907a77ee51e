"""What the cloud says to this machine: that it is wanted back.

AWS: the instance metadata service tells of an interruption two minutes ahead, and earlier that
one has become likely (a rebalance recommendation). Google: `instance/preempted` turns TRUE about
half a minute ahead.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import trio

from builder.telemetry.log import get_logger

if TYPE_CHECKING:
    import httpx

log = get_logger()
ENDPOINTS = {"aws": "http://169.254.169.254", "gcp": "http://metadata.google.internal"}
LOOK_EVERY_S = 5.0  # as AWS advises
PATIENCE_S = 2.0
TOKEN_S = 21600
GCP_GRACE_S = 25.0
LATEST = "/latest/meta-data"


@dataclass(frozen=True, slots=True)
class Notice:
    """`grace_s` is how long there is left; None: as long as it takes."""

    why: str
    grace_s: float | None


async def wait_for_notice(
    cloud: str, endpoint: str | None = None, every_s: float = LOOK_EVERY_S
) -> Notice:
    """Until the machine is wanted back. A service that does not answer is asked again."""
    import httpx  # late: only workers in a cloud pay for it

    base = endpoint or ENDPOINTS[cloud]
    look = _aws if cloud == "aws" else _gcp
    quiet = False
    async with httpx.AsyncClient(base_url=base, timeout=PATIENCE_S, trust_env=False) as client:
        while True:
            try:
                if (notice := await look(client)) is not None:
                    return notice
            except (httpx.HTTPError, ValueError) as error:
                tell = log.debug if quiet else log.warning
                tell("No notice can be had from this machine's cloud", cloud=cloud, why=str(error))
                quiet = True
            await trio.sleep(every_s)


async def _aws(client: "httpx.AsyncClient") -> Notice | None:
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}
    token = await client.put("/latest/api/token", headers=lifetime)
    token.raise_for_status()
    headers = {"X-aws-ec2-metadata-token": token.text}
    answer = await client.get(f"{LATEST}/spot/instance-action", headers=headers)
    if answer.status_code == 200:
        said = answer.json()
        now = answer.headers.get("date")
        return Notice(f"AWS will {said['action']} this spot instance", _left(said["time"], now))
    answer = await client.get(f"{LATEST}/events/recommendations/rebalance", headers=headers)
    if answer.status_code == 200:
        return Notice("AWS expects to interrupt this spot instance", None)
    return None


def _left(at: str, now: str | None) -> float | None:
    """Seconds until an ISO time, by the clock of who says it; a little is kept for the goodbye."""
    from email.utils import parsedate_to_datetime

    if now is None:
        return GCP_GRACE_S
    left = datetime.fromisoformat(at) - parsedate_to_datetime(now)
    return max(0.0, left.total_seconds() - 10.0)


async def _gcp(client: "httpx.AsyncClient") -> Notice | None:
    answer = await client.get(
        "/computeMetadata/v1/instance/preempted", headers={"Metadata-Flavor": "Google"}
    )
    answer.raise_for_status()
    if answer.text.strip() == "TRUE":
        return Notice("Google preempts this machine", GCP_GRACE_S)
    return None
