"""`serve`, `worker` and `remote` from the command line, as far as no service is needed."""

import pytest

from builder.cli.main import run


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = run(args, "builder")
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("serve", "--help"), "--workers-min"),
        (("worker", "--help"), "--coordinator"),
        (("remote", "--help"), "status"),
        (("remote", "status", "--help"), "--json"),
        (("remote", "scale", "--help"), "--release"),
        (("remote", "drain", "--help"), "--grace"),
    ],
)
def test_help_shows_options_and_examples(
    capsys: pytest.CaptureFixture[str], args: tuple[str, ...], says: str
) -> None:
    code, out, _ = said(capsys, *args)
    assert code == 0
    assert says in out
    assert "builder" in out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("serve", "--coordinator", "nonsense"), "coordinator.listen"),
        (("serve", "--reapi", "70000"), "ports end at 65535"),
        (("serve", "--workers-min", "5", "--workers-max", "2"), "pool.m"),
        (("serve", "--workers-min", "many"), "many"),
        (("serve", "--cloud", "aws"), "'providers.aws' is not set"),
        (("serve", "--cloud", "azure"), "azure"),
        (("worker", "--slots", "0"), "slots"),
        (("worker", "--coordinator", "a b"), "must be the address"),
        (("remote", "status", "--coordinator", "x y"), "must be the address"),
        (("remote", "scale"), "--workers N or --release"),
        (("remote", "scale", "--workers", "2", "--release"), "--workers N or --release"),
        (("remote", "scale", "--workers", "-1"), "-1"),
        (("remote", "drain", "w", "--grace", "soon"), "soon"),
        (("remote", "drain"), "WORKER"),
    ],
)
def test_wrong_arguments_are_one_clear_error(
    capsys: pytest.CaptureFixture[str], args: tuple[str, ...], says: str
) -> None:
    code, _, err = said(capsys, *args)
    assert code == 2
    assert says in err
    assert "Traceback" not in err


def test_a_coordinator_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing listens on port 1 of this machine."""
    code, out, err = said(capsys, "remote", "status", "--coordinator", "127.0.0.1:1")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert "127.0.0.1:1" in err
    assert err.count("\n") == 1
