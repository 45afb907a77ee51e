"""Compute Engine against a small server, with google-auth's own service account flow."""

import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from builder.providers.gcp import GcpProvider, Machines, instance_name, label, open_gcp
from builder.providers.gcp_faults import fault, operation_fault
from builder.providers.interface import (
    CapacityError,
    CredentialsError,
    Provider,
    ProviderError,
    QuotaError,
    RefusedError,
    TransientError,
)
from builder.providers.user_data import start_script
from builder.scale.market import Price
from tests.providers.compute_api import Compute, serving
from tests.providers.contract import CONTRACT, SURVIVING, Make

WANTED = Machines(
    project="proj",
    zones=("zone-a", "zone-b"),
    machine_types=("n2-standard-4", "e2-standard-4"),
    startup_script=start_script("gcp", "role: worker\n"),
    image="projects/build/global/images/family/worker",
)


@pytest.fixture
def compute() -> Iterator[Compute]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    subprocess.run(
        ["openssl", "genrsa", "-out", str(path), "2048"], check=True, capture_output=True
    )
    return path.read_text()


@pytest.fixture
def credentials(compute: Compute, key: str, tmp_path: Path) -> str:
    """A service account's file, whose tokens come from the small server."""
    path = tmp_path / "account.json"
    account = {
        "type": "service_account",
        "project_id": "proj",
        "private_key_id": "1",
        "private_key": key,
        "client_email": "builder@proj.iam.gserviceaccount.com",
        "token_uri": f"{compute.url}/token",
    }
    path.write_text(json.dumps(account))
    return str(path)


@asynccontextmanager
async def machines(
    compute: Compute, credentials: str | None, wanted: Machines = WANTED
) -> AsyncIterator[GcpProvider]:
    wanted = replace(wanted, endpoint=wanted.endpoint or compute.url)
    with trio.fail_after(120):
        async with open_gcp("pool", wanted, credentials) as provider:
            yield provider


@pytest.mark.parametrize("promise", CONTRACT)
async def test_keeps_the_contract(
    promise: Callable[[Provider], Awaitable[None]], compute: Compute, credentials: str
) -> None:
    async with machines(compute, credentials) as provider:
        await promise(provider)


@pytest.mark.parametrize("promise", SURVIVING)
async def test_survives(
    promise: Callable[[Make], Awaitable[None]], compute: Compute, credentials: str
) -> None:
    wanted = replace(WANTED, endpoint=compute.url)
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(open_gcp(pool, wanted, credentials))
            for pool in ("pool", "pool", "pool", "other")
        ]
        with trio.fail_after(60):
            await promise(lambda pool: made.pop() if pool == "other" else made.pop(0))


