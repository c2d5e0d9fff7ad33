"""`demo.env`: written for a shell, read again by the next run."""

import subprocess
from pathlib import Path

from sidecar.demo import environment

VALUES = {"SIDECAR_URL": "http://127.0.0.1:1", "STRANGE": "a b'c\"d$e`f\\g", "EMPTY": ""}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    environment.write(tmp_path / "demo.env", VALUES)
    assert environment.read(tmp_path / "demo.env") == VALUES


def test_a_shell_reads_the_same_and_exports_it(tmp_path: Path) -> None:
    environment.write(tmp_path / "demo.env", VALUES)
    seen = subprocess.run(
        [
            "/bin/sh",
            "-c",
            '. ./demo.env; sh -c \'printf "%s|" "$SIDECAR_URL" "$STRANGE" "$EMPTY"\'',
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert seen == "".join(f"{value}|" for value in VALUES.values())


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    place = tmp_path / "demo.env"
    place.write_text("")
    place.chmod(0o644)
    environment.write(place, VALUES)
    assert place.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [place]


def test_without_a_file_there_is_nothing(tmp_path: Path) -> None:
    assert environment.read(tmp_path / "demo.env") == {}


def test_lines_it_would_not_write_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "demo.env").write_text("# note\nexport A=1\nB=2\nunset C\nexport 'broken\n")
    assert environment.read(tmp_path / "demo.env") == {"A": "1"}
