"""EC2, as moto's server speaks it on loopback, with botocore's own credential chain."""

import base64
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import trio
import trio.testing
from moto.server import ThreadedMotoServer

from builder.providers import aws
from builder.providers.aws import AwsProvider, Fleet
from builder.providers.aws_faults import mapped
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
from tests.providers.contract import CONTRACT, SURVIVING, Make

IMAGE = "ami-12c6146b"  # one of those that moto knows


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

    def _blocking(self, method: str, request: dict[str, Any]) -> Any:
        if method == "run_instances":
            assert request["MinCount"] == 1
            request = {**request, "MinCount": request["MaxCount"]}
        return super()._blocking(method, request)


def cloud(fleet: Fleet) -> Any:
    """An EC2 client of the test's own, to look at what is there."""
    session = botocore.session.Session(profile="build")
    return session.create_client("ec2", region_name=fleet.region, endpoint_url=fleet.endpoint)


def instances(fleet: Fleet) -> list[dict[str, Any]]:
    answer = cloud(fleet).describe_instances()
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

    def _blocking(self, method: str, request: dict[str, Any]) -> Any:
        if method == "run_instances":
            place = f"{request['InstanceType']}/{request.get('SubnetId', '-')}"
            self.asked.append(place)
            answer = self.answers.get(place, self.answers.get(request["InstanceType"]))
            if isinstance(answer, int):
                request = {**request, "MaxCount": min(answer, request["MaxCount"])}
            elif answer is not None:
                raise mapped(refusal(str(answer)))
        return super()._blocking(method, request)


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
        def _blocking(self, method: str, request: dict[str, Any]) -> Any:
            if method != "run_instances":
                return super()._blocking(method, request)
            tokens.append(request["ClientToken"])
            if len(tokens) == 1:
                raise TransientError("read timed out")
            return super()._blocking(method, request)

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
        async def _described(self) -> Any:
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
        def _blocking(self, method: str, request: dict[str, Any]) -> Any:
            if "InstanceMarketOptions" in request:
                raise CapacityError("InsufficientInstanceCapacity: no")
            return super()._blocking(method, request)

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
        def _blocking(self, method: str, request: dict[str, Any]) -> Any:
            if method != "describe_spot_instance_requests":
                return super()._blocking(method, request)
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
