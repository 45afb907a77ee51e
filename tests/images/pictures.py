"""Images made on the spot: layers by the standard library's tar, documents, a layout."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from builder.images import documents
from builder.images.images import own_platform

PROGRAMS = ("/bin/sh", "/bin/cat", "/bin/ls", "/usr/bin/env", "/usr/bin/id", "/usr/bin/stat")
OWN = own_platform(os.uname().machine)
WHEN = 1_600_000_000


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def entry(name: str, data: bytes = b"", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    """`type`, `mode`, `linkname`, `pax_headers` as tarfile has them."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), WHEN
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, mode: int = 0o755, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.DIRTYPE, mode=mode, **more)


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as file:
        for info, data in entries:
            file.addfile(info, io.BytesIO(data))
    return made.getvalue()


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(data)


def system() -> bytes:
    """A few of the host's programs with their libraries, at the paths that they expect."""
    found: dict[str, bytes] = {}
    for program in PROGRAMS:
        told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for file in (program, *(word for word in told.split() if word.startswith("/"))):
            found[file.lstrip("/")] = Path(file).read_bytes()
    return tar(*(entry(name, data, mode=0o755) for name, data in found.items()))


@dataclass(frozen=True)
class Picture:
    """An image: its manifest, and the blobs that it names. `packed` are its layers as stored."""

    manifest: bytes
    media_type: str
    blobs: Mapping[str, bytes] = field(repr=False)
    packed: tuple[bytes, ...] = field(repr=False)

    @property
    def digest(self) -> str:
        return digest(self.manifest)


def picture(
    *layers: bytes,
    pack: Any = gzipped,
    environment: Iterable[str] = (),
    docker: bool = False,
    platform: documents.Platform = OWN,
    diff_ids: list[str] | None = None,
    **config: Any,
) -> Picture:
    """Of tar archives, the lowest first."""
    packed = tuple(pack(layer) for layer in layers)
    told = json.dumps(
        {
            "architecture": platform.architecture,
            "os": platform.os,
            "config": {"Env": list(environment), **config},
            "rootfs": {"type": "layers", "diff_ids": diff_ids or [digest(one) for one in layers]},
        }
    ).encode()
    kind = (
        "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else documents.LAYER_TYPES[0]
    )
    media_type = documents.DOCKER_MANIFEST if docker else documents.MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json"
            if docker
            else "application/vnd.oci.image.config.v1+json",
            "digest": digest(told),
            "size": len(told),
        },
        "layers": [
            {
                "mediaType": kind
                if docker
                else f"{kind}v1.tar+{'zstd' if pack is zstd else 'gzip'}",
                "digest": digest(one),
                "size": len(one),
            }
            for one in packed
        ],
    }
    blobs = {digest(one): one for one in (told, *packed)}
    return Picture(json.dumps(manifest).encode(), media_type, blobs, packed)


def index(pictures: Mapping[documents.Platform, Picture], docker: bool = False) -> bytes:
    media_type = documents.DOCKER_LIST if docker else documents.INDEX
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [
                {
                    "mediaType": one.media_type,
                    "digest": one.digest,
                    "size": len(one.manifest),
                    "platform": {
                        "os": platform.os,
                        "architecture": platform.architecture,
                        "variant": platform.variant,
                    },
                }
                for platform, one in pictures.items()
            ],
        }
    ).encode()


def layout(place: Path, tags: Mapping[str, Picture]) -> Path:
    """An OCI layout with these images."""
    (place / "blobs/sha256").mkdir(parents=True)
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    for one in tags.values():
        for name, data in {**one.blobs, one.digest: one.manifest}.items():
            (place / "blobs" / name.replace(":", "/")).write_bytes(data)
    manifests = [
        {
            "mediaType": one.media_type,
            "digest": one.digest,
            "size": len(one.manifest),
            "annotations": {documents.REF_NAME: tag} if tag else {},
        }
        for tag, one in tags.items()
    ]
    (place / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "mediaType": documents.INDEX, "manifests": manifests})
    )
    return place
