"""MLServer in an environment of its own and in its best mode, serving a model through a custom runtime.

Without debugging, and without workers of its own: with one, the hop to it makes latency and rate worse.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.edge_site import HOST, KIND
from shared.listen import free_port
from tests.support.services import wait_for_port

VERSION = "1.7.1"
REQUIREMENTS = [f"mlserver=={VERSION}", "onnxruntime"]
HOME = Path(".bench") / f"mlserver-{VERSION}"
RUNTIME = Path(__file__).with_name("mlserver_runtime.py")


def installed() -> Path:
    """Its program; made once, in `.bench`."""
    program = (HOME / "bin" / "mlserver").resolve()
    if not program.exists():
        print(f"installing MLServer {VERSION} into {HOME}", flush=True)
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(HOME)], check=True)
        python = str(HOME / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *REQUIREMENTS], check=True)
    return program


@contextmanager
def mlserver(folder: Path, model: bytes) -> Iterator[str]:
    """Serve `model` as KIND; gives the address of its gRPC."""
    ports = {f"{name}_port": free_port() for name in ("http", "grpc", "metrics")}
    settings = {"host": HOST, "debug": False, "parallel_workers": 0, **ports}
    implementation = f"{RUNTIME.stem}.Lstm"
    about = {"name": KIND, "implementation": implementation, "parameters": {"uri": "./model.onnx"}}
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model)
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(about))
    shutil.copy(RUNTIME, folder)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(installed()), "start", str(folder)]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for_port(ports["grpc_port"], process)
        yield f"{HOST}:{ports['grpc_port']}"
    finally:
        process.terminate()
        process.wait()
