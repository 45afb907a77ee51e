"""What AWS says when it refuses, as our faults. Source: the error codes of the EC2 API."""

from typing import Any

from builder.providers.interface import (
    CapacityError,
    CredentialsError,
    ProviderError,
    QuotaError,
    RefusedError,
    TransientError,
)

QUOTA = frozenset(
    {
        "InstanceLimitExceeded",
        "VcpuLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "SpotInstanceCountExceeded",
        "VolumeLimitExceeded",
    }
)
CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacity",
        "InsufficientFreeAddressesInSubnet",
        "SpotMaxPriceTooLow",
        "Unsupported",  # this type in this place
        "InstanceTypeNotSupported",
        "UnfulfillableCapacity",
    }
)
CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "UnauthorizedOperation",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "RequestExpired",
        "OptInRequired",
        "Blocked",
        "AccessDenied",
        "AccessDeniedException",
        "PendingVerification",
    }
)
TRANSIENT = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "EC2ThrottledException",
        "InternalError",
        "InternalFailure",
        "ServiceUnavailable",
        "Unavailable",
        "IdempotentInstanceTerminated",
    }
)
UNKNOWN = ("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed")
NOT_THIS_TYPE = ("VcpuLimitExceeded", "SpotMaxPriceTooLow", "InstanceTypeNotSupported")
KEYLESS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
)


def mapped(error: Exception) -> ProviderError:
    """Our fault for botocore's. Its message begins with the code."""
    if isinstance(error, ProviderError):
        return error
    response: Any = getattr(error, "response", None)
    if not isinstance(response, dict):
        name = type(error).__name__
        if name in KEYLESS:
            return CredentialsError(f"AWS: {error}")
        if name in ("ParamValidationError", "NoRegionError", "UnknownServiceError"):
            return RefusedError(f"AWS: {error}")
        return TransientError(f"AWS: {error}")
    code = str(response.get("Error", {}).get("Code", ""))
    message = str(response.get("Error", {}).get("Message", "")) or "no reason given"
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return _kind(code, status)(f"{code}: {message}")


def _kind(code: str, status: int) -> type[ProviderError]:
    for codes, kind in (
        (QUOTA, QuotaError),
        (CAPACITY, CapacityError),
        (CREDENTIALS, CredentialsError),
        (TRANSIENT, TransientError),
    ):
        if code in codes:
            return kind
    return TransientError if status >= 500 else RefusedError


def is_unknown(error: ProviderError) -> bool:
    """An id that EC2 does not know, or never could."""
    return error.message.startswith(UNKNOWN)


def next_type(error: ProviderError) -> bool:
    """Another subnet would not help: it is the type that is not to be had."""
    return error.message.startswith(NOT_THIS_TYPE)


def is_taken_back(status: str) -> bool:
    """Of a request for a spot instance: its instance goes, or is gone, and not by our wish."""
    gone = status.startswith("instance-terminated-") and status != "instance-terminated-by-user"
    return gone or status == "marked-for-termination"
