from pathlib import Path

from sidecar.model.reason import PERMITS, STATUS, Reason


def test_every_reason_is_a_permit_or_has_a_status() -> None:
    assert PERMITS | STATUS.keys() == set(Reason)
    assert not PERMITS & STATUS.keys()
    assert all(400 <= status < 600 for status in STATUS.values())


def test_the_documentation_lists_every_reason_under_its_status() -> None:
    lines = (Path(__file__).parents[3] / "docs" / "http.md").read_text("utf-8").splitlines()
    for reason, status in STATUS.items():
        (row,) = (line for line in lines if line.startswith(f"| {status} | `"))
        assert f"`{reason.value}`" in row
