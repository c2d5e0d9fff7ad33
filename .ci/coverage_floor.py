"""Fails when a module's branch coverage is below the floor: an average hides holes."""

import json
import subprocess
import sys

FLOOR_PERCENT = 85.0

report = subprocess.run(
    [sys.executable, "-m", "coverage", "json", "-q", "-o", "-"],
    capture_output=True,
    check=True,
    text=True,
)
low = [
    f"{path}: {each['summary']['percent_covered']:.0f} %"
    for path, each in json.loads(report.stdout)["files"].items()
    if each["summary"]["percent_covered"] < FLOOR_PERCENT
]
if low:
    sys.exit(f"below {FLOOR_PERCENT:.0f} % coverage:\n  " + "\n  ".join(low))
