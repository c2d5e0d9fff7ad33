"""``sidecar doctor``."""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, NamedTuple

import click

from sidecar.cli.checking import examine_all
from sidecar.cli.console import Code, emit, fail, paint
from sidecar.cli.doctor_findings import Finding, State, fine, problem, surely
from sidecar.settings.schema import Postgres, Redis, Root

_CONFIGURATION: Final = "configuration"
_COLOURS: Final = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "red"}


class Patient(NamedTuple):
    """What is looked at: a whole configuration, or the stores that the environment names."""

    postgres: Postgres
    redis: Redis | None
    root: Root | None


@click.command
@click.option(
    "-c", "--config", type=click.Path(path_type=Path), envvar="SIDECAR_CONFIG",
    help="The configuration; without one, DATABASE_URL and REDIS_URL name the stores.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def doctor(config: Path | None, *, as_json: bool) -> None:
    """Look at everything a sidecar needs, and say what to do about it.

    Connects to the stores, the applications and the issuers' keys; changes nothing. All checks
    run, each for at most two seconds, also when others find problems.

    \b
    Examples:
      sidecar doctor --config sidecar.yaml
      sidecar doctor --config sidecar.yaml --json | jq '.findings[] | select(.state != "ok")'

    Exit code: 0 no problems (warnings there may be), 1 problems, 2 wrong usage.
    """  # noqa: D301 - click's mark for lines that stay as they are
    patient, found = _admit(config)
    if patient is not None:
        # What goes wrong is a finding: the libraries need not say it again.
        logging.disable(logging.CRITICAL)
        try:
            found += asyncio.run(_examine(patient))
        finally:
            logging.disable(logging.NOTSET)
    sick = any(each.state is State.PROBLEM for each in found)
    value = {"ok": not sick, "findings": [each._asdict() for each in found]}
    emit(value, render(found), as_json=as_json)
    raise SystemExit(int(Code.NO if sick else Code.FINE))


def _admit(config: Path | None) -> tuple[Patient | None, list[Finding]]:
    """What to look at, and what the configuration itself is like."""
    if config is None:
        dsn = os.environ.get("DATABASE_URL") or os.environ.get("SIDECAR_DATABASE_URL")
        if not dsn:
            fail(
                "there is nothing to look at",
                "give --config FILE, or set DATABASE_URL (and REDIS_URL)",
                Code.USAGE,
            )
        url = os.environ.get("REDIS_URL") or os.environ.get("SIDECAR_REDIS_URL")
        return Patient(Postgres(dsn=dsn), Redis(url=url) if url else None, None), []
    try:
        examination = examine_all(config)
    except OSError as error:
        return None, [problem(_CONFIGURATION, f"{config} cannot be read: {error.strerror}")]
    problems = examination.findings.problems()
    root = examination.root
    if problems or root is None:
        *found, last = [problem(_CONFIGURATION, str(each)) for each in problems]
        advice = "mend this first: nothing else can be looked at until then"
        return None, [*found, last._replace(advice=advice)]
    stores = root.stores
    return Patient(stores.postgres, stores.redis, root), [fine(_CONFIGURATION, f"{config} is fine")]


async def _examine(patient: Patient) -> list[Finding]:
    """All checks, at the same time; in the order of the report."""
    # By need: a configuration with a mistake needs no drivers to be told so.
    from sidecar.cli import (  # noqa: PLC0415
        doctor_collector,
        doctor_machine,
        doctor_network,
        doctor_postgres,
        doctor_redis,
    )

    root = patient.root
    checks: list[Awaitable[list[Finding]]] = [
        surely(doctor_postgres.AREA, doctor_postgres.look(patient.postgres)),
        surely(doctor_redis.AREA, doctor_redis.look(patient.redis)),
    ]
    here = [doctor_machine.look_at_clock()]
    if root is not None:
        checks += [doctor_network.look_at_upstream(*each) for each in root.upstreams.items()]
        checks += [doctor_network.look_at_issuer(each) for each in root.credentials.issuers]
        checks.append(doctor_collector.look_at_collector(root.tracing))
        looks = (
            doctor_machine.look_at_descriptors,
            doctor_machine.look_at_audit,
            doctor_machine.look_at_admin,
        )
        here += [look(root) for look in looks]
    return [each for found in await asyncio.gather(*checks) for each in found] + here


def render(found: list[Finding]) -> str:
    """The report: a line for each finding, what to do below it, and the sum."""
    state_width = max(len(state) for state in State)
    area_width = max((len(each.area) for each in found), default=0)
    lines = []
    for each in found:
        state = paint(each.state.ljust(state_width), _COLOURS[each.state])
        lines.append(f"{state}  {each.area.ljust(area_width)}  {each.message}")
        if each.advice:
            lines.append(f"{' ' * (state_width + area_width + 4)}-> {each.advice}")
    counted = Counter(each.state for each in found)
    sums = [_count(counted[State.PROBLEM], "problem"), _count(counted[State.WARNING], "warning")]
    return "\n".join([*lines, "", f"{', '.join(sums)}, {counted[State.OK]} ok"])


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
