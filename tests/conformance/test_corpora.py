"""Everything that was ever read in two ways is read in one, or refused: six oracles each."""

import pytest

from tests.conformance.corpora import (
    fields,
    framing,
    hosts,
    protocols,
    start_lines,
    targets,
    transfer_encoding,
)
from tests.conformance.harness import CUTS, Case, bench

CORPORA: dict[str, list[Case]] = {
    "start lines": start_lines.CASES,
    "targets": targets.CASES,
    "framing": framing.CASES,
    "Transfer-Encoding": transfer_encoding.CASES,
    "fields": fields.CASES,
    "hosts": hosts.CASES,
    "protocols": protocols.CASES,
}
# Long ones are about bounds, which no cut moves.
LONGEST_CUT = 2_000


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", CORPORA)
async def test_every_case_of_a_corpus(name: str, cut: str) -> None:
    faults = {}
    async with bench() as bench_:
        for case in CORPORA[name]:
            if cut != "whole" and len(case.octets) > LONGEST_CUT:
                continue
            found = await bench_.faults_of(case, CUTS[cut])
            if found:
                faults[case.name] = found
    assert faults == {}


@pytest.mark.parametrize("name", CORPORA)
def test_names_of_cases_are_unique(name: str) -> None:
    names = [case.name for case in CORPORA[name]]
    assert len(names) == len(set(names))
    assert all(case.why for case in CORPORA[name])
