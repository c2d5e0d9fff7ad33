"""What to try: the text is complete and a shell could run it."""

import subprocess
from pathlib import Path

from sidecar.demo.tour import tour

TEXT = tour(url="http://127.0.0.1:8080", folder=Path(".sidecar"), command=".venv/bin/sidecar")


def test_it_names_the_address_and_the_files() -> None:
    assert "http://127.0.0.1:8080" in TEXT
    assert "source .sidecar/demo.env" in TEXT
    assert ".venv/bin/sidecar admin session revoke" in TEXT
    assert "{folder}" not in TEXT


def test_its_lines_are_shell() -> None:
    lines = [line.strip() for line in TEXT.splitlines() if line.startswith("  ")]
    script = "\n".join(line for line in lines if not line.startswith("document."))
    checked = subprocess.run(["/bin/bash", "-n"], input=script, text=True, check=False)
    assert checked.returncode == 0
