"""What Google says when it refuses, as our faults: of an answer, and of an operation."""

import json
from typing import Any

from builder.providers.interface import (
    CapacityError,
    CredentialsError,
    ProviderError,
    QuotaError,
    RefusedError,
    TransientError,
)

CAPACITY = (
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    "RESOURCE_POOL_EXHAUSTED",
    "STOCKOUT",
    "IP_SPACE_EXHAUSTED",
    "UNSUPPORTED_OPERATION",
)
QUOTA = ("QUOTA_EXCEEDED", "quotaExceeded", "LIMIT_EXCEEDED")
RATE = ("rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED")


def fault(status: int, text: str) -> ProviderError:
    """For an answer of the API: `{"error": {"message", "errors": [{"reason"}]}}`."""
    reasons: tuple[str, ...] = ()
    message = text[:200] or "no reason given"
    try:
        error = json.loads(text)["error"]
        message = str(error["message"])
        reasons = tuple(str(one.get("reason", "")) for one in error.get("errors", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # a proxy's page, say: its text stands as it is
    said = f"Google: {status}: {message}"
    if _any(reasons, RATE) or status == 429 or status >= 500:
        return TransientError(said)
    return _by_reason(reasons, said) or (
        CredentialsError(said) if status in (401, 403) else RefusedError(said)
    )


def operation_fault(error: dict[str, Any]) -> ProviderError:
    """For an operation that has ended in vain: `{"errors": [{"code", "message"}]}`."""
    errors = error.get("errors") or [{}]
    codes = tuple(str(one.get("code", "")) for one in errors)
    said = f"Google: {codes[0]}: {errors[0].get('message', 'no reason given')}"
    return _by_reason(codes, said) or TransientError(said)


def _by_reason(reasons: tuple[str, ...], said: str) -> ProviderError | None:
    if _any(reasons, CAPACITY):
        return CapacityError(said)
    if _any(reasons, QUOTA):
        return QuotaError(said)
    return None


def _any(reasons: tuple[str, ...], of: tuple[str, ...]) -> bool:
    return any(reason in of for reason in reasons)
