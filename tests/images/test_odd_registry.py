"""Registries that break off, lie, or want to know who asks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trio

from builder.base.errors import UnavailableError
from builder.images.cache import LayerCache
from builder.images.documents import MOST_BYTES
from builder.images.endpoint import Endpoint, Registry
from builder.images.errors import HostileLayerError, ImageError
from builder.images.images import Allowed, Images
from builder.images.registry import TRIES
from tests.images.odd_registry import Odd, odd_registry
from tests.images.pictures import Picture, digest, entry, picture, tar
from tests.images.registry import NEEDED, running

GIB = 1 << 30
ACCOUNT = ("somebody", "secret")
# of "secret", by bcrypt at its least cost
HTPASSWD = "somebody:$2b$04$S8/2Q4ea72aKD3jKUHoZ.uzXOhbvwHx39FjIUzS0ffjUFJnTxiMhW\n"


@contextmanager
def images_of(place: Path, host: str, **more: object) -> Iterator[Images]:
    known = Registry(host, insecure=True, **more)  # type: ignore[arg-type]  # the test's own
    images = Images(LayerCache(str(place / "images"), GIB), Allowed((known,)), GIB)
    try:
        yield images
    finally:
        images.close()


def large() -> Picture:
    return picture(tar(entry("text", b"whole"), entry("padding", os.urandom(300_000))))


async def text(images: Images, odd: Odd, reference: str = ":1") -> str:
    async with images.checkout(f"{odd.host}/a/b{reference}") as image:
        return Path(image.layers[-1], "text").read_text()


async def test_a_broken_download_goes_on_where_it_broke(tmp_path: Path) -> None:
    """Each request asks for what is still missing."""
    with odd_registry() as odd, images_of(tmp_path, odd.host) as images:
        odd.has(one := large())
        odd.breaks_after = 100_000
        assert await text(images, odd) == "whole"
        layer = digest(one.packed[0])
        asked = [told.get("range") for path, told in odd.requests if path.endswith(layer)]
    assert asked == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]


async def test_a_server_without_ranges_is_begun_with_again(tmp_path: Path) -> None:
    """Nothing is put together from two beginnings; and there is an end to it."""
    with odd_registry(ranges=False) as odd, images_of(tmp_path, odd.host) as images:
        odd.has(one := large())
        odd.breaks_after = 100_000
        with pytest.raises(UnavailableError, match=odd.host):
            await text(images, odd)
        layer = digest(one.packed[0])
        assert sum(path.endswith(layer) for path in odd.paths) == TRIES
        odd.breaks_after = 0
        assert await text(images, odd) == "whole"


async def test_concurrent_pulls_are_one(tmp_path: Path) -> None:
    """Of one name whoever asks; of two names of one image its layers are unpacked once."""
    found: list[tuple[str, ...]] = []

    async def use(images: Images, tag: str) -> None:
        async with images.checkout(f"{odd.host}/a/b:{tag}") as image:
            found.append(image.layers)

    with odd_registry() as odd, images_of(tmp_path, odd.host) as images:
        one = large()
        odd.has(one, "1")
        odd.has(one, "2")
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(use, images, "1")
        assert len(odd.paths) == 3  # manifest, configuration and layer
        other = LayerCache(str(tmp_path / "fresh"), GIB)
        fresh = Images(other, Allowed((Registry(odd.host, insecure=True),)), GIB)
        async with trio.open_nursery() as nursery:
            for tag in "1212":
                nursery.start_soon(use, fresh, tag)
        fresh.close()
    assert [len(set(some)) for some in (found[:4], found[4:])] == [1, 1]


async def test_what_is_unpacked_is_not_asked_for_again(tmp_path: Path) -> None:
    """By digest an image needs no registry after its first pull, in the next process neither."""
    with odd_registry() as odd:
        odd.has(one := large())
        with images_of(tmp_path, odd.host) as images:
            assert await text(images, odd, f"@{one.digest}") == "whole"
        asked = len(odd.paths)
        with images_of(tmp_path, odd.host) as images:
            assert await text(images, odd, f"@{one.digest}") == "whole"
            assert images.has(f"{odd.host}/a/b@{one.digest}")
        assert len(odd.paths) == asked


async def test_a_registry_that_is_busy_is_asked_again(tmp_path: Path) -> None:
    """A few times."""
    with odd_registry(answers_503=2) as odd, images_of(tmp_path, odd.host) as images:
        odd.has(large())
        assert await text(images, odd) == "whole"


async def test_what_is_not_what_its_digest_says_is_refused(tmp_path: Path) -> None:
    """Manifest, configuration and layer; a layer with too many bytes is not read to its end."""
    one = large()
    config, layer = one.blobs
    with odd_registry() as odd, images_of(tmp_path, odd.host) as images:
        odd.has(one)
        odd.manifests[one.digest] = one.manifest + b" "
        with pytest.raises(ImageError, match="is not what its digest"):
            await text(images, odd, f"@{one.digest}")
        odd.blobs[config] += b" "
        with pytest.raises(ImageError, match="is not what its digest"):
            await text(images, odd)
        odd.blobs = dict(one.blobs)
        odd.blobs[layer] = odd.blobs[layer][:-1] + b"?"
        with pytest.raises(HostileLayerError, match="has digest"):
            await text(images, odd)
        odd.blobs[layer] = one.blobs[layer] + bytes(64 << 20)
        with pytest.raises(HostileLayerError, match="or more"):
            await text(images, odd)
        odd.blobs = dict(one.blobs)
        assert await text(images, odd) == "whole"


async def test_documents_are_bounded(tmp_path: Path) -> None:
    """A manifest without end is not kept in memory."""
    with odd_registry() as odd, images_of(tmp_path, odd.host) as images:
        odd.manifests["1"] = b"[" * (MOST_BYTES * 8)
        with pytest.raises(ImageError, match="is over"):
            await text(images, odd)


async def test_tokens_are_got_and_used(tmp_path: Path) -> None:
    """With name and password where the configuration has them; one token serves many requests."""
    with odd_registry(token="t0ken", account=ACCOUNT) as odd:
        odd.has(large())
        user, password = ACCOUNT
        with images_of(tmp_path, odd.host, username=user, password=password) as images:
            assert await text(images, odd) == "whole"
        tokens = [path for path in odd.paths if path.startswith("/token")]
        assert len(tokens) <= 2  # the manifest's and the layer's may be asked for at a time
        assert "scope=repository%3Aa%2Fb%3Apull" in tokens[0]
        with (
            images_of(tmp_path / "other", odd.host) as images,
            pytest.raises(ImageError, match="username and password"),
        ):
            await text(images, odd)


async def test_secrets_go_to_their_registry_only(tmp_path: Path) -> None:
    """Where a blob is somewhere else, that place does not hear who asks."""
    one = large()
    user, password = ACCOUNT
    with (
        odd_registry() as elsewhere,
        odd_registry(account=ACCOUNT, redirect=f"http://localhost:{elsewhere.host[10:]}") as odd,
        images_of(tmp_path, odd.host, username=user, password=password) as images,
    ):
        odd.has(one)
        elsewhere.has(one)
        assert await text(images, odd) == "whole"
        assert elsewhere.requests
        assert not any("authorization" in map(str.lower, told) for _, told in elsewhere.requests)


async def test_a_realm_must_be_secure_too() -> None:
    """Neither a redirect nor a realm of a registry by TLS makes the worker speak in the clear."""
    async with Endpoint(Registry("registry.example"), "a/b") as endpoint:
        with pytest.raises(ImageError, match="without TLS"):
            await endpoint.check(httpx.Request("GET", "http://registry.example/token"))
        await endpoint.check(httpx.Request("GET", "https://auth.example/token"))


@NEEDED
async def test_a_real_registry_with_a_password(tmp_path: Path) -> None:
    """Basic authentication, as docker-registry does it; without the password it is refused."""
    place = tmp_path / "registry"
    place.mkdir()
    (place / "htpasswd").write_text(HTPASSWD)
    auth = f"auth: {{htpasswd: {{realm: here, path: {place}/htpasswd}}}}"
    user, password = ACCOUNT
    with running(place, auth, ACCOUNT) as registry:
        registry.push("a/b", "1", large())
        with images_of(tmp_path / "1", registry.host, username=user, password=password) as images:
            async with images.checkout(f"{registry.host}/a/b:1") as image:
                assert Path(image.layers[-1], "text").read_text() == "whole"
        for wrong in ({}, {"username": user, "password": "guess"}):
            with (
                images_of(tmp_path / "2", registry.host, **wrong) as images,
                pytest.raises(ImageError, match="password"),
            ):
                async with images.checkout(f"{registry.host}/a/b:1"):
                    pass
