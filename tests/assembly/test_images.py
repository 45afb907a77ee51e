"""Container images from the settings to an action, through the whole service."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from builder.assembly.coordinator import pools
from builder.assembly.images import allowed, image_platform, open_images
from builder.assembly.local import local_service
from builder.base.errors import FailedPreconditionError, UsageError
from builder.config.kinds import Secret
from builder.config.settings import ImageRegistry, Images, Settings
from builder.images.endpoint import Registry
from builder.net.channel import Channel
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.proof import proof_of
from builder.stores.remote import RemoteBlobStore
from tests.assembly.test_local import finished
from tests.images.pictures import entry, layout, picture, system, tar
from tests.worker.kit import put_action, shell


def settings(folder: Path, images: Images) -> Settings:
    base = Settings()
    store = replace(base.store, path=str(folder / "store"))
    return replace(base, store=store, sandbox=replace(base.sandbox, images=images))


async def execute(address: str, script: str, image: str) -> pb.ExecuteResponse:
    async with Channel(address) as channel:
        job = await put_action(
            RemoteBlobStore(channel), shell(script), platform={"container-image": image}
        )
        return await finished(channel, job.digest)


async def test_from_the_client_to_the_image(tmp_path: Path) -> None:
    """The scheduler gives it to a worker that takes images, and the proof says which it was."""
    one = picture(system(), tar(entry("opt/version", b"pictured")))
    place = layout(tmp_path / "layouts/a", {"1": one})
    images = Images(layouts=(str(tmp_path / "layouts"),), path=str(tmp_path / "images"))
    with trio.fail_after(120):
        async with local_service(settings(tmp_path, images)) as address:
            response = await execute(address, "cat /opt/version", f"oci:{place}:1")
            assert response.result.stdout_raw == b"pictured", response
            proof = proof_of(response.result.execution_metadata)
            assert proof.image == f"oci:{place}@{one.digest}"
            response = await execute(address, "true", "docker://r.example/x")
            assert "is not one of sandbox.images.registries" in response.status.message


async def test_a_pool_without_images_refuses_at_once(tmp_path: Path) -> None:
    """And says what it lacks."""
    with trio.fail_after(120):
        async with local_service(settings(tmp_path, Images())) as address:
            with pytest.raises(FailedPreconditionError, match="it has no container-image"):
                await execute(address, "true", "docker://r.example/x")


def test_pools_offer_what_is_let_in(tmp_path: Path) -> None:
    """A coordinator promises images for its pools when its settings let some in."""
    wanted = (("container-image", "docker://r.example/a@sha256:0"),)
    none, some = (
        settings(tmp_path, images)
        for images in (Images(), Images(registries=(ImageRegistry("r.example"),)))
    )
    assert [offer.serves(wanted) for offer in pools(none)] == [False]
    assert [offer.serves(wanted) for offer in pools(some)] == [True]
    assert image_platform(Images()) == {}


def test_registries_are_as_the_settings_say() -> None:
    """Every key reaches what it is for."""
    one = ImageRegistry("r", ("m",), True, "somebody", Secret("secret"), "/ca.pem")
    found = allowed(Images(registries=(one,), default_registry="r", tag_age=7))
    assert found.registries == (Registry("r", ("m",), True, "somebody", "secret", "/ca.pem"),)
    assert (found.default_registry, found.tag_age_s) == ("r", 7)
    assert "secret" not in repr(found)


async def test_a_cache_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    images = Images(layouts=("/srv",), path=str(tmp_path / "file/images"))
    with pytest.raises(UsageError, match=r"sandbox\.images\.path"):
        async with open_images(images):
            pass
