"""The settings of loading ahead: what they refuse, and what they are called in messages."""

from typing import Any

import msgspec
import pytest

from sidecar.settings.schema import Cache, Features


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"warm_ready_share": 1.5}, r"<= 1.* `\$\.warm_ready_share`"),
        ({"warm_ready_share": -0.1}, r">= 0.* `\$\.warm_ready_share`"),
        ({"warm_ready_share": "all"}, r"got `str` - at `\$\.warm_ready_share`"),
        ({"warm_seconds": 0}, r"> 0.* `\$\.warm_seconds`"),
        ({"foresight": 0}, r">= 1.* `\$\.foresight`"),
        ({"anticipated_per_second": 0}, r">= 1.* `\$\.anticipated_per_second`"),
        ({"anticipated_per_second": 0.5}, r"got `float` - at `\$\.anticipated_per_second`"),
        ({"revalidate_seconds": 0}, r"> 0.* `\$\.revalidate_seconds`"),
    ],
    ids=str,
)
def test_bad_values_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(given, Cache)


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_share_is_between_nothing_and_all(share: float) -> None:
    assert msgspec.convert({"warm_ready_share": share}, Cache).warm_ready_share == share


@pytest.mark.parametrize("name", ["prediction", "revalidation", "sign_in_warming"])
def test_each_way_of_loading_ahead_can_be_turned_off(name: str) -> None:
    assert getattr(Features(), name) is True
    assert getattr(msgspec.convert({name: False}, Features), name) is False