async def test_an_instance_is_as_it_was_wanted(compute: Compute, credentials: str) -> None:
    """Everything that the settings say is in the resource, and the account's token let it in."""
    wanted = replace(
        WANTED,
        network="global/networks/build",
        subnetwork="regions/r/subnetworks/s",
        service_account="worker@proj.iam.gserviceaccount.com",
        labels={"team": "build"},
        disk_bytes=30 * 1024**3,
    )
    async with machines(compute, credentials, wanted) as provider:
        (started,) = await provider.launch(1, "one")
    made = compute.instances[started.id]
    assert made["machineType"] == "zones/zone-a/machineTypes/n2-standard-4"
    assert made["labels"] == {"team": "build", "builder-pool": "pool", "builder-launch": "one"}
    assert made["disks"] == [
        {
            "boot": True,
            "autoDelete": True,
            "initializeParams": {"sourceImage": wanted.image, "diskSizeGb": "30"},
        }
    ]
    assert made["networkInterfaces"] == [
        {"network": wanted.network, "subnetwork": wanted.subnetwork}
    ]
    assert made["serviceAccounts"][0]["email"] == wanted.service_account
    (item,) = made["metadata"]["items"]
    assert (item["key"], item["value"]) == ("startup-script", wanted.startup_script)
    assert "scheduling" not in made
    assert compute.grants[0]["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert len(compute.grants) == 1  # one token serves them all


async def test_a_template_and_spot_beyond_a_base(compute: Compute, credentials: str) -> None:
    """What a template has is left to it; preempted machines are deleted."""
    wanted = replace(WANTED, template="worker", image=None, spot=True, on_demand_base=1)
    async with machines(compute, credentials, wanted) as provider:
        names = [one.id for one in await provider.launch(2, "one")]
        names += [one.id for one in await provider.launch(1, "two")]
    assert set(compute.templates) == {"global/instanceTemplates/worker"}
    kinds = [compute.instances[name].get("scheduling") for name in names]
    spot = {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"}
    assert kinds == [None, spot, spot]
    assert not any(
        "disks" in one or "networkInterfaces" in one for one in compute.instances.values()
    )


async def test_no_capacity_leads_to_the_next_zone_and_type(
    compute: Compute, credentials: str
) -> None:
    """The operation's error tells of it, after the insert was taken."""
    compute.exhausted = {"n2-standard-4": "ZONE_RESOURCE_POOL_EXHAUSTED"}
    async with machines(compute, credentials) as provider:
        (started,) = await provider.launch(1, "one")
        assert compute.asked == [
            "zone-a/n2-standard-4",
            "zone-b/n2-standard-4",
            "zone-a/e2-standard-4",
        ]
        compute.exhausted["e2-standard-4"] = "QUOTA_EXCEEDED"
        with pytest.raises(CapacityError, match="ZONE_RESOURCE_POOL_EXHAUSTED"):
            await provider.launch(1, "two")  # a person alone could help with the other
        compute.exhausted["n2-standard-4"] = "QUOTA_EXCEEDED"
        with pytest.raises(QuotaError, match="QUOTA_EXCEEDED"):
            await provider.launch(1, "three")
        await provider.terminate([started.id])
        assert compute.instances == {}


PRICES = {"n2-standard-4": Price(0.2, 0.08), "e2-standard-4": Price(0.15, 0.06)}


async def test_prices_choose_the_machine(compute: Compute, credentials: str) -> None:
    """The cheapest first; where spot has no capacity, the cheapest on demand."""
    wanted = replace(WANTED, spot=True, prices=PRICES)
    async with machines(compute, credentials, wanted) as provider:
        await provider.launch(1, "one")
        assert compute.asked == ["zone-a/e2-standard-4"]
        compute.spotless = True
        (second,) = await provider.launch(1, "two")
    assert compute.asked[-1] == "zone-a/e2-standard-4"
    assert len(compute.asked) == 1 + 4 + 1
    assert "scheduling" not in compute.instances[second.id]


async def test_what_was_stopped_is_deleted(compute: Compute, credentials: str) -> None:
    """A machine that has shut itself down serves nobody, and its disk would be paid for."""
    async with machines(compute, credentials) as provider:
        stopped, going, there = [one.id for one in await provider.launch(3, "one")]
        compute.instances[stopped]["status"] = "TERMINATED"
        compute.instances[going]["status"] = "DEPROVISIONING"
        assert [one.id for one in await provider.list()] == [there]
        assert set(compute.instances) == {going, there}


async def test_zones_of_two_regions_by_price(compute: Compute, credentials: str) -> None:
    """The cheaper region first; while work waits, the one whose machines start in time."""
    there = ("e2-standard-4", "zone-b")
    prices = {**PRICES, there: Price(0.1, start_up_s=120.0)}
    async with machines(compute, credentials, replace(WANTED, prices=prices)) as provider:
        await provider.launch(1, "one")
        await provider.launch(1, "two", urgent=True)
    assert compute.asked == ["zone-b/e2-standard-4", "zone-a/e2-standard-4"]


async def test_a_zone_that_takes_machines_back_is_left(compute: Compute, credentials: str) -> None:
    """Whether they are gone from the list, or going when we end them; others end without a word."""
    wanted = replace(WANTED, spot=True, prices=PRICES)
    async with machines(compute, credentials, wanted) as provider:
        started = [one.id for one in await provider.launch(4, "one")]
        for name in started[:3]:
            compute.instances[name]["status"] = "STOPPING"
        del compute.instances[started[0]]
        assert [one.id for one in await provider.list()] == started[3:]
        await provider.terminate(started)
        await provider.launch(1, "two")
        assert compute.asked == ["zone-a/e2-standard-4"] * 4 + ["zone-b/e2-standard-4"]


async def test_machines_of_a_launch_are_made_at_once(compute: Compute, credentials: str) -> None:
    """Google takes many seconds for each: none is done here before all are asked for."""
    compute.together = 4
    with trio.fail_after(60):
        async with machines(compute, credentials) as provider:
            assert len(await provider.launch(4, "one")) == 4


async def test_what_several_find_sold_out_rests_as_for_one(
    compute: Compute, credentials: str, mock_clock: trio.testing.MockClock
) -> None:
    """For a minute, not for the longer which each more refusal would cost."""
    compute.exhausted["zone-a/n2-standard-4"] = "STOCKOUT"
    async with machines(compute, credentials) as provider:
        await provider.launch(4, "one")
        mock_clock.jump(61)
        compute.exhausted.clear()
        await provider.launch(1, "two")
    assert compute.asked[-1] == "zone-a/n2-standard-4"


async def test_what_is_stopping_does_not_count(compute: Compute, credentials: str) -> None:
    async with machines(compute, credentials) as provider:
        first, second = await provider.launch(2, "one")
        compute.instances[first.id]["status"] = "STOPPING"
        assert await provider.list() == [second]


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (401, "authError", CredentialsError),
        (403, "forbidden", CredentialsError),
        (403, "quotaExceeded", QuotaError),
        (403, "rateLimitExceeded", TransientError),
        (429, "", TransientError),
        (503, "backendError", TransientError),
        (400, "invalid", RefusedError),
        (404, "notFound", RefusedError),
    ],
)
async def test_refusals(
    status: int, reason: str, kind: type[ProviderError], compute: Compute, credentials: str
) -> None:
    compute.refuse = (status, reason, "no luck")
    async with machines(compute, credentials) as provider:
        with pytest.raises(kind, match=f"{status}: no luck"):
            await provider.list()


