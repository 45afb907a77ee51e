"""EC2, as moto's server speaks it on loopback, with botocore's own credential chain."""

import base64
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import trio
import trio.testing
from moto.server import ThreadedMotoServer

from builder.providers import aws
from builder.providers.aws import AwsProvider
from builder.providers.aws_faults import mapped
from builder.providers.ec2 import Fleet, Region
from builder.providers.interface import (
    CapacityError,
    CredentialsError,
    Instance,
    Provider,
    ProviderError,
    QuotaError,
    RefusedError,
    TransientError,
)
from builder.providers.user_data import start_script
from builder.scale.market import Price
from tests.providers.contract import (
    CONTRACT,
    SURVIVING,
    Make,
    launches_are_listed,
    terminating_ends_and_is_forgiving,
)

IMAGE, ANOTHER = "ami-12c6146b", "ami-03cf127a"  # two of those that moto knows


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def fleet(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A fresh cloud, and credentials where botocore looks for them: in a file, by profile."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    credentials = tmp_path / "credentials"
    credentials.write_text("[build]\naws_access_key_id = AKIDBUILD\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    import httpx

    httpx.post(f"{endpoint}/moto-api/reset", timeout=120.0).raise_for_status()
    return Fleet(
        region="eu-central-1",
        image=IMAGE,
        instance_types=("c7i.xlarge", "c6i.xlarge"),
        user_data=start_script("aws", "role: worker\n"),
        tags={"team": "build"},
        profile="build",
        endpoint=endpoint,
    )


class OnMoto(AwsProvider):
    """moto starts MinCount instances where EC2 starts as many up to MaxCount as it has."""

    def _blocking(self, region: Region, method: str, request: dict[str, Any]) -> Any:
        if method == "run_instances":
            assert request["MinCount"] == 1
            request = {**request, "MinCount": request["MaxCount"]}
        return super()._blocking(region, method, request)


@cache  # each session would read the whole description of EC2 again
def session() -> botocore.session.Session:
    return botocore.session.Session()


def cloud(fleet: Fleet, region: str = "") -> Any:
    """An EC2 client of the test's own, to look at what is there."""
    keys = {"aws_access_key_id": "AKIDBUILD", "aws_secret_access_key": "s"}
    region = region or fleet.region
    return session().create_client("ec2", region, endpoint_url=fleet.endpoint, **keys)


def instances(fleet: Fleet, region: str = "") -> list[dict[str, Any]]:
    answer = cloud(fleet, region).describe_instances()
    return [one for group in answer["Reservations"] for one in group["Instances"]]


@pytest.mark.parametrize("promise", CONTRACT)
async def test_keeps_the_contract(
    promise: Callable[[Provider], Awaitable[None]], fleet: Fleet
) -> None:
    with trio.fail_after(60):
        await promise(OnMoto("pool", fleet))


@pytest.mark.parametrize("promise", SURVIVING)
async def test_survives(promise: Callable[[Make], Awaitable[None]], fleet: Fleet) -> None:
    with trio.fail_after(60):
        await promise(lambda pool: OnMoto(pool, fleet))


async def test_an_instance_is_as_it_was_wanted(fleet: Fleet) -> None:
    """Type, subnet, groups, key, tags, disk and user data arrive; nothing is left to chance."""
    client = cloud(fleet)
    subnet = client.describe_subnets()["Subnets"][0]
    group = client.create_security_group(
        GroupName="workers", Description="workers", VpcId=subnet["VpcId"]
    )["GroupId"]
    client.create_key_pair(KeyName="ops")
    wanted = replace(
        fleet,
        subnets=(subnet["SubnetId"],),
        security_groups=(group,),
        key_name="ops",
        disk_bytes=30 * 1024**3 + 1,
    )
    (started,) = await OnMoto("linux", wanted).launch(1, "one")
    (one,) = instances(fleet)
    assert one["InstanceId"] == started.id
    assert (one["InstanceType"], one["SubnetId"], one["KeyName"]) == (
        "c7i.xlarge",
        subnet["SubnetId"],
        "ops",
    )
    assert [entry["GroupId"] for entry in one["SecurityGroups"]] == [group]
    assert {tag["Key"]: tag["Value"] for tag in one["Tags"]} == {
        "team": "build",
        "Name": "builder-linux",
        "builder:pool": "linux",
        "builder:token": "one",
    }
    (volume,) = client.describe_volumes()["Volumes"]
    assert volume["Size"] == 31
    data = client.describe_instance_attribute(InstanceId=started.id, Attribute="userData")
    script = base64.b64decode(data["UserData"]["Value"]).decode()
    assert script.startswith("#!/bin/bash\n")
    assert base64.b64encode(b"role: worker\n").decode() in script
    assert "builder worker --config /etc/builder/worker.yaml" in script


async def test_spot_beyond_an_on_demand_base(fleet: Fleet) -> None:
    """Two that nobody takes back, then spot; later launches need no more on-demand."""
    provider = OnMoto("pool", replace(fleet, spot=True, spot_max_price=0.2, on_demand_base=2))
    await provider.launch(3, "one")
    await provider.launch(2, "two")
    kinds = sorted(one.get("InstanceLifecycle", "on-demand") for one in instances(fleet))
    assert kinds == ["on-demand", "on-demand", "spot", "spot", "spot"]


class Scarce(OnMoto):
    """Before the cloud stands what it answers to each type."""

    def __init__(self, fleet: Fleet, answers: dict[str, object]) -> None:
        super().__init__("pool", fleet)
        self.answers = answers
        self.asked: list[str] = []

    def _blocking(self, region: Region, method: str, request: dict[str, Any]) -> Any:
        if method == "run_instances":
            place = f"{request['InstanceType']}/{request.get('SubnetId', '-')}"
            self.asked.append(place)
            answer = self.answers.get(place, self.answers.get(request["InstanceType"]))
            if isinstance(answer, int):
                request = {**request, "MaxCount": min(answer, request["MaxCount"])}
            elif answer is not None:
                raise mapped(refusal(str(answer)))
        return super()._blocking(region, method, request)


def refusal(code: str, status: int = 400) -> Exception:
    from botocore.exceptions import ClientError

    answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {}}
    answer["ResponseMetadata"] = {"HTTPStatusCode": status}
    return ClientError(answer, "RunInstances")  # type: ignore[arg-type]


async def test_no_capacity_leads_to_the_next_subnet_and_type(fleet: Fleet) -> None:
    """One of three from the second subnet of the first type, the rest from the second type."""
    subnets = [one["SubnetId"] for one in cloud(fleet).describe_subnets()["Subnets"]][:2]
    first, second = subnets
    answers = {f"c7i.xlarge/{first}": "InsufficientInstanceCapacity", f"c7i.xlarge/{second}": 1}
    provider = Scarce(replace(fleet, subnets=(first, second)), answers)
    assert len(await provider.launch(3, "one")) == 3
    assert provider.asked == [f"c7i.xlarge/{first}", f"c7i.xlarge/{second}", f"c6i.xlarge/{first}"]
    types = sorted(one["InstanceType"] for one in instances(fleet))
    assert types == ["c6i.xlarge", "c6i.xlarge", "c7i.xlarge"]


async def test_a_quota_of_a_type_spares_its_other_subnets(fleet: Fleet) -> None:
    subnets = tuple(one["SubnetId"] for one in cloud(fleet).describe_subnets()["Subnets"][:2])
    provider = Scarce(replace(fleet, subnets=subnets), {"c7i.xlarge": "VcpuLimitExceeded"})
    assert len(await provider.launch(1, "one")) == 1
    assert provider.asked == [f"c7i.xlarge/{subnets[0]}", f"c6i.xlarge/{subnets[0]}"]


async def test_what_was_got_is_given_and_nothing_is_an_error(fleet: Fleet) -> None:
    answers: dict[str, object] = {"c7i.xlarge": 1, "c6i.xlarge": "InsufficientInstanceCapacity"}
    assert len(await Scarce(fleet, answers).launch(5, "one")) == 1
    answers["c7i.xlarge"] = "InsufficientInstanceCapacity"
    with pytest.raises(CapacityError, match="InsufficientInstanceCapacity: no"):
        await Scarce(fleet, answers).launch(5, "two")


async def test_a_lost_answer_is_asked_for_again_by_the_same_client_token(fleet: Fleet) -> None:
    """The second call repeats the attempt whose end nobody knows."""
    tokens: list[str] = []

    class Lossy(OnMoto):
        def _blocking(self, region: Region, method: str, request: dict[str, Any]) -> Any:
            if method != "run_instances":
                return super()._blocking(region, method, request)
            tokens.append(request["ClientToken"])
            if len(tokens) == 1:
                raise TransientError("read timed out")
            return super()._blocking(region, method, request)

    provider = Lossy("pool", fleet)
    with pytest.raises(TransientError):
        await provider.launch(2, "one")
    assert len(await provider.launch(2, "one")) == 2
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) == 64


