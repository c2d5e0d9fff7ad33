"""``sidecar up`` as a person would run it: as a process, in an empty folder."""

import asyncio
import http.client
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.cli import up as up_module
from sidecar.demo import environment
from sidecar.demo.children import ChildError
from sidecar.demo.children import running as child_running

# The tour's last line: everything runs.
READY = "Ctrl-C ends everything"
STOP_SECONDS = 30


@dataclass
class Up:
    """A running `sidecar up`.

    Attributes:
        child: the process; standard error goes to a file.
        folder: where it keeps things.
        told: what it wrote to standard output.
    """

    child: subprocess.Popen[str]
    folder: Path
    told: str

    @property
    def variables(self) -> dict[str, str]:
        return environment.read(self.folder / "demo.env")

    @property
    def errors(self) -> str:
        return (self.folder.parent / "errors").read_text()

    def token(self, user: str) -> dict[str, str]:
        """The field that proves who is asking; none for nobody ("")."""
        return {"Authorization": f"Bearer {self.variables[user + '_TOKEN']}"} if user else {}

    def ask(
        self,
        method: str,
        path: str,
        fields: dict[str, str],
        body: bytes | None = None,
        listener: str = "SIDECAR_URL",
    ) -> tuple[int, bytes, str]:
        """Status, body and content type of the answer."""
        with self.asked(method, path, fields, body, listener) as answer:
            return answer.status, answer.read(), answer.headers.get_content_type()

    @contextmanager
    def asked(
        self,
        method: str,
        path: str,
        fields: dict[str, str],
        body: bytes | None = None,
        listener: str = "SIDECAR_URL",
    ) -> Iterator[http.client.HTTPResponse]:
        address = self.variables[listener].removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=10)
        try:
            connection.request(method, path, body, fields)
            with connection.getresponse() as answer:
                yield answer
        finally:
            connection.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.child.send_signal(number)
        return self.child.wait(STOP_SECONDS)


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Up]:
    """Runs it until the block ends; yields once it says what to try, or has ended."""
    command = [sys.executable, "-m", "sidecar", "up", "--folder", str(folder), *arguments]
    with (folder.parent / "errors").open("w") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert child.stdout is not None
    told = []
    try:
        for line in child.stdout:
            told.append(line)
            if line.startswith(READY):
                break
        yield Up(child, folder, "".join(told))
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        finally:
            child.kill()
            child.wait()
            child.stdout.close()


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


