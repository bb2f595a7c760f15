"""What documents name is there: links, paths, make targets, commands and options, environment variables."""

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

import control_plane.cli
import edge_agent.cli
from shared.command_line import _add

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.*)$", re.MULTILINE)
TOP_FOLDERS = (
    "bench",
    "control_plane",
    "demo",
    "docs",
    "edge_agent",
    "infra",
    "packaging",
    "proto",
    "shared",
    "tests",
)
# A placeholder, a wildcard, something that is made: no file of ours is called that.
NO_PATH = re.compile(
    r"[<>*{}$\s]|\.\.\.|NAME|shared/data|station_battery|infra/\.env"
)  # the last two a reader makes
VARIABLE = re.compile(r"(EDGE|INFLUXDB|KAFKA|MLFLOW|PM|SPARK)_[A-Z][A-Z_]*|PYKCS11LIB|PORT")
OURS = ("shared/src", "edge_agent/src", "control_plane/src")


@cache
def tracked() -> frozenset[str]:
    """What git keeps, and the folders that it lies in."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = listed.stdout.splitlines()
    return frozenset(files) | {str(parent) for file in files for parent in Path(file).parents}


DOCUMENTS = sorted(name for name in tracked() if name.endswith(".md"))


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def anchors(name: str) -> set[str]:
    """As GitHub makes them of headings."""
    plain = (
        re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        for title in HEADING.findall(text_of(name))
    )
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in plain}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name):
    """To a file that git keeps, and to a heading that it has."""
    wrong = []
    for target in LINK.findall(CODE.sub("", text_of(name))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        found = str((ROOT / name).parent.joinpath(path).resolve().relative_to(ROOT)) if path else name
        if found not in tracked() or (anchor and found.endswith(".md") and anchor not in anchors(found)):
            wrong.append(target)
    assert wrong == []


def in_package(path: str) -> str:
    """`control_plane/app.py` is said for `control_plane/src/control_plane/app.py`."""
    package = path.partition("/")[0]
    return f"{package}/src/{path}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_that_is_named_is_there(name):
    """A path in code type that begins with a folder of ours; the change log tells of what was."""
    if name == "CHANGELOG.md":
        return
    named = {
        code.strip("`").rstrip("/") for code in CODE.findall(text_of(name)) if not code.startswith("```")
    }
    paths = {code.partition("::")[0] for code in named if code.split("/")[0] in TOP_FOLDERS and "/" in code}
    assert (
        sorted(path for path in paths if not (NO_PATH.search(path) or tracked() & {path, in_package(path)}))
        == []
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_is_one(name):
    targets = set(re.findall(r"^([a-z][a-z-]*):", text_of("Makefile"), re.MULTILINE))
    code = " ".join(CODE.findall(text_of(name)))
    assert sorted(set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)(?![\w-])", code)) - targets) == []


PROGRAMS = {"control-plane": control_plane.cli.COMMANDS, "edge-agent": edge_agent.cli.COMMANDS}


@cache
def command_of(program: str, name: str) -> TyperCommand | TyperGroup:
    """As the program makes it."""
    app = typer.Typer(add_completion=False)
    app.callback()(lambda: None)
    _add(app, f"{program.replace('-', '_')}.commands", name, "")
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return group.commands[name]


def calls(name: str) -> Iterator[list[str]]:
    """Each call of one of our programs in code type, as words."""
    for code in CODE.findall(text_of(name)):
        for line in code.strip("`").replace("\\\n", " ").splitlines():
            for call in re.split(r"\s*(?:&&|\||;)\s*", line.partition("  #")[0]):
                try:
                    words = shlex.split(call.removeprefix("$ "))
                except ValueError:
                    continue
                if words and Path(words[0]).name in ("control-plane", "edge-agent"):
                    yield [Path(words[0]).name, *words[1:]]


def problem_of(words: list[str]) -> str | None:
    """The first word of a call that its program does not know."""
    if len(words) == 1 or not re.match(r"[a-z]", words[1]):
        return None  # an option of the program itself, or what another program printed
    if words[1] not in PROGRAMS[words[0]]:
        return words[1]
    command, rest = command_of(*words[:2]), words[2:]
    while isinstance(command, TyperGroup) and rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        if rest[0] not in command.commands:
            return rest[0]
        command, rest = command.commands[rest[0]], rest[1:]
    known = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    options = [word.partition("=")[0] for word in rest if re.match(r"--[a-z]", word)]
    return next((option for option in options if option not in known | {"--help"}), None)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_and_option_exists(name):
    """Renamed options and commands are found in the documents too."""
    if name.startswith(("CHANGELOG", "docs/decisions/")):
        return  # they tell of their time
    assert [(words, wrong) for words in calls(name) if (wrong := problem_of(words))] == []


def read_variables() -> set[str]:
    """Every string in our code that is the name of an environment variable, but those that we only set."""
    found: set[str] = set()
    for folder in OURS:
        for file in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(file.read_text())
            for node in ast.walk(tree):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr == "setdefault"
                ):
                    node.args = node.args[1:]
            strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
            found |= {text for text in strings if isinstance(text, str) and VARIABLE.fullmatch(text)}
    return found


def test_the_template_has_every_environment_variable_and_no_other():
    template = text_of("docs/env_config_template.env")
    listed = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", template, re.MULTILINE))
    assert listed == read_variables()
