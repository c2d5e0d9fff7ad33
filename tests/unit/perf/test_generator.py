import pytest

from perf.load.generator import is_whole
from perf.load.upstream import ANSWER
from perf.workload import BODY

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY)


def test_an_answer_is_whole_with_its_last_byte_and_not_before() -> None:
    for end in range(len(ANSWER)):
        assert not is_whole(ANSWER[:end])
    assert is_whole(ANSWER)
    assert is_whole(HEAD + BODY)


@pytest.mark.parametrize(
    "wrong",
    [
        (HEAD + BODY).replace(b"200 OK", b"502 Nope"),
        HEAD.replace(b"content-length", b"x-length") + BODY,
        HEAD + BODY + b"H",
        HEAD + BODY[:-1] + b"?",
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + BODY,
    ],
)
def test_any_other_answer_ends_the_run(wrong: bytes) -> None:
    with pytest.raises(RuntimeError, match="unexpected"):
        is_whole(wrong)
