"""A PostgreSQL of one's own, for as long as it is needed."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)  # Debian keeps them off the PATH
INITDB = shutil.which("initdb") or (BINARIES and shutil.which("initdb", path=str(BINARIES)))


@dataclass(frozen=True)
class Server:
    """Its user has the password `secret`."""

    url: str
    control: Callable[..., object]  # pg_ctl with its last arguments


@contextmanager
def server(place: Path) -> Iterator[Server]:
    """One that keeps its data in a folder; needs INITDB."""
    assert INITDB is not None
    user: dict[str, Any] = {}
    if os.getuid() == 0:  # the server refuses to run as root
        account = pwd.getpwnam("postgres")
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        os.chown(place, account.pw_uid, account.pw_gid)
        for parent in place.parents[:-2]:  # a temporary folder is its user's alone
            parent.chmod(parent.stat().st_mode | 0o011)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (place / "password").write_text("secret")
    (place / "password").chmod(0o644)
    data, binaries = place / "data", Path(INITDB).parent
    initialise = [INITDB, "-D", str(data), "-U", "searcher", "-A", "scram-sha-256", f"--pwfile={place / 'password'}"]
    subprocess.run(initialise, check=True, cwd=place, capture_output=True, **user)
    options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"

    def control(*arguments: str) -> None:
        command = [str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(place / "log"), "-o", options, *arguments]
        subprocess.run(command, check=True, cwd=place, stdout=subprocess.DEVNULL, **user)

    control("start")
    try:
        yield Server(f"postgresql+psycopg://searcher:secret@127.0.0.1:{port}/postgres", control)
    finally:
        control("-m", "immediate", "stop")
