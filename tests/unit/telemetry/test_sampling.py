"""The sampling rule, beside the SDK's own, and the bound on all spans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from sidecar.model.head import RequestHead
from sidecar.parse.request import unread_head
from sidecar.telemetry.context import is_sampled
from sidecar.telemetry.propagation import Propagation
from sidecar.telemetry.sampling import Budget, Occasion, bound_of

SPAN = "b7ad6b7169203331"
RATIOS = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.5, 1.0, 5e-20]))
TRACE_IDS = st.integers(1, 2**128 - 1)


def asking(trace_id: int, flags: int = 0) -> RequestHead:
    head = unread_head()
    head.set_fields([(b"traceparent", f"00-{trace_id:032x}-{SPAN}-{flags:02x}".encode())])
    return head


def is_kept(trace_id: int, ratio: float, **more: bool) -> bool:
    propagation = Propagation("keep", ratio, Budget(10_000))
    flags = more.pop("flag", False)
    head = asking(trace_id, int(flags))
    return is_sampled(propagation.begin(head, is_trusted=more.get("is_trusted", False), spans=2))


@given(TRACE_IDS, RATIOS)
def test_the_rule_is_the_sdks(trace_id: int, ratio: float) -> None:
    result = TraceIdRatioBased(ratio).should_sample(None, trace_id, "name")
    assert is_kept(trace_id, ratio) == (result.decision is Decision.RECORD_AND_SAMPLE)


@given(st.integers(0, 2**64 - 1), RATIOS)
def test_the_edge_is_the_sdks(offset: int, ratio: float) -> None:
    """Ids around the bound, which chance would hardly find."""
    low = max(0, min(2**64 - 1, bound_of(ratio) + offset % 3 - 1))
    trace_id = (1 << 64) | low
    result = TraceIdRatioBased(ratio).should_sample(None, trace_id, "name")
    assert is_kept(trace_id, ratio) == (result.decision is Decision.RECORD_AND_SAMPLE)


@given(TRACE_IDS, RATIOS, RATIOS)
def test_what_a_lower_ratio_keeps_a_higher_one_keeps(trace_id: int, one: float, two: float) -> None:
    low, high = sorted((one, two))
    assert is_kept(trace_id, low) <= is_kept(trace_id, high)


@given(TRACE_IDS, RATIOS, st.booleans())
def test_a_strangers_flag_changes_nothing(trace_id: int, ratio: float, flag: bool) -> None:
    assert is_kept(trace_id, ratio, flag=flag) == is_kept(trace_id, ratio, flag=not flag)


@given(TRACE_IDS, RATIOS, st.booleans())
def test_a_trusted_proxys_flag_decides(trace_id: int, ratio: float, flag: bool) -> None:
    assert is_kept(trace_id, ratio, flag=flag, is_trusted=True) == flag


def test_as_many_as_the_ratio_says() -> None:
    propagation = Propagation("keep", 0.1, Budget(1_000_000))
    head = unread_head()
    begun = [propagation.begin(head, is_trusted=False, spans=1) for _ in range(20_000)]
    # Beyond seven standard deviations.
    assert 1_700 < sum(map(is_sampled, begun)) < 2_300


class TestBudget:
    def test_it_fills_evenly_and_no_further_than_a_second(self) -> None:
        budget = Budget(100)
        assert sum(budget.take(1, Occasion.RATIO, 0.0) for _ in range(500)) == 100
        assert sum(budget.take(1, Occasion.RATIO, 0.5) for _ in range(500)) == 50
        assert sum(budget.take(1, Occasion.RATIO, 1000.0) for _ in range(500)) == 100
        assert budget.refused == 1250

    def test_a_request_with_all_its_spans_fits_the_smallest(self) -> None:
        assert Budget(1).take(4, Occasion.REFUSAL, 0.0)

    def test_a_clock_that_goes_back_fills_nothing(self) -> None:
        budget = Budget(10)
        assert budget.take(10, Occasion.RATIO, 5.0)
        assert not budget.take(1, Occasion.RATIO, 4.0)

    @pytest.mark.parametrize(
        ("occasion", "left"),
        [
            (Occasion.REFUSAL, 50), (Occasion.CHOSEN, 50), (Occasion.ASKED, 25),
            (Occasion.FAULT, 25), (Occasion.RATIO, 0),
        ],
    )  # fmt: skip
    def test_what_strangers_bring_about_leaves_some_to_the_rest(
        self, occasion: Occasion, left: int
    ) -> None:
        budget = Budget(100)
        assert sum(budget.take(1, occasion, 0.0) for _ in range(500)) == 100 - left
        assert sum(budget.take(1, Occasion.RATIO, 0.0) for _ in range(500)) == left

    @given(
        st.lists(
            st.tuples(st.floats(0, 2), st.integers(1, 4), st.sampled_from(Occasion)), max_size=200
        )
    )
    def test_never_more_than_the_rate_and_one_burst(
        self, calls: list[tuple[float, int, Occasion]]
    ) -> None:
        budget, now, kept = Budget(20), 0.0, 0
        for pause, spans, occasion in calls:
            now += pause
            kept += spans * budget.take(spans, occasion, now)
            assert kept <= 20 * now + 20 + 1e-6
