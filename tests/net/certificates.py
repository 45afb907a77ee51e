"""Certificates for tests, made by openssl: an authority, a server for 127.0.0.1, a client."""

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@dataclass
class Certificates:
    folder: Path

    def server(self, *, wants_client: bool = False, lowest: object = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        context.set_alpn_protocols(["h2"])
        if wants_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.folder / "ca.pem")
        return context

    def client(self, *, with_own: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        context.set_alpn_protocols(["h2"])
        if with_own:
            context.load_cert_chain(self.folder / "client.pem", self.folder / "client.key")
        return context

    def authority(self) -> bytes:
        return (self.folder / "ca.pem").read_bytes()


HERE = "IP:127.0.0.1,DNS:localhost"


def make(
    folder: Path, days: int = 30, authority: Certificates | None = None, names: str = HERE
) -> Certificates:
    """P-256 keys, so that making them takes no time. With `days` below 0 they have expired; `names`
    are those of the server."""
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca.key", "ca.pem") if authority else ():
        shutil.copy(authority.folder / name, folder / name)
    if authority is None:
        whose = ("-subj", "/CN=test ca")
        openssl(folder, "req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", *whose)
    for name, extension in (
        ("server", f"subjectAltName={names}"),
        ("client", "subjectAltName=URI:spiffe://test/worker"),
    ):
        (folder / "ext").write_text(extension)
        request = f"{name}.csr"
        openssl(
            folder, "req", *new, "-keyout", f"{name}.key", "-out", request, "-subj", f"/CN={name}"
        )
        openssl(
            folder,
            *("x509", "-req", "-in", request, "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-days", str(days)),
            *("-CAcreateserial", "-out", f"{name}.pem", "-extfile", "ext"),
        )
    return Certificates(folder)
