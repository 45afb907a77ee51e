"""Images pulled from a real registry, and from servers that do what a real one would not."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from builder.base.errors import UnavailableError
from builder.images.cache import LayerCache
from builder.images.documents import Platform
from builder.images.endpoint import Registry as Known
from builder.images.errors import ImageError
from builder.images.images import Allowed, Images
from builder.images.interface import Image
from tests.images.pictures import OWN, Picture, directory, entry, index, picture, tar, zstd
from tests.images.registry import NEEDED, Registry, running

pytestmark = NEEDED
GIB = 1 << 30


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running(tmp_path_factory.mktemp("registry")) as found:
        yield found


@asynccontextmanager
async def opened(place: Path, *registries: Known, **more: object) -> AsyncIterator[Images]:
    allowed = Allowed(registries, **more)  # type: ignore[arg-type]  # the test's own
    images = Images(LayerCache(str(place / "images"), GIB), allowed, GIB)
    try:
        yield images
    finally:
        images.close()


def known(registry: Registry, **more: object) -> Known:
    return Known(registry.host, insecure=True, **more)  # type: ignore[arg-type]  # the test's own


def read(image: Image, name: str) -> str:
    """Of the topmost layer that has it."""
    paths = [Path(layer, name) for layer in reversed(image.layers)]
    return next(path.read_text() for path in paths if path.exists())


def small(text: str, **more: object) -> Picture:
    base = tar(directory("etc"), entry("etc/base", b"base"))
    return picture(base, tar(entry("etc/text", text.encode())), **more)  # type: ignore[arg-type]


async def test_pulled_by_tag_and_by_digest(registry: Registry, tmp_path: Path) -> None:
    """With a scheme and without; its name is the digest that the tag stands for."""
    digest = registry.push("team/small", "1.0", small("one", environment=["A=b=c", "E="]))
    async with opened(tmp_path, known(registry)) as images:
        for name in (
            f"docker://{registry.host}/team/small:1.0",
            f"{registry.host}/team/small:1.0",
            f"docker://{registry.host}/team/small@{digest}",
            f"docker://{registry.host}/team/small:other@{digest}",
        ):
            async with images.checkout(name) as image:
                assert image.name == f"docker://{registry.host}/team/small@{digest}"
                assert read(image, "etc/text") == "one"
                assert read(image, "etc/base") == "base"
                assert image.environment == {"A": "b=c", "E": ""}


@pytest.mark.parametrize("docker", [False, True])
async def test_own_platform_is_chosen(registry: Registry, tmp_path: Path, docker: bool) -> None:
    """Of an index in OCI's words and of a list in Docker's; another platform's image is refused."""
    other = Platform("linux", "s390x")
    mine, theirs = small("mine", docker=docker), small("theirs", docker=docker, platform=other)
    name = f"platforms/{'docker' if docker else 'oci'}"
    both = index({other: theirs, OWN: mine}, docker)
    registry.push(name, "both", theirs, mine, index=both)
    registry.push(name, "theirs", theirs, index=index({other: theirs}, docker))
    registry.push(name, "bare", theirs)
    async with opened(tmp_path, known(registry)) as images:
        async with images.checkout(f"{registry.host}/{name}:both") as image:
            assert read(image, "etc/text") == "mine"
            assert image.name.endswith(mine.digest)
        for tag in ("theirs", "bare"):
            with pytest.raises(ImageError, match="linux/s390x"):
                async with images.checkout(f"{registry.host}/{name}:{tag}"):
                    pass


async def test_zstd_layers(registry: Registry, tmp_path: Path) -> None:
    """Layers may be compressed by zstd."""
    registry.push("team/zstd", "latest", small("zstd", pack=zstd))
    async with (
        opened(tmp_path, known(registry), default_registry=registry.host) as images,
        images.checkout("docker://team/zstd") as image,  # of the default registry, its latest
    ):
        assert read(image, "etc/text") == "zstd"


async def test_a_tag_is_asked_for_again_after_a_while(registry: Registry, tmp_path: Path) -> None:
    """And then stands for what it stands for by then; actions that run keep theirs."""
    now = [0.0]
    cache = LayerCache(str(tmp_path / "images"), GIB)
    images = Images(cache, Allowed((known(registry),), tag_age_s=10), GIB, lambda: now[0])
    name = f"{registry.host}/team/moving:tip"
    registry.push("team/moving", "tip", small("old"))
    async with images.checkout(name) as old:
        registry.push("team/moving", "tip", small("new"))
        now[0] = 9
        async with images.checkout(name) as image:
            assert image == old
        now[0] = 11
        async with images.checkout(name) as image:
            assert read(image, "etc/text") == "new"
            assert image.layers[0] == old.layers[0]  # the base is the same
        assert read(old, "etc/text") == "old"
    images.close()


async def test_who_is_not_on_the_list_is_not_asked(registry: Registry, tmp_path: Path) -> None:
    """Nobody is let in by default, and no name can lead elsewhere."""
    async with opened(tmp_path, Known("registry.example")) as images:
        for name in (f"docker://{registry.host}/team/small:1.0", f"{registry.host}/x/y"):
            with pytest.raises(ImageError, match="is not one of"):
                async with images.checkout(name):
                    pass
        with pytest.raises(ImageError, match="names no registry"):
            async with images.checkout("team/small"):
                pass
        with pytest.raises(ImageError, match="is not in a directory of"):
            async with images.checkout(f"oci:{tmp_path}"):
                pass


async def test_what_is_not_there_is_told(registry: Registry, tmp_path: Path) -> None:
    """A repository, a tag or a digest that the registry does not have."""
    registry.push("team/there", "1", small("there"))
    async with opened(tmp_path, known(registry)) as images:
        for name in ("team/nothing:1", "team/there:2", f"team/there@sha256:{'0' * 64}"):
            with pytest.raises(ImageError, match="there is none"):
                async with images.checkout(f"{registry.host}/{name}"):
                    pass


async def test_mirrors_are_asked_first(registry: Registry, tmp_path: Path) -> None:
    """One that is down or has not got it is passed over; the registry itself comes last."""
    digest = registry.push("team/mirrored", "1", small("mirrored"))
    mirrored = Known("registry.example", mirrors=("127.0.0.1:1", registry.host))
    down = Known("127.0.0.1:1", insecure=True)
    async with (
        opened(tmp_path, mirrored, down, known(registry)) as images,
        images.checkout("docker://registry.example/team/mirrored:1") as image,
    ):
        assert image.name == f"docker://registry.example/team/mirrored@{digest}"
        assert read(image, "etc/text") == "mirrored"


async def test_registry_that_is_away_is_no_fault_of_the_action(tmp_path: Path) -> None:
    """Another attempt, or another worker, may have it."""
    async with opened(tmp_path, Known("127.0.0.1:1", insecure=True)) as images:
        with pytest.raises(UnavailableError, match=r"registry 127\.0\.0\.1:1"):
            async with images.checkout("127.0.0.1:1/team/x"):
                pass
    assert os.listdir(tmp_path / "images/incoming") == []


async def test_http_is_not_spoken_where_it_is_not_said(registry: Registry, tmp_path: Path) -> None:
    """Without `insecure` a registry is spoken to by TLS only."""
    async with opened(tmp_path, Known(registry.host)) as images:
        with pytest.raises(UnavailableError, match="registry"):
            async with images.checkout(f"{registry.host}/team/small:1.0"):
                pass
