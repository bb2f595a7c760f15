"""A PostgreSQL server of its own, on a free port, for as long as a test needs it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.listen import free_port

DEADLINE_S = "60"


def server_bin() -> Path | None:
    """Where `initdb` and `pg_ctl` are, when PostgreSQL is installed."""
    found = shutil.which("pg_ctl") or next(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), None)
    return Path(found).resolve().parent if found else None


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run the server; its SQLAlchemy URL. It refuses to run as root, so root runs it as `nobody`."""
    bin_dir, port, data = server_bin(), free_port(), folder / "data"
    assert bin_dir is not None
    data.mkdir(parents=True)
    drop: list[str] = []
    if os.getuid() == 0:
        drop = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
        shutil.chown(data, "nobody", "nogroup")
        for parent in [folder, *folder.parents][:4]:  # pytest's folders are for their owner alone
            if parent.name.startswith(("pytest-", "pg")) or parent == folder:
                parent.chmod(0o755)

    def run(*command: str) -> None:
        done = subprocess.run([*drop, *command], cwd=data, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
    log = str(data / "server.log")
    run(str(bin_dir / "initdb"), "-D", str(data / "db"), "-U", "pm", "-A", "trust", "--no-sync")
    run(
        str(bin_dir / "pg_ctl"),
        "-D",
        str(data / "db"),
        "-l",
        log,
        "-o",
        options,
        "-w",
        "-t",
        DEADLINE_S,
        "start",
    )
    try:
        yield f"postgresql+psycopg://pm@127.0.0.1:{port}/postgres"
    finally:
        run(str(bin_dir / "pg_ctl"), "-D", str(data / "db"), "-m", "immediate", "-w", "stop")
