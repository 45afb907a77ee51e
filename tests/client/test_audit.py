"""What an audit found, in words."""

from builder.client.audit import MOST_SHOWN, audit_of, report
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2

Access = workers_pb2.Audit.Access


def lines(*outside: workers_pb2.Audit.Access, complete: bool = True) -> list[str]:
    audit = workers_pb2.Audit(complete=complete, outside=outside, count=50)
    audit.outside_count = len(outside)
    return list(report(audit, lambda path: path == "src/seen.h"))


def test_nothing_undeclared() -> None:
    """One line; an audit that may have missed something says so."""
    assert lines() == ["audit: 50 names used, all of them declared"]
    assert lines(complete=False)[0].endswith("declared, and there may be more")


def test_each_use_has_its_advice() -> None:
    """The line to add, where there is one."""
    work = "/builder/work/"
    said = lines(
        Access(name=f"{work}src/seen.h", use="read", program="/usr/bin/cc1"),
        Access(name=f"{work}src/made.h", use="look", program="/usr/bin/cc1", there=True),
        Access(name=f"{work}junk", use="write", program="/bin/bash"),
        Access(name="/opt/sdk/x", use="read", program="/bin/cat", there=True),
        Access(name="192.0.2.1:80", use="connect", program="/usr/bin/curl", there=True),
        Access(name="unix:/run/dbus", use="connect", program="/bin/bash", there=True),
        Access(name="pypi.org:443", use="connect", program="proxy", there=True),
        Access(name="b.org", use="connect", program="/usr/bin/curl", there=True),
        Access(name="a.org:8443", use="connect", program="proxy", there=True),
    )
    assert said == [
        "audit: 9 of 50 names used are not declared",
        "  read    src/seen.h (by cc1); declare it: 'inputs: [src/seen.h]'",
        "  look    src/made.h (by cc1); no target makes it",
        "  write   junk (by bash); if it is to be kept: 'outputs: [junk]', else write to /tmp",
        "  read    /opt/sdk/x (by cat); it is no file of the project: have it as an input instead",
        "  connect 192.0.2.1:80 (by curl); if it must: 'hermetic: {network: true}'",
        "  connect unix:/run/dbus (by bash); no service of the host is in the sandbox",
        "  connect pypi.org:443 (by proxy); if it must: 'hermetic: {network: [pypi.org]}'",
        "  connect b.org (by curl); if it must: 'hermetic: {network: [b.org]}'",
        "  connect a.org:8443 (by proxy); if it must: 'hermetic: {network: ['a.org:8443']}'",
    ]


def test_what_is_nowhere_is_not_used() -> None:
    """Neither in the sandbox nor in the project: some are named, of who looks for many the last."""
    work = "/builder/work/"
    headers = [Access(name=f"{work}inc/{n}.h", use="read", program="cc1") for n in range(4)]
    said = lines(
        *headers,
        Access(name=f"{work}config", use="read", program="/bin/cat"),
        Access(name="unix:/var/run/nscd/socket", use="connect", program="bash"),
    )
    vain = "config (by cat), unix:/var/run/nscd/socket (by bash), inc/0.h (by cc1), 3 more"
    declared = "audit: 50 names used, all of them declared"
    assert said == [f"{declared} (6 were looked for and are nowhere: {vain})"]
    seen = Access(name="/builder/work/src/seen.h", use="look", program="cc1")
    assert lines(seen)[1] == "  look    src/seen.h (by cc1); declare it: 'inputs: [src/seen.h]'"


def test_not_all_of_very_many() -> None:
    """The first ones, and how many more."""
    said = lines(*(Access(name=f"/x/{n}", use="read", program="p", there=True) for n in range(50)))
    assert len(said) == MOST_SHOWN + 2
    assert said[-1] == "  ... and 30 more"


def test_only_audited_actions_have_one() -> None:
    """It is found among other metadata."""
    metadata = pb.ExecutedActionMetadata()
    metadata.auxiliary_metadata.add().Pack(workers_pb2.ExecutionProof(backend="namespaces"))
    assert audit_of(metadata) is None
    proof = workers_pb2.ExecutionProof()
    proof.audit.count = 3
    metadata.auxiliary_metadata.add().Pack(proof)
    found = audit_of(metadata)
    assert found is not None
    assert found.count == 3
