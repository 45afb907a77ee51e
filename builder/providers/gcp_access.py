"""The access token of the moment for Google's APIs, by google-auth in a thread.

Without a file Google's usual chain is asked (GOOGLE_APPLICATION_CREDENTIALS, gcloud's own, the
machine's metadata service). A file is a service account's key or a user's own credentials; other
kinds, such as workload identity federation, come by the usual chain.
"""

import json
from pathlib import Path
from typing import Any

import trio

from builder.providers.interface import CredentialsError, TransientError

SCOPES = ["https://www.googleapis.com/auth/compute"]


class GoogleToken:
    """Call it for a token that is valid now. Raises CredentialsError or TransientError."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._credentials: Any = None
        self._lock = trio.Lock()

    async def __call__(self) -> str:
        async with self._lock:
            return await trio.to_thread.run_sync(self._blocking)

    def _blocking(self) -> str:
        import google.auth.exceptions  # late: only who uses this provider pays for it
        import google.auth.transport.urllib3
        import urllib3

        transport: Any = google.auth.transport.urllib3
        try:
            if self._credentials is None:
                self._credentials = _usual() if self._path is None else _of_file(self._path)
            if not self._credentials.valid:
                self._credentials.refresh(transport.Request(urllib3.PoolManager()))
        except google.auth.exceptions.TransportError as error:
            raise TransientError(f"Google's token service: {error}") from error
        except (google.auth.exceptions.GoogleAuthError, OSError, ValueError, KeyError) as error:
            raise CredentialsError(f"Google's credentials: {error}") from error
        return str(self._credentials.token)


def _usual() -> Any:
    import google.auth

    auth: Any = google.auth
    return auth.default(scopes=SCOPES)[0]


def _of_file(path: str) -> Any:
    from google.oauth2 import credentials, service_account

    kinds: dict[str, Any] = {
        "service_account": service_account.Credentials.from_service_account_info,
        "authorized_user": credentials.Credentials.from_authorized_user_info,
    }
    document = json.loads(Path(path).read_text())
    kind = document.get("type") if isinstance(document, dict) else None
    if kind not in kinds:
        raise ValueError(
            f"{path} is of the type {kind}, not service_account or authorized_user; "
            f"name it in GOOGLE_APPLICATION_CREDENTIALS instead"
        )
    return kinds[kind](document, scopes=SCOPES)