async def test_a_list_that_lags_behind_is_helped(
    fleet: Fleet, mock_clock: trio.testing.MockClock
) -> None:
    """For a while what was launched counts as listed; then the cloud's word holds."""

    class Lagging(OnMoto):
        async def _described(self, region: Region) -> Any:
            for one in ():
                yield one

    provider = Lagging("pool", fleet)
    started = await provider.launch(1, "one")
    assert await provider.list() == started
    mock_clock.jump(aws.SETTLED_S + 1)
    assert await provider.list() == []


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("VcpuLimitExceeded", 400, QuotaError),
        ("InsufficientInstanceCapacity", 500, CapacityError),
        ("UnauthorizedOperation", 403, CredentialsError),
        ("RequestLimitExceeded", 503, TransientError),
        ("Whatever", 502, TransientError),
        ("InvalidAMIID.NotFound", 400, RefusedError),
    ],
)
def test_faults_are_told_apart(code: str, status: int, kind: type[ProviderError]) -> None:
    error = mapped(refusal(code, status))
    assert type(error) is kind
    assert error.message == f"{code}: no"


async def test_real_refusals(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that is not there, a profile that is not there, nobody who listens."""
    with pytest.raises(RefusedError, match="InvalidAMIID"):
        await AwsProvider("pool", replace(fleet, image="ami-00000000")).launch(1, "one")
    with pytest.raises(CredentialsError, match="nobody"):
        await AwsProvider("pool", replace(fleet, profile="nobody")).list()
    with pytest.raises(TransientError, match="Could not connect"):
        await AwsProvider("pool", replace(fleet, endpoint="http://127.0.0.1:1")).list()
    monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(CredentialsError, match="redentials"):
        await AwsProvider("pool", replace(fleet, profile=None)).list()


PRICES = {"c7i.xlarge": Price(0.20, 0.08), "c6i.xlarge": Price(0.18, 0.07)}


async def test_prices_choose_the_machine(fleet: Fleet) -> None:
    """The cheapest first; on-demand machines beyond the base only where no spot one is had."""
    answers: dict[str, object] = {}
    provider = Scarce(replace(fleet, spot=True, on_demand_base=1, prices=PRICES), answers)
    assert len(await provider.launch(2, "one")) == 2
    kinds = sorted(one.get("InstanceLifecycle", "on-demand") for one in instances(fleet))
    assert (kinds, provider.asked) == (["on-demand", "spot"], ["c6i.xlarge/-", "c6i.xlarge/-"])

    class NoSpot(Scarce):
        def _blocking(self, region: Region, method: str, request: dict[str, Any]) -> Any:
            if "InstanceMarketOptions" in request:
                raise CapacityError("InsufficientInstanceCapacity: no")
            return super()._blocking(region, method, request)

    scarce = NoSpot(replace(fleet, spot=True, on_demand_base=3, prices=PRICES), {})
    made = await scarce.launch(4, "two")
    assert len({one.id for one in made}) == 4
    assert scarce.asked == ["c6i.xlarge/-", "c6i.xlarge/-"]


async def test_a_subnet_may_be_cheaper_and_a_type_too_slow(fleet: Fleet) -> None:
    """The cheap type starts late: work that waits gets the other, where that costs least."""
    first, second = [one["SubnetId"] for one in cloud(fleet).describe_subnets()["Subnets"]][:2]
    prices = {
        "c7i.xlarge": Price(0.10, start_up_s=300.0),
        "c6i.xlarge": Price(0.18, start_up_s=40.0),
        ("c6i.xlarge", second): Price(0.17, start_up_s=40.0),
    }
    provider = Scarce(replace(fleet, subnets=(first, second), prices=prices), {})
    await provider.launch(1, "one", urgent=True)
    await provider.launch(1, "two")
    assert provider.asked == [f"c6i.xlarge/{second}", f"c7i.xlarge/{first}"]


async def test_what_is_not_to_be_had_is_not_asked_for_first_again(
    fleet: Fleet, mock_clock: trio.testing.MockClock
) -> None:
    """For a while; then it is."""
    provider = Scarce(fleet, {"c7i.xlarge": "InsufficientInstanceCapacity"})
    await provider.launch(1, "one")
    await provider.launch(1, "two")
    assert provider.asked == ["c7i.xlarge/-", "c6i.xlarge/-", "c6i.xlarge/-"]
    mock_clock.jump(61)
    provider.answers.clear()
    await provider.launch(1, "three")
    assert provider.asked[3:] == ["c7i.xlarge/-"]


async def test_a_kind_that_is_taken_back_is_left(fleet: Fleet) -> None:
    """By the word of AWS, also where the notice came first and we have ended it ourselves."""

    class Marked(OnMoto):
        def _blocking(self, region: Region, method: str, request: dict[str, Any]) -> Any:
            if method != "describe_spot_instance_requests":
                return super()._blocking(region, method, request)
            ids = request["Filters"][0]["Values"]
            status = {"Code": "marked-for-termination"}
            return {"SpotInstanceRequests": [{"InstanceId": id_, "Status": status} for id_ in ids]}

    provider = Marked("pool", replace(fleet, spot=True, prices=PRICES))
    started = await provider.launch(8, "one")
    assert {one["InstanceType"] for one in instances(fleet)} == {"c6i.xlarge"}
    await provider.terminate([one.id for one in started])
    await provider.launch(1, "two")
    there = [one["InstanceType"] for one in instances(fleet) if one["State"]["Name"] == "running"]
    assert there == ["c7i.xlarge"]


IRELAND = "eu-west-1"


def in_two_regions(fleet: Fleet, **other: Any) -> Fleet:
    return replace(fleet, others=(Region(IRELAND, ANOTHER, **other),))


def live(fleet: Fleet, region: str) -> list[str]:
    """The types that run there."""
    there = instances(fleet, region)
    return [one["InstanceType"] for one in there if one["State"]["Name"] == "running"]


@pytest.mark.parametrize("promise", [launches_are_listed, terminating_ends_and_is_forgiving])
async def test_keeps_the_contract_over_two_regions(
    promise: Callable[[Provider], Awaitable[None]], fleet: Fleet
) -> None:
    with trio.fail_after(60):
        await promise(OnMoto("pool", in_two_regions(fleet)))


async def test_the_cheapest_region_first_with_what_is_its_own(fleet: Fleet) -> None:
    """Its image, subnet and key; the price of a region is that of its subnets. What both have is
    listed, and ended where it is."""
    client = cloud(fleet, IRELAND)
    subnet = client.describe_subnets()["Subnets"][0]["SubnetId"]
    client.create_key_pair(KeyName="there")
    prices = {
        "c7i.xlarge": Price(0.20),
        "c6i.xlarge": Price(0.18),
        ("c6i.xlarge", IRELAND): Price(0.16),
    }
    both = replace(in_two_regions(fleet, subnets=(subnet,), key_name="there"), prices=prices)
    provider = OnMoto("pool", both)
    (cheap,) = await provider.launch(1, "one")
    (one,) = instances(both, IRELAND)
    assert (one["InstanceId"], one["InstanceType"]) == (cheap.id, "c6i.xlarge")
    assert (one["SubnetId"], one["KeyName"]) == (subnet, "there")
    assert one["ImageId"] == ANOTHER
    (dear,) = await OnMoto("pool", fleet).launch(1, "two")
    assert {found.id for found in await provider.list()} == {cheap.id, dear.id}
    await OnMoto("pool", both).terminate([cheap.id, dear.id, "i-nobody"])
    assert (live(both, IRELAND), live(both, both.region)) == ([], [])


class Away(OnMoto):
    """A region that does not answer, or has no quota."""

    def __init__(self, fleet: Fleet, region: str, fault: ProviderError) -> None:
        super().__init__("pool", fleet)
        self.region, self.fault = region, fault
        self.is_away = True
        self.asked: list[str] = []

    def _blocking(self, region: Region, method: str, request: dict[str, Any]) -> Any:
        if method == "run_instances":
            self.asked.append(region.name)
        told = isinstance(self.fault, QuotaError) and method != "run_instances"
        if self.is_away and region.name == self.region and not told:
            raise self.fault
        return super()._blocking(region, method, request)


FAULTS = (
    TransientError("Could not connect"),
    RefusedError("InvalidAMIID.NotFound: no"),
    QuotaError("VcpuLimitExceeded: no"),
)


async def test_a_region_that_fails_leads_to_the_next(fleet: Fleet) -> None:
    """At once; what it has does not look gone."""
    both = in_two_regions(fleet)
    here = await OnMoto("pool", fleet).launch(1, "here")
    there: list[Instance] = []
    asked = []
    for number, fault in enumerate(FAULTS):
        provider = Away(both, both.region, fault)
        provider.is_away = False
        await provider.list()
        provider.is_away = True
        there += await provider.launch(1, str(number))
        assert {one.id for one in await provider.list()} == {one.id for one in (*here, *there)}
        asked.append(len(provider.asked))
        with pytest.raises(type(fault)):
            await Away(fleet, fleet.region, fault).launch(1, "alone")
    assert live(both, IRELAND) == ["c7i.xlarge"] * 3
    assert asked == [2, 2, 2]


async def test_what_was_never_known_is_not_taken_for_nothing(fleet: Fleet) -> None:
    """A region that has not answered yet may have machines of ours: the list is not whole."""
    both = in_two_regions(fleet)
    provider = Away(both, IRELAND, TransientError("Could not connect"))
    with pytest.raises(TransientError):
        await provider.list()
    refused = Away(both, IRELAND, CredentialsError("OptInRequired: no"))
    assert await refused.list() == []  # a region that we may not use has none


async def test_start_ups_are_learned(fleet: Fleet, mock_clock: trio.testing.MockClock) -> None:
    """The cheap type was told to be quick, and is not: work that waits gets the other then."""
    prices = {"c7i.xlarge": Price(0.10), "c6i.xlarge": Price(0.18)}
    provider = Scarce(replace(fleet, prices=prices), {})
    (slow,) = await provider.launch(1, "one", urgent=True)
    (quick,) = await Scarce(fleet, {}).launch(1, "theirs")
    mock_clock.jump(200.0)
    provider.joined(slow.id)
    provider.joined(quick.id)  # another coordinator's: nothing is known of its launch
    provider.answers["c7i.xlarge"] = "InsufficientInstanceCapacity"
    (second,) = await provider.launch(1, "two")
    mock_clock.jump(40.0)
    provider.joined(second.id)
    provider.answers.clear()
    mock_clock.jump(120.0)
    await provider.launch(1, "three", urgent=True)
    await provider.launch(1, "four")
    assert provider.asked[-2:] == ["c6i.xlarge/-", "c7i.xlarge/-"]
