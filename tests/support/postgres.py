"""A PostgreSQL server of its own, on a free port, for as long as a test needs it."""

import os
import shutil
import subprocess
import tempfile
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
def postgres() -> Iterator[str]:
    """Run the server; its SQLAlchemy URL. It refuses to run as root, so root runs it as `nobody`, in a
    folder outside pytest's, which are for their owner alone."""
    bin_dir, port = server_bin(), free_port()
    assert bin_dir is not None
    with tempfile.TemporaryDirectory(prefix="pm-postgres-") as folder:
        drop: list[str] = []
        if os.getuid() == 0:
            drop = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
            shutil.chown(folder, "nobody", "nogroup")

        def run(*command: str) -> None:
            done = subprocess.run([*drop, *command], cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

        data, control = f"{folder}/db", str(bin_dir / "pg_ctl")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
        run(str(bin_dir / "initdb"), "-D", data, "-U", "pm", "-A", "trust", "--no-sync")
        run(control, "-D", data, "-l", f"{folder}/log", "-o", options, "-w", "-t", DEADLINE_S, "start")
        try:
            yield f"postgresql+psycopg://pm@127.0.0.1:{port}/postgres"
        finally:
            run(control, "-D", data, "-m", "immediate", "-w", "stop")
