import json
from pathlib import Path

import pytest

from builder.cli.main import run


def test_a_recorded_trace_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One row a policy, with its cost, and a plot."""
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"at_s": 1, "duration_s": 10}\n\n{"at_s": 0, "duration_s": 10}\n')
    args = ["pool", "simulate", str(trace), "--policy", "static", "--max", "3", "--slots", "1"]
    assert run(args, "builder") == 0
    out = capsys.readouterr().out
    assert "2 actions, 40s start-up" in out
    assert "static" in out
    assert "workers, below them actions" in out


def test_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line."""
    args = ["pool", "simulate", "quiet", "--policy", "hpa", "--policy", "predictive", "--json"]
    assert run(args, "builder") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["policy"] for row in rows] == ["hpa", "predictive"]
    assert all(row["worker_hours"] > 0 for row in rows)


SMALL = "type=small,hour=0.20,spot_hour=0.08,slots=2"
BIG = "type=small,place=north,hour=0.18,spot_hour=0.05,slots=2,start_up=1m,interruptions=0,most=3"


def test_machines_are_bought_in_several_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cost-aware choice takes the least money of them, at the same waits."""
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(f'{{"at_s": {20 * n}, "duration_s": 15}}\n' for n in range(60)))
    args = ["pool", "simulate", str(trace), "--machine", SMALL, "--machine", BIG]
    assert run([*args, "--no-plot"], "builder") == 0
    out = capsys.readouterr().out
    assert "2 kinds of machines" in out
    assert [line.split()[0] for line in out.splitlines()[3:]] == ["predictive"] * 4
    assert run([*args, "--json", "--buy", "cost-aware", "--policy", "static"], "builder") == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["policy"], row["bought"]) == ("static", "cost-aware")
    assert run([*args, "--json"], "builder") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    costs = {row["bought"]: row["cost"] for row in rows}
    assert min(costs, key=lambda how: costs[how]) == "cost-aware"
    assert costs["cost-aware"] < 0.35 * costs["on demand, in order"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--machine", "type=a"], "--machine type=a: it needs a type and what an hour of it costs"),
        (["--machine", "typ=a,hour=1"], "write KEY=VALUE once each of type, place, hour,"),
        (["--machine", "type=a,hour=1,hour=2"], "write KEY=VALUE once each of"),
        (["--machine", "type=a,hour=much"], "'much' is not a number from 0 on"),
        (
            ["--machine", "type=a,hour=-1"],
            "--machine type=a,hour=-1: '-1' is not a number from 0 on",
        ),
        (["--machine", "type=a,hour=1,slots=0"], "'0' is not a whole number from 1 on"),
        (["--machine", "type=a,hour=1,start_up=soon"], "'soon' is not a duration"),
        (["--machine", SMALL, "--machine", SMALL], "there is one of that type and place already"),
        (["--machine", SMALL, "--price", "1"], "--price: say it of each --machine"),
        (["--machine", SMALL, "--buy", "cost"], "--buy cost: "),
        (["--buy", "cost-aware"], "--buy chooses among machines"),
    ],
)
def test_wrong_machines(args: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pool", "simulate", "quiet", *args], "builder") == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["bursti"], "bursti is neither a file nor one of"),
        (["quiet", "--policy", "hpb"], "no policy 'hpb'; did you mean 'hpa'?"),
        (["quiet", "--min", "5", "--max", "2"], "want 0 <= min <= max"),
        (["quiet", "--min", "0", "--max", "0"], "max at least 1"),
        (["quiet", "--price", "-1"], "--price -1: want 0 or more"),
        (["quiet", "--slots", "0"], "at least one action"),
        (["quiet", "--start-up", "soon"], "--start-up: 'soon' is not a duration"),
    ],
)
def test_wrong_arguments(args: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is exit code 2 and one line that says what is right."""
    assert run(["pool", "simulate", *args], "builder") == 2
    assert says in capsys.readouterr().err


def test_a_file_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_bytes(b"\xff\xfe")
    assert run(["pool", "simulate", str(trace)], "builder") == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["{}", "no", '{"at_s": -1, "duration_s": 1}', "[1, 2]"])
def test_a_wrong_line_is_named(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its number, and how a right one looks."""
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"at_s": 1, "duration_s": 10}\n' + line + "\n")
    assert run(["pool", "simulate", str(trace)], "builder") == 2
    assert f'{trace}:2:1: not an action; write {{"at_s"' in capsys.readouterr().err


CONFIG = """role: coordinator
coordinator: {listen: "127.0.0.1:9000"}
pool: {provider: aws, min: 2, max: 9, autoscale: true, policy: hpa}
pools:
  - {name: gpu, provider: gcp, min: 0, max: 3, autoscale: true, providers: {gcp: {project: p,
      zones: [z-a, z-b], template: t, machine_types: [g2], worker_config: nowhere.yaml,
      prices: [{type: g2, hour: 1.5, slots: 1}]}}}
providers:
  aws:
    region: north
    image: ami-1
    instance_types: [small, big]
    worker_config: nowhere.yaml
    spot: true
    other_regions: [{region: south, image: ami-2}]
    prices:
      - {type: small, hour: 0.20, spot_hour: 0.08, slots: 2}
      - {type: small, place: south, hour: 0.18, spot_hour: 0.05, slots: 2, start_up: 90s}
      - {type: big, hour: 0.40, slots: 4}
"""


def test_a_configured_pool_is_simulated_with_its_own_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bounds, policy, prices by place, and how it buys; what is said beside it counts more."""
    config, trace = tmp_path / "service.yaml", tmp_path / "trace.jsonl"
    config.write_text(CONFIG)
    trace.write_text("".join(f'{{"at_s": {20 * n}, "duration_s": 15}}\n' for n in range(60)))
    args = ["pool", "simulate", str(trace), "--config", str(config), "--no-plot"]
    assert run(args, "builder") == 0
    out = capsys.readouterr().out
    assert "60 actions, 4 kinds of machines" in out
    assert [line.split()[0] for line in out.splitlines()[3:]] == ["hpa"]
    assert "cost-aware" in out
    assert run([*args, "--json", "--policy", "static", "--max", "6"], "builder") == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["policy"], row["bought"], row["most_workers"]) == ("static", "cost-aware", 2)
    assert run([*args, "--pool", "gpu", "--json"], "builder") == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["policy"], row["bought"]) == ("predictive", "on demand, by price")
    assert run([*args, "--pool", "cpu"], "builder") == 2
    assert "--pool cpu: did you mean 'gpu'?" in capsys.readouterr().err
