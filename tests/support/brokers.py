"""Real brokers for the tests: a private RabbitMQ node, and a Kafka-protocol broker, on 127.0.0.1."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO

from tests.support.net import free_port
from tests.support.waiting import wait_blocking

START_SECONDS = 90.0
STOP_SECONDS = 30.0
_RABBIT_BINARIES = Path("/usr/lib/rabbitmq/bin")
_RABBIT_CONF = """\
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
disk_free_limit.absolute = 20MB
vm_memory_high_watermark.absolute = 1GB
"""


def _server_binary() -> str:
    # Debian's own script changes to the user rabbitmq; the one behind it runs as whoever calls it.
    private = _RABBIT_BINARIES / "rabbitmq-server"
    found = str(private) if private.exists() else shutil.which("rabbitmq-server")
    if not found:
        raise RuntimeError("rabbitmq-server is not installed: apt-get install rabbitmq-server")
    return found


class RabbitNode:
    """A RabbitMQ of the tests' own: ports, node name and data are private. Restarting keeps the data."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._epmd_port = free_port()
        self._dist_port = free_port()
        self._node: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        """The process from which all of the node descend."""
        assert self._node is not None, "the node is not started"
        return self._node.pid

    @property
    def env(self) -> dict[str, str]:
        """What the service needs to find it."""
        return {"RABBITMQ_HOST": "127.0.0.1", "RABBITMQ_PORT": str(self.port)}

    @property
    def running(self) -> bool:
        return self._node is not None and self._node.poll() is None

    def start(self) -> "RabbitNode":
        """Start the node, or start it again after `stop` or `kill`, and wait until it takes connections."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "rabbitmq.conf").write_text(_RABBIT_CONF.format(port=self.port))
        (self._folder / "enabled_plugins").write_text("[].\n")
        self._start_epmd()
        self._node = self._run([_server_binary()], "node.log")
        wait_blocking(self._answers, START_SECONDS, "RabbitMQ takes connections")
        return self

    def stop(self) -> None:
        """An orderly stop of the node."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL of the node."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """The end: node and port mapper."""
        self.stop()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(STOP_SECONDS)
            self._epmd = None

    def _start_epmd(self) -> None:
        # Ours in the foreground: one started by Erlang itself would outlive the tests.
        if self._epmd is None:
            epmd = shutil.which("epmd") or "epmd"
            self._epmd = self._run([epmd, "-port", str(self._epmd_port), "-address", "127.0.0.1"], "epmd.log")
            wait_blocking(lambda: _connects(self._epmd_port), START_SECONDS, "epmd listens")

    def _run(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self._folder / log).open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        folder = str(self._folder)
        return {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"tests{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq-env.conf",
            # Spinning schedulers would take the second core from the tests.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def _answers(self) -> bool:
        assert self._node is not None and self._node.poll() is None, (self._folder / "node.log").read_text()[
            -4000:
        ]
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False

    def _end(self, number: int) -> None:
        if self._node is not None and self._node.poll() is None:
            # The whole session: the node has helpers of its own.
            os.killpg(self._node.pid, number)
            self._node.wait(STOP_SECONDS)
        self._node = None


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class KafkaMock:
    """librdkafka's mock cluster in a process of its own. `down` and `up` keep its port and its data.

    Good for produce, one group member, commit and resume. Each partition keeps its last 5 MiB or 100,000
    messages; a second member of a group is refused.
    """

    def __init__(self) -> None:
        self.bootstrap = ""
        self._process: subprocess.Popen[str] | None = None

    @property
    def env(self) -> dict[str, str]:
        """What the service needs to find it."""
        return {"KAFKA_BOOTSTRAP_SERVERS": self.bootstrap}

    def start(self) -> "KafkaMock":
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("kafka_mock.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.bootstrap = self._output.readline().strip()
        return self

    def down(self) -> None:
        """Refuse and drop every connection."""
        self._order("down")

    def up(self) -> None:
        self._order("up")

    def create_topic(self, name: str, partitions: int) -> None:
        self._order(f"topic {name} {partitions}")

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            for stream in (self._process.stdin, self._process.stdout):
                if stream:
                    stream.close()
            self._process = None

    @property
    def _output(self) -> IO[str]:
        assert self._process is not None and self._process.stdout is not None, "the mock is not started"
        return self._process.stdout

    def _order(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None, "the mock is not started"
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._output.readline().strip()
        assert answer == "ok", f"{line}: {answer}"
