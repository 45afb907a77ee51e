"""Settings that do not fit each other."""

from dataclasses import replace
from typing import Any

import pytest

from builder.config.checks import check, exposed, listeners
from builder.config.filling import Filler
from builder.config.settings import Settings

CUSTOM = {"launch": ["l"], "terminate": ["t"], "list": ["l"]}
AWS = {"region": "r", "image": "ami-1", "worker_config": "w"}
GCP = {"project": "p", "zones": ["z"], "worker_config": "w"}
N2 = {"type": "n2-standard-4", "hour": 1}
ZONED = {**N2, "place": "z"}
WIDE = {"coordinator": {"listen": "0.0.0.0:9000"}}
TLS = {"cert": "c", "key": "k"}
TOKENS = {"mode": "token", "tokens": [{"name": "n", "token": "t"}]}


def settings(values: dict[str, Any]) -> Settings:
    filler = Filler(lambda text, path: text, lambda path: "")
    made = filler.fill(Settings, values)
    assert filler.findings == []
    return made


@pytest.mark.parametrize(
    ("values", "key", "message"),
    [
        ({"pool": {"min": 3, "max": 2}}, "pool.min", "'pool.min' is 3, above 'pool.max' 2"),
        ({"pool": {"target": 1}}, "pool.target", "'pool.target' is 1, outside of 2 to 20"),
        ({"pool": {"target": 21}}, "pool.target", "'pool.target' is 21, outside of 2 to 20"),
        (
            {"role": "coordinator", "pool": {"min": 1}},
            "pool",
            "'pool' is set, but a coordinator has no local workers",
        ),
        (
            {"pool": {"scale_down_threshold": 0.75}},
            "pool.scale_down_threshold",
            "'pool.scale_down_threshold' 0.75 is not below 'pool.scale_up_threshold' 0.75",
        ),
        (
            {"pool": {"provider": "aws"}},
            "pool.provider",
            "'pool.provider' is aws, but 'providers.aws' is not set",
        ),
        (
            {"providers": {"aws": {**AWS, "spot_max_price": 0.1}}},
            "providers.aws.spot_max_price",
            "a spot price is set, but spot instances are not",
        ),
        (
            {"pools": [{"name": "default"}]},
            "pools.0.name",
            "there are two pools of the name 'default'",
        ),
        (
            {"pools": [{"name": "a b"}]},
            "pools.0.name",
            "the name 'a b' is no plain word, and this pool's workers are named by it",
        ),
        (
            {"pools": [{"name": "gpu", "min": 3, "max": 2}]},
            "pools.0.min",
            "'pools.0.min' is 3, above 'pools.0.max' 2",
        ),
        (
            {"pools": [{"name": "gpu", "provider": "aws"}], "role": "coordinator"},
            "pools.0.provider",
            "'pools.0.provider' is aws, but 'providers.aws' is not set",
        ),
        (
            {"pools": [{"name": "gpu", "provider": "gcp", "providers": {"gcp": GCP}}]},
            "pools.0.providers.gcp",
            "'pools.0.providers.gcp' needs a template or an image",
        ),
        (
            {"pools": [{"name": "gpu"}], "role": "coordinator"},
            "pools.0.provider",
            "'pools.0' is local, but a coordinator has no local workers",
        ),
        (
            {"pool": {"forecast": "f"}, "pools": [{"name": "gpu", "forecast": "f"}]},
            "pools.0.forecast",
            "another pool keeps its forecast in f",
        ),
        (
            {"pools": [{"name": "gpu", "record": "file"}]},
            "pools.0.record",
            "one trace is recorded for the whole service",
        ),
        (
            {"providers": {"aws": {**AWS, "prices": [{"type": "c7i.xlarge", "hour": 1}]}}},
            "providers.aws.prices",
            "'providers.aws.prices' has to name every type once: c7i.xlarge, c6i.xlarge",
        ),
        (
            {"providers": {"aws": {**AWS, "other_regions": [{"region": "r", "image": "ami-2"}]}}},
            "providers.aws.other_regions.0.region",
            "the region r is there already",
        ),
        (
            {"providers": {"gcp": {**GCP, "image": "i", "prices": [N2, {**N2, "place": "moon"}]}}},
            "providers.gcp.prices.1",
            "'providers.gcp.prices.1' is of n2-standard-4 in moon; places are ",
        ),
        (
            {"providers": {"gcp": {**GCP, "image": "i", "prices": [N2, ZONED, ZONED]}}},
            "providers.gcp.prices.2",
            "n2-standard-4 in z has a price already",
        ),
        (
            {
                "providers": {
                    "gcp": {**GCP, "image": "i", "prices": [{"type": "n1-large", "hour": 1}]}
                }
            },
            "providers.gcp.prices",
            "'providers.gcp.prices' has to name every type once: n2-standard-4",
        ),
        ({"providers": {"gcp": GCP}}, "providers.gcp", "'providers.gcp' needs a template or an"),
        ({"providers": {"k8s": {}}}, "providers.k8s", "'providers.k8s' needs a template or an"),
        ({"providers": {"custom": {}}}, "providers.custom", "'providers.custom' needs launch,"),
        (
            {"providers": {"custom": {"launch": ["l"]}}},
            "providers.custom",
            "'providers.custom' needs launch, terminate and list, or an entry_point",
        ),
        (
            {"providers": {"custom": {**CUSTOM, "entry_point": "a:B"}}},
            "providers.custom",
            "'providers.custom' needs launch, terminate and list, or an entry_point",
        ),
        (
            {"scheduler": {"heartbeat_timeout": "9s"}},
            "scheduler.heartbeat_timeout",
            "'scheduler.heartbeat_timeout' is less than two heartbeat intervals",
        ),
        (
            {"scheduler": {"max_timeout": "10m"}},
            "scheduler.default_timeout",
            "'scheduler.default_timeout' is above 'scheduler.max_timeout'",
        ),
        (
            {"reapi": {"instances": ["a", "b/blobs"]}},
            "reapi.instances.1",
            "instance name 'b/blobs' has a segment that resource names reserve",
        ),
        (
            {"reapi": {"max_batch_size": "5M"}},
            "reapi.max_batch_size",
            "a batch of 'reapi.max_batch_size' does not fit a message of at most",
        ),
        (
            {"reapi": {"limits": {"stream_window": "1G"}}},
            "reapi.limits.stream_window",
            "'reapi.limits.stream_window' is above 'reapi.limits.connection_window'",
        ),
        (
            {"metrics": {"listen": ":9001"}},
            "metrics.listen",
            "127.0.0.1:9001 is taken by 'reapi.listen' already",
        ),
        (
            WIDE,
            "coordinator.listen",
            "'coordinator.listen' 0.0.0.0:9000 can be reached by other machines, without TLS",
        ),
        (
            {**WIDE, "tls": TLS},
            "coordinator.listen",
            "'coordinator.listen' 0.0.0.0:9000 can be reached by other machines, without auth",
        ),
        ({"tls": {"cert": "c"}}, "tls.cert", "'tls.cert' is set, but 'tls.key' is not"),
        ({"tls": {"key": "c"}}, "tls.key", "'tls.key' is set, but 'tls.cert' is not"),
        ({"tls": {"client_ca": "c"}}, "tls.client_ca", "'tls.client_ca' is set, but 'tls.cert'"),
        ({"auth": {"mode": "token"}}, "auth.mode", "'auth.mode' is token, but 'auth.tokens' has"),
        ({"auth": {"mode": "mtls"}}, "auth.mode", "'auth.mode' is mtls, but 'tls.client_ca' is"),
        (
            {"auth": {**TOKENS, "mode": "none"}},
            "auth.tokens",
            "'auth.tokens' are set, but 'auth.mode' is none",
        ),
        (
            {"auth": {"results": "trusted"}},
            "auth.results",
            "'auth.results' is trusted, but 'auth.mode' is none: everybody may write",
        ),
        (
            {"auth": {**TOKENS, "identities": [{"name": "i", "role": "writer"}]}},
            "auth.identities",
            "'auth.identities' are set, but 'auth.mode' is token",
        ),
        ({"client": {"cert": "c"}}, "client.cert", "'client.cert' is set, but 'client.key' is"),
        ({"worker": {"key": "k"}}, "worker.key", "'worker.key' is set, but 'worker.cert' is"),
        (
            {"reapi": {"limits": {"stream_window": "65534"}}},
            "reapi.limits.stream_window",
            "'reapi.limits.stream_window' is 65534: from 65535 to 2147483647 bytes",
        ),
        (
            {"reapi": {"limits": {"max_frame_size": "16M"}}},
            "reapi.limits.max_frame_size",
            "'reapi.limits.max_frame_size' is 16777216: from 16384 to 16777215 bytes",
        ),
        (
            {"coordinator": {"listen": "unix:/s"}, "reapi": {"listen": "unix:/s"}},
            "reapi.listen",
            "unix:/s is taken by 'coordinator.listen' already",
        ),
        (
            {"auth": {"mode": "token", "tokens": TOKENS["tokens"] * 2}},
            "auth.tokens.1.name",
            "there are two tokens of the name 'n'",
        ),
    ],
)
def test_what_does_not_fit(values: dict[str, Any], key: str, message: str) -> None:
    """One finding, at the setting to change."""
    (finding,) = check(settings(values))
    assert ".".join(map(str, finding.path)) == key
    assert finding.message.startswith(message)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"pool": {"min": 0, "max": 0}},
        {"pool": {"target": 2}},
        {"role": "coordinator", "pool": {"name": "x"}},
        {"role": "worker", "pool": {"min": 1}},
        {"providers": {"custom": CUSTOM}, "pool": {"provider": "custom"}},
        {"providers": {"custom": {"entry_point": "a:B"}}},
        {"providers": {"aws": {**AWS, "spot": True, "spot_max_price": 0.1}}},
        {"reapi": {"listen": ":0"}, "metrics": {"listen": ":0"}},
        {"metrics": {"listen": ":9001", "enabled": False}},
        {**WIDE, "insecure": True},
        {**WIDE, "tls": TLS, "auth": TOKENS},
        {**WIDE, "role": "worker"},
        {"metrics": {"listen": "0.0.0.0:9090", "enabled": False}},
    ],
)
def test_what_fits(values: dict[str, Any]) -> None:
    """Bounds may touch; what is off or another role's is not held against anybody."""
    assert check(settings(values)) == []


