"""What compares the verdicts of Autobahn's fuzzing client, and what finds its interpreter.

The client itself runs with `make conformance` only: it needs Python 2.7.
"""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.conformance.autobahn import __main__ as command
from tests.conformance.autobahn import interpreter
from tests.conformance.autobahn.echo import application
from tests.conformance.autobahn.suite import Suite, SuiteError
from tests.conformance.autobahn.verdicts import READ, Outcome, compare, holds, table


def entry(behavior: str, close: str = "OK", code: int | None = 1000) -> dict[str, Any]:
    """As in Autobahn's index.json."""
    return {
        "behavior": behavior,
        "behaviorClose": close,
        "duration": 2,
        "remoteCloseCode": code,
        "reportfile": "direct_case_1_1_1.json",
    }


def outcome_of(direct: dict[str, Any], through: dict[str, Any]) -> Outcome:
    (found,) = compare({"direct": {"1.1.1": direct}, "sidecar": {"1.1.1": through}})
    return found.outcome


@pytest.mark.parametrize(
    ("direct", "through", "outcome"),
    [
        (entry("OK"), entry("OK"), Outcome.SAME),
        (entry("FAILED", "WRONG CODE"), entry("FAILED", "WRONG CODE"), Outcome.SAME),
        (entry("UNIMPLEMENTED"), entry("UNIMPLEMENTED"), Outcome.SAME),
        (entry("FAILED", "WRONG CODE"), entry("OK"), Outcome.BETTER),
        (entry("NON-STRICT"), entry("OK"), Outcome.BETTER),
        (entry("OK"), entry("NON-STRICT"), Outcome.DIFFERENT),
        (entry("OK"), entry("FAILED"), Outcome.DIFFERENT),
        (entry("OK"), entry("OK", "UNCLEAN"), Outcome.DIFFERENT),
        (entry("INFORMATIONAL"), entry("FAILED"), Outcome.DIFFERENT),
        # Not merely better: one side of it is worse.
        (entry("FAILED"), entry("OK", "WRONG CODE"), Outcome.DIFFERENT),
        # Neither is right, but they are wrong in another way.
        (entry("FAILED"), entry("NON-STRICT"), Outcome.DIFFERENT),
        (entry("UNIMPLEMENTED"), entry("FAILED"), Outcome.DIFFERENT),
    ],
)
def test_a_verdict_is_the_same_or_right(
    direct: dict[str, Any], through: dict[str, Any], outcome: Outcome
) -> None:
    assert outcome_of(direct, through) is outcome


def test_a_case_that_ran_on_one_side_only_is_different() -> None:
    compared = compare({"direct": {"1.1.1": entry("OK"), "1.1.2": entry("OK")},
                        "sidecar": {"1.1.1": entry("OK"), "10.1.1": entry("OK")}})  # fmt: skip
    assert [(each.case, each.outcome) for each in compared] == [
        ("1.1.1", Outcome.SAME),
        ("1.1.2", Outcome.DIFFERENT),
        ("10.1.1", Outcome.DIFFERENT),
    ]
    assert not holds(compared)


@pytest.mark.parametrize("index", [{}, {"direct": {}, "sidecar": {}}])
def test_where_nothing_ran_nothing_holds(index: dict[str, dict[str, Any]]) -> None:
    assert not holds(compare(index))


def test_where_messages_are_read_nothing_is_compressed() -> None:
    index = {"direct": {"1.1.1": entry("OK"), "12.1.1": entry("OK")}, READ: {"1.1.1": entry("OK")}}
    (only,) = compare(index, READ)
    assert (only.case, only.outcome) == ("1.1.1", Outcome.SAME)


def test_the_table_counts_by_group_and_tells_what_differs() -> None:
    same, failed = entry("OK"), entry("FAILED", "FAILED", None)
    index = {
        "direct": {"7.9.5": failed, "7.1.1": same, "12.1.1": same, "3.1": same},
        "sidecar": {"7.9.5": same, "7.1.1": same, "12.1.1": failed, "3.1": same},
    }
    lines = [" ".join(line.split()) for line in table(compare(index))]
    assert lines == [
        "cases same better meant different",
        "3 reserved bits 1 1 0 0 0",
        "7 close 2 1 1 0 0",
        "12 compression 1 0 0 0 1",
        "all 4 2 1 0 1",
        "7.9.5 better: directly FAILED/FAILED/None, through the sidecar OK/OK/1000",
        "12.1.1 different: directly OK/OK/1000, through the sidecar FAILED/FAILED/None",
    ]


def program(path: Path, words: str) -> Path:
    """A program that prints `words`, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{words}\n")
    path.chmod(0o755)
    return path


def test_an_interpreter_is_taken_only_if_it_runs_and_is_2_7(tmp_path: Path) -> None:
    shim = program(tmp_path / "bin" / "python2.7", "exit 127")
    other = program(tmp_path / "bin" / "python2", "printf 3.11")
    behind = program(tmp_path / ".pyenv/versions/2.7.18/bin/python2.7", "printf 2.7")
    environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    assert list(interpreter.candidates(environment)) == [shim, other, behind]
    assert interpreter.find(environment) == behind


def test_who_names_an_interpreter_gets_that_or_none(tmp_path: Path) -> None:
    good = program(tmp_path / "bin" / "python2.7", "printf 2.7")
    environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}
    assert interpreter.find(environment) == good
    assert interpreter.find({**environment, "PYTHON27": str(tmp_path / "absent")}) is None


def test_without_an_interpreter_it_says_what_is_needed_and_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHON27", str(tmp_path / "absent"))
    assert command.main([]) == command.NO_INTERPRETER == 3
    assert "PYTHON27=/path/to/python2.7 make conformance" in capsys.readouterr().err


def test_a_suite_that_writes_no_report_or_fails_is_an_error(tmp_path: Path) -> None:
    quiet = Suite(tmp_path, program(tmp_path / "bin" / "python2.7", "echo nothing to do"))
    with pytest.raises(SuiteError, match="no report was written: nothing to do"):
        quiet.fuzz({"direct": "ws://127.0.0.1:1"}, ["1.*"], 10)
    broken = Suite(tmp_path, program(tmp_path / "bin" / "python2.7", "echo alas; exit 1"))
    with pytest.raises(SuiteError, match="ended with 1: alas"):
        broken.fuzz({"direct": "ws://127.0.0.1:1"}, ["1.*"], 10)


async def test_the_server_says_back_what_it_got() -> None:
    runner = web.AppRunner(application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as session:
            async with session.get(url + "/ready") as answer:
                assert answer.status == 200
            async with session.ws_connect(url, compress=15) as socket:
                await socket.send_str("κ")
                await socket.send_bytes(b"\xff")
                assert (await socket.receive_str(), await socket.receive_bytes()) == ("κ", b"\xff")
                assert socket.compress
    finally:
        await runner.cleanup()
