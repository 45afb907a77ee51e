"""Images of an OCI layout: chosen, verified, unpacked once, kept within bounds."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builder.images.cache import LayerCache
from builder.images.errors import HostileLayerError, ImageError
from builder.images.images import MOST_IDLE, Allowed, Images
from tests.images.pictures import Picture, digest, entry, index, layout, picture, symlink, tar

GIB, MIB = 1 << 30, 1 << 20


@contextmanager
def images_of(place: Path, max_bytes: int = GIB) -> Iterator[Images]:
    """Of the layouts in `place`, with a cache beside them."""
    cache = LayerCache(str(place / "cache"), max_bytes)
    images = Images(cache, Allowed(layouts=(str(place / "layouts"),)), max_bytes)
    try:
        yield images
    finally:
        images.close()


def text(name: str, size: int = 0) -> Picture:
    return picture(tar(entry("name", name.encode()), entry("padding", os.urandom(size))))


async def refused(images: Images, name: str, why: str, kind: type[ImageError] = ImageError) -> None:
    with pytest.raises(kind, match=why):
        async with images.checkout(name):
            pass


async def test_by_tag_by_digest_and_the_only_one(tmp_path: Path) -> None:
    """A tag is a note in the index; a digest may be that of anything in the layout."""
    one, two = text("one"), text("two")
    both = layout(tmp_path / "layouts/both", {"1.0": one, "2.0": two})
    only = layout(tmp_path / "layouts/only", {"": two})
    with images_of(tmp_path) as images:
        for name, wanted in (
            (f"oci:{both}:1.0", one),
            (f"oci:{both}:2.0", two),
            (f"oci:{both}@{one.digest}", one),
            (f"oci:{only}", two),
        ):
            async with images.checkout(name) as image:
                assert image.name.endswith(wanted.digest)
                expected = "one" if wanted is one else "two"
                assert Path(image.layers[0], "name").read_text() == expected
        await refused(images, f"oci:{both}", "give a digest")
        await refused(images, f"oci:{both}:3.0", r"it has 1\.0, 2\.0")
        await refused(images, f"oci:{tmp_path}/layouts/none:1", "is it an OCI layout")


async def test_links_do_not_lead_out_of_the_allowed_directory(tmp_path: Path) -> None:
    """What counts is where a layout really is."""
    outside = layout(tmp_path / "elsewhere", {"": text("x")})
    (tmp_path / "layouts").mkdir()
    (tmp_path / "layouts/link").symlink_to(outside)
    with images_of(tmp_path) as images:
        await refused(images, f"oci:{tmp_path}/layouts/link", "is not in a directory of")
        await refused(images, f"oci:{tmp_path}/layouts/../elsewhere", "is not in a directory of")


def spoil(place: Path, name: str, data: bytes) -> None:
    (place / "blobs" / name.replace(":", "/")).write_bytes(data)


async def test_digests_are_checked(tmp_path: Path) -> None:
    """Of the manifest, the configuration, and each layer; and nothing is left of the attempt."""
    one = text("one")
    config, layer = one.blobs
    for number, (name, data, why) in enumerate((
        (one.digest, one.manifest + b" ", "is not what its digest"),
        (config, one.blobs[config] + b" ", "is not what its digest"),
        (layer, one.blobs[layer][:-1] + b"x", "digest"),
        (layer, one.blobs[layer] + b"x", "bytes"),
    )):  # fmt: skip
        place = layout(tmp_path / "layouts" / str(number), {"": one})
        spoil(place, name, data)
        with images_of(tmp_path) as images:
            await refused(images, f"oci:{place}", why)
        assert not list((tmp_path / "cache/layers").iterdir())
        assert not list((tmp_path / "cache/incoming").iterdir())


async def test_diff_ids_are_checked(tmp_path: Path) -> None:
    """A layer that unpacks to something else than its configuration says is not used."""
    archive = tar(entry("a", b"text"))
    wrong = picture(archive, diff_ids=[digest(b"else")])
    trailing = picture(archive + bytes(1024) + b"hidden", diff_ids=[digest(archive)])
    for name, one in {"wrong": wrong, "trailing": trailing}.items():
        place = layout(tmp_path / "layouts" / name, {"": one})
        with images_of(tmp_path) as images:
            await refused(images, f"oci:{place}", "diff_id", HostileLayerError)
        assert not list((tmp_path / "cache/layers").iterdir())


async def test_hostile_layer_leaves_nothing(tmp_path: Path) -> None:
    """The layers below it may stay; the image is refused each time."""
    good, bad = tar(entry("good")), tar(symlink("a", "/"), entry("a/etc/passwd", b"x"))
    place = layout(tmp_path / "layouts/one", {"": picture(good, bad)})
    with images_of(tmp_path) as images:
        for _ in range(2):
            await refused(images, f"oci:{place}", "layer 2 of 2.*leads through", HostileLayerError)
    assert len(list((tmp_path / "cache/layers").iterdir())) == 1
    assert not list((tmp_path / "cache/incoming").iterdir())


async def test_image_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """By what it says of its layers, and by what they unpack to."""
    honest = layout(tmp_path / "layouts/honest", {"": text("x", 3 * MIB)})
    bomb = layout(tmp_path / "layouts/bomb", {"": picture(tar(entry("a", bytes(32 * MIB))))})
    with images_of(tmp_path, 2 * MIB) as images:
        await refused(images, f"oci:{honest}", "max_size", HostileLayerError)
        await refused(images, f"oci:{bomb}", "max_size", HostileLayerError)


async def test_unused_images_go_first(tmp_path: Path) -> None:
    """Over its bound the cache removes what nobody uses, and never what an action is in."""
    names = {
        name: f"oci:{layout(tmp_path / 'layouts' / name, {'': text(name, MIB)})}" for name in "abcd"
    }
    with images_of(tmp_path, 2 * MIB + MIB // 2) as images:
        async with images.checkout(names["a"]) as first:
            for name in "bcd":
                async with images.checkout(names[name]):
                    pass
            assert Path(first.layers[0], "name").read_text() == "a"
            assert len(list((tmp_path / "cache/layers").iterdir())) == 2
        async with images.checkout(names["b"]) as again:
            assert Path(again.layers[0], "name").read_text() == "b"
        assert len(list((tmp_path / "cache/layers").iterdir())) == 2


async def test_what_another_process_uses_stays(tmp_path: Path) -> None:
    """Whoever removes asks whether anybody holds it, in whatever process."""
    a, b = (
        f"oci:{layout(tmp_path / 'layouts' / name, {'': text(name, MIB)})}" for name in ("a", "b")
    )
    with images_of(tmp_path, MIB + MIB // 2) as mine, images_of(tmp_path, MIB + MIB // 2) as yours:
        async with mine.checkout(a) as used:
            async with yours.checkout(b):
                pass
            assert Path(used.layers[0], "name").read_text() == "a"


async def test_a_cache_of_another_boot_is_emptied(tmp_path: Path) -> None:
    """Nothing is flushed before a layer is used, so after a crash of the machine none is."""
    place = layout(tmp_path / "layouts/one", {"": text("one")})
    with images_of(tmp_path) as images:
        async with images.checkout(f"oci:{place}") as image:
            (record,) = (tmp_path / "cache/records").iterdir()
            said = json.loads(record.read_text())
    record.write_text(json.dumps(said | {"boot": "another"}))
    with images_of(tmp_path) as images:
        assert not Path(image.layers[0]).exists()
        async with images.checkout(f"oci:{place}") as again:
            assert again.layers != image.layers
            assert Path(again.layers[0], "name").read_text() == "one"


async def test_layers_are_shared(tmp_path: Path) -> None:
    """Two images with one base have one unpacked base, whatever is above it."""
    base = tar(entry("base"))
    one, two = picture(base, tar(entry("one"))), picture(base, tar(entry("two")))
    place = layout(tmp_path / "layouts/x", {"one": one, "two": two})
    with images_of(tmp_path) as images:
        async with (
            images.checkout(f"oci:{place}:one") as first,
            images.checkout(f"oci:{place}:two") as second,
        ):
            assert first.layers[0] == second.layers[0]
            assert first.layers[1] != second.layers[1]


async def test_few_idle_images_are_held(tmp_path: Path) -> None:
    """Those that were used last are at hand; the others are let go of."""
    tags = {f"t{n}": text(str(n)) for n in range(MOST_IDLE + 2)}
    place = layout(tmp_path / "layouts/x", tags)
    with images_of(tmp_path) as images:
        for tag in tags:
            async with images.checkout(f"oci:{place}:{tag}"):
                pass
        held = [tag for tag in tags if images.has(f"oci:{place}:{tag}")]
    assert held == list(tags)[2:]


def manifest(**more: Any) -> bytes:
    one = json.loads(text("x").manifest)
    return json.dumps(
        {key: value for key, value in (one | more).items() if value is not None}
    ).encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no JSON"),
        (b"[]", "no JSON object"),
        (b"[" * 100_000, "no JSON"),
        (manifest(schemaVersion=1), "schema version 1"),
        (manifest(layers=None), "neither"),
        (manifest(manifests=[]), "neither"),
        (manifest(layers=[]), "no layers"),
        (manifest(layers="x"), "no list"),
        (manifest(layers=[{}]), "no digest"),
        (manifest(layers=[{"digest": "sha256:../../etc", "size": 1}]), "no digest"),
        (manifest(layers=[{"digest": f"md5:{'0' * 32}", "size": 1}]), "no digest"),
        (manifest(layers=[{"digest": f"sha256:{'0' * 64}", "size": -1}]), "no size"),
        (manifest(layers=[{"digest": f"sha256:{'0' * 64}", "size": 1}]), "which is no layer"),
        (manifest(layers=json.loads(manifest())["layers"] * 200), "200 layers"),
        (manifest(config=None), "no object"),
        (manifest(layers=json.loads(manifest())["layers"] * 2), "1 diff_ids for 2 layers"),
    ],
)
async def test_documents_that_are_none(data: bytes, why: str, tmp_path: Path) -> None:
    """Whatever a manifest holds, the refusal says what is wrong with it."""
    place = layout(tmp_path / "layouts/x", {"": text("x")})
    spoil(place, digest(data), data)
    known = text("x").blobs
    for name, blob in known.items():
        spoil(place, name, blob)
    with images_of(tmp_path) as images:
        await refused(images, f"oci:{place}@{digest(data)}", why)


async def test_indexes_do_not_go_on_for_ever(tmp_path: Path) -> None:
    """An index may be in an index, not more than that."""
    from builder.images.documents import INDEX
    from tests.images.pictures import OWN

    one = text("deep")
    place = layout(tmp_path / "layouts/x", {"": one})
    inner = one
    for depth in range(3):
        data = index({OWN: inner})
        spoil(place, digest(data), data)
        inner = Picture(data, INDEX, {}, ())
        with images_of(tmp_path) as images:
            if depth < 2:
                async with images.checkout(f"oci:{place}@{inner.digest}") as image:
                    assert image.name.endswith(one.digest)
            else:
                await refused(images, f"oci:{place}@{inner.digest}", "index")