def test_listeners_are_those_of_the_role() -> None:
    """A worker and a client listen on nothing."""
    made = Settings()
    assert [".".join(map(str, path)) for path in listeners(made)] == [
        "coordinator.listen",
        "reapi.listen",
        "artifacts.listen",
        "metrics.listen",
    ]
    assert listeners(replace(made, role="worker")) == listeners(replace(made, role="client")) == {}


def test_exposed_listeners_are_known_also_when_they_are_accepted() -> None:
    """So that a service can say it loudly in its log."""
    made = settings({**WIDE, "insecure": True})
    assert [str(address) for address in exposed(made).values()] == ["0.0.0.0:9000"]
    assert exposed(settings({**WIDE, "tls": TLS, "auth": TOKENS})) == {}


PEERS = "worker.peers.listen"


@pytest.mark.parametrize(
    ("peers", "more", "message"),
    [
        ({}, {}, ""),
        ({"listen": "10.0.0.7:9010"}, {"tls": TLS}, ""),
        ({"listen": "10.0.0.7:9010"}, {"insecure": True}, ""),
        ({"listen": "0.0.0.0:9010", "host": "w7.internal"}, {"tls": TLS}, ""),
        ({"listen": "10.0.0.7:9010"}, {}, "is open to other machines, without TLS"),
        ({"listen": "0.0.0.0:9010"}, {"tls": TLS}, "does not say how others reach it"),
    ],
)
def test_workers_listen_to_each_other_by_the_rules(
    peers: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    """They show a token whatever is set, so beyond loopback only TLS may be lacking."""
    given = {"role": "worker", "worker": {"peers": peers}, **more}
    with_stealing = {**given, "scheduler": {"work_stealing": True}}
    said = [
        f.message for f in check(settings(with_stealing)) if ".".join(map(str, f.path)) == PEERS
    ]
    assert [message in one for one in said] == ([True] if message else [])
    assert not [f for f in check(settings(given)) if f.path[:1] == ("worker",)]


def test_a_price_may_be_that_of_a_region_or_of_a_subnet_there() -> None:
    """Of each region that the pool has."""
    there = {"region": "there", "image": "ami-2", "subnets": ["subnet-2"]}
    places = ["r", "subnet-1", "there", "subnet-2"]
    prices = [{"type": "a", "hour": 1}, *({"type": "a", "hour": 1, "place": p} for p in places)]
    aws = {**AWS, "instance_types": ["a"], "subnets": ["subnet-1"], "other_regions": [there]}
    assert list(check(settings({"providers": {"aws": {**aws, "prices": prices}}}))) == []