def test_answers_that_are_not_google_s() -> None:
    """A proxy's page, and operations without words."""
    assert type(fault(502, "<html>")) is TransientError
    assert fault(400, "").message == "Google: 400: no reason given"
    assert type(operation_fault({})) is TransientError
    stock = operation_fault({"errors": [{"code": "STOCKOUT", "message": "m"}]})
    assert (type(stock), stock.message) == (CapacityError, "Google: STOCKOUT: m")


async def test_credentials_that_cannot_be_used(
    compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is none, one that is not there, and a token service that does not answer."""
    path = tmp_path / "none.json"
    path.write_text("{}")
    async with machines(compute, str(path)) as provider:
        with pytest.raises(CredentialsError, match="of the type None"):
            await provider.list()
    account = {"type": "service_account", "client_email": "x", "private_key": "none"}
    path.write_text(json.dumps({**account, "token_uri": f"{compute.url}/token"}))
    async with machines(compute, str(path)) as provider:
        with pytest.raises(CredentialsError, match="Google's credentials: "):
            await provider.list()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    async with machines(compute, None) as provider:
        with pytest.raises(CredentialsError, match="missing"):
            await provider.list()


async def test_the_usual_chain(
    compute: Compute, credentials: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", credentials)
    async with machines(compute, None) as provider:
        assert await provider.list() == []
    async with machines(compute, None, replace(WANTED, endpoint="http://127.0.0.1:1")) as provider:
        with pytest.raises(TransientError, match="Google"):
            await provider.list()


def test_names_and_labels_are_valid_whatever_the_pool_is_called() -> None:
    assert label("run-launch-1") == "run-launch-1"
    odd = [label("Größe 1/2"), label("Größe 1 2"), label("x" * 80)]
    assert len(set(odd)) == 3
    assert all(len(one) <= 63 for one in odd)
    assert instance_name("A b", "1", 2).startswith("builder-a-b-")
    assert len(instance_name("x" * 99, "1", 100000)) <= 63
