"""What is generated and committed is what its source gives."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_committed_protobuf_is_that_of_the_proto_files(tmp_path):
    """`make proto` would change nothing."""
    protos = sorted((ROOT / "proto/shared/wire").glob("*.proto"))
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", *outputs, *map(str, protos)]
    subprocess.run(command, check=True)
    made = {p.name: p.read_text() for p in (tmp_path / "shared/wire").iterdir()}
    committed = {p.name: p.read_text() for p in (ROOT / "shared/src/shared/wire").glob("*_pb2*")}
    assert made == committed


def test_the_committed_dashboards_are_those_of_the_configuration():
    """`make dashboards` would change nothing, and no dashboard lies there that is no longer made."""
    from dashboards.written import GRAFANA, generated
    from shared.reactor_config import load_fleet

    made = generated(load_fleet(ROOT / "reactor_config.yaml"))
    assert {path: (ROOT / path).read_text() for path in made} == dict(made)
    assert {path.relative_to(ROOT) for path in (ROOT / GRAFANA).rglob("*.json")} < made.keys()


def test_the_table_of_commands_names_every_command():
    """A program lists its commands without importing them; the list is complete."""
    from control_plane.cli import COMMANDS as CENTRE
    from edge_agent.cli import COMMANDS as AGENT

    for package, commands in (("edge_agent", AGENT), ("control_plane", CENTRE)):
        files = (ROOT / package / "src" / package / "commands").glob("[!_]*.py")
        modules = {p.stem.removesuffix("_") for p in files}  # `import` is a word of Python's
        parts = {name for name in modules if name.split("_")[0] in commands and name not in commands}
        assert set(commands) == modules - parts - {"options", "progress", "record", "signing", "steps"}