@contextmanager
def all_end(pids: list[int]) -> Iterator[None]:
    """Asserts that all of them have ended soon after the block."""
    watched = [os.pidfd_open(pid) for pid in pids]
    yield
    for child in watched:
        # Readable once the process has ended (pidfd_open(2)).
        ended, _, _ = select.select([child], [], [], STOP_SECONDS)
        assert ended == [child]
        os.close(child)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that runs for all tests that only ask."""
    with running(tmp_path_factory.mktemp("up") / ".sidecar") as started:
        yield started


def test_it_says_what_to_try(up: Up) -> None:
    assert up.variables["SIDECAR_URL"] in up.told
    assert f"source {up.folder / 'demo.env'}" in up.told


ORDER = b'{"item": "tea"}'


@pytest.mark.parametrize(
    ("user", "method", "path", "body", "status"),
    [
        ("", "GET", "/healthz", None, 200),
        ("", "GET", "/", None, 401),
        ("", "GET", "/api/orders", None, 401),
        ("", "GET", "/no/such/route", None, 404),
        ("MALLORY", "GET", "/api/orders", None, 401),
        ("ALICE", "GET", "/api/orders", None, 200),
        ("ALICE", "POST", "/api/orders", ORDER, 201),
        ("ALICE", "DELETE", "/api/orders/3", None, 204),
        ("BOB", "GET", "/api/orders/1", None, 200),
        ("BOB", "POST", "/api/orders", ORDER, 201),
        ("BOB", "DELETE", "/api/orders/1", None, 403),
        ("CAROL", "GET", "/api/orders/1", None, 200),
        ("CAROL", "POST", "/api/orders", ORDER, 403),
        ("CAROL", "DELETE", "/api/orders/1", None, 403),
        ("CAROL", "POST", "/upload", ORDER, 200),
    ],
)
def test_everybody_may_what_the_role_says(
    up: Up, user: str, method: str, path: str, body: bytes | None, status: int
) -> None:
    assert up.ask(method, path, up.token(user), body)[0] == status


def test_the_application_learns_who_asks_and_not_the_secret(up: Up) -> None:
    status, body, _ = up.ask("GET", "/echo", up.token("BOB") | {"X-Auth-User": "alice"})
    assert status == 200
    fields = [(name.lower(), value) for name, value in json.loads(body)["fields"]]
    assert [value for name, value in fields if name == "x-auth-user"] == ["bob"]
    assert "authorization" not in dict(fields)


def test_a_browser_may_use_the_cookie(up: Up) -> None:
    cookie = {"Cookie": f"sidecar_session={up.variables['ALICE_TOKEN']}"}
    status, body, kind = up.ask("GET", "/", cookie)
    assert (status, kind) == (200, "text/html")
    assert b"<dd>alice</dd>" in body


def test_a_large_download_arrives_whole(up: Up) -> None:
    status, body, _ = up.ask("GET", "/download?bytes=3000000", up.token("CAROL"))
    assert (status, len(body)) == (200, 3_000_000)


def test_events_flow_while_they_happen(up: Up) -> None:
    with up.asked("GET", "/events", up.token("CAROL")) as stream:
        assert stream.readline() == b"id: 1\n"
        assert stream.readline() == b"event: tick\n"


def test_metrics_are_on_the_other_listener(up: Up) -> None:
    status, body, _ = up.ask("GET", "/metrics", {}, listener="SIDECAR_ADMIN_URL")
    assert status == 200
    assert body.count(b"\n") > 10
    assert up.ask("GET", "/metrics", up.token("ALICE"))[0] == 404


@pytest.mark.parametrize("name", ["demo.env", "token.key", "database.url", "redis.url"])
def test_secrets_are_for_their_owner_only(up: Up, name: str) -> None:
    assert (up.folder / name).stat().st_mode & 0o777 == 0o600


def test_secrets_are_not_in_the_list_of_processes(up: Up) -> None:
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(up.child.pid)]
    key = (up.folder / "token.key").read_text()
    secrets = [key, up.variables["DATABASE_URL"], up.variables["REDIS_URL"]]
    assert len(lines) >= 4
    assert not [line for line in lines for secret in secrets if secret.encode() in line]


def test_a_folder_takes_one_at_a_time(up: Up) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "sidecar", "up", "--folder", str(up.folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=STOP_SECONDS,
    )
    assert ended.returncode == 3
    assert "in use" in ended.stderr
    assert up.ask("GET", "/api/orders", up.token("ALICE"))[0] == 200


def test_ctrl_c_ends_everything_and_the_next_run_finds_the_tokens(tmp_path: Path) -> None:
    folder = tmp_path / ".sidecar"
    with running(folder) as first:
        tokens = {name: v for name, v in first.variables.items() if name.endswith("_TOKEN")}
        children = descendants(first.child.pid)
        assert len(children) >= 4
        with all_end(children):
            assert first.stop(signal.SIGINT) == 0
    with running(folder) as second:
        assert tokens.items() <= second.variables.items()
        assert second.ask("GET", "/api/orders", second.token("BOB"))[0] == 200
        assert second.stop() == 0


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("sidecar.demo", "the demo application ended with SIGKILL"),
        ("sidecar run", "the sidecar ended with SIGKILL"),
        ("bin/postgres -D", "postgres has ended"),
        ("valkey-server", "valkey-server has ended"),
    ],
)
def test_one_that_dies_ends_all_and_is_named(tmp_path: Path, part: str, told: str) -> None:
    with running(tmp_path / ".sidecar") as started:
        children = descendants(started.child.pid)
        lines = {
            pid: Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            for pid in children
        }
        # Parents come first; a child that was just forked still has its parent's line.
        victim = next(pid for pid, line in lines.items() if part in line)
        with all_end(children):
            os.kill(victim, signal.SIGKILL)
            assert started.child.wait(STOP_SECONDS) == 3
        assert told in started.errors


async def test_a_sidecar_that_never_gets_ready_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up_module, "READY_SECONDS", 0.2)
    waits = [sys.executable, "-c", "import signal; signal.pause()"]
    async with child_running("the sidecar", waits, tmp_path / "log") as child:
        with pytest.raises(ChildError, match="the sidecar is not ready"):
            await up_module._until_ready("http://127.0.0.1:1/readyz", child)


async def _for_ever(begun: asyncio.Event) -> None:
    begun.set()
    await asyncio.Event().wait()


async def test_a_cancellation_from_elsewhere_is_passed_on() -> None:
    begun = asyncio.Event()
    task = asyncio.ensure_future(up_module.until_told_to_stop(_for_ever(begun)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_second_signal_does_not_interrupt_the_unwinding() -> None:
    begun, asked, unwound = asyncio.Event(), asyncio.Event(), False

    async def unwinds() -> None:
        nonlocal unwound
        try:
            await _for_ever(begun)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            asyncio.get_running_loop().call_later(0.05, asked.set)
            await asked.wait()
            unwound = True

    task = asyncio.ensure_future(up_module.until_told_to_stop(unwinds()))
    await begun.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await task
    assert unwound


def test_a_port_that_is_taken_is_an_error_that_says_so(up: Up, tmp_path: Path) -> None:
    port = up.variables["SIDECAR_URL"].rpartition(":")[2]
    with running(tmp_path / ".sidecar", "--port", port) as other:
        assert other.child.wait(STOP_SECONDS) == 3
        assert "the sidecar ended" in other.errors


def test_nothing_outlives_it_even_when_it_is_killed(tmp_path: Path) -> None:
    with running(tmp_path / ".sidecar") as started, all_end(descendants(started.child.pid)):
        started.child.kill()
        started.child.wait(STOP_SECONDS)
