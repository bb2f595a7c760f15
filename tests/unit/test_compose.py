"""The compose files: of the specification's form, ordered by health, no secret with a default."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from shared import __version__

INFRA = Path(__file__).parents[2] / "infra"
FILES = ("docker-compose.yml", "docker-compose.override.yml")
OURS = "${PM_IMAGES:-localhost/pm-stack-smr}/"
DOCKERFILES = {
    "inference": "grpc_inference", "mlflow": "mlflow", "simulation": "simulation", "edge-agent": "edge_agent",
    "control-plane": "control_plane",
}  # fmt: skip


def services() -> dict[str, dict]:
    return yaml.safe_load((INFRA / FILES[0]).read_text())["services"]


def own_image(service: dict) -> str | None:
    """The name of the image where it is one of ours."""
    image = service["image"]
    return image.removeprefix(OURS).partition(":")[0] if image.startswith(OURS) else None


def as_started(text: str) -> dict:
    """The document with each variable as it is where none is set, and secrets made."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return yaml.safe_load(re.sub(r"\$\{\w+:\?[^}]*\}", "made", text))


def judge(document: dict) -> None:
    """By the specification's types; ValueError names what it does not know, and where."""
    PyCompose.from_yaml(yaml.safe_dump(document))


@pytest.mark.parametrize("file", FILES)
def test_compose_file_is_as_the_specification_has_it(file):
    judge(as_started((INFRA / file).read_text()))


@pytest.mark.parametrize(
    "wrong", [{"restrat": "always"}, {"depends_on": {"b": {"condition": "service_well"}}}]
)
def test_what_the_specification_does_not_know_is_found(wrong):
    """The check above can fail: a key that is misspelt, a condition that does not exist."""
    document = as_started((INFRA / FILES[0]).read_text())
    document["services"]["console"].update(wrong)
    with pytest.raises(ValueError, match=r"services\.console"):
        judge(document)


def test_who_waits_for_health_waits_for_one_that_tells_it():
    for name, service in services().items():
        waits = service.get("depends_on", {})
        for other, how in waits.items():
            target = services()[other]
            if how["condition"] == "service_healthy":
                image = own_image(target)
                in_image = image and "HEALTHCHECK" in (INFRA / f"Dockerfile.{DOCKERFILES[image]}").read_text()
                check = target.get("healthcheck", {})
                assert check.get("test") or (in_image and not check.get("disable")), (name, other)


def test_images_are_pinned_and_ours_are_of_this_version():
    for name, service in services().items():
        if own_image(service):
            assert service["image"].endswith(f":${{PM_VERSION:-{__version__}}}"), name
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
        else:
            assert re.search(r":v?\d+\.\d+", service["image"]), name


def test_nothing_secret_has_a_default():
    """Each password and token comes from the environment, and is refused where it is missing."""
    text = (INFRA / FILES[0]).read_text()
    named = re.findall(r"\$\{(\w*(?:TOKEN|PASSWORD|SECRET)\w*)(.*?)\}", text)
    assert named
    assert {after for _, after in named} == {":?is not set: run make env"}
    assert not re.search(r"^\s+\w*(?:TOKEN|PASSWORD)\w*: (?![\"]?\$)", text, re.MULTILINE)


def test_what_is_published_is_published_on_loopback():
    for name, service in services().items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_prometheus_asks_every_service_that_tells_metrics():
    """Each address by which an agent or a part of the centre starts, and no other."""
    document = as_started((INFRA / FILES[0]).read_text())
    told = {
        value
        for service in document["services"].values()
        for name, value in service.get("environment", {}).items()
        if name == "EDGE_HEALTH" or name.endswith("_METRICS")
    }
    jobs = yaml.safe_load((INFRA / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    asked = [target for job in jobs for each in job["static_configs"] for target in each["targets"]]
    assert sorted(asked) == sorted(told)


def test_make_env_makes_each_secret_once(tmp_path):
    """Every one that the compose file asks for, for its owner's eyes; a second run changes none."""
    shutil.copy(INFRA / "make_env.sh", tmp_path)
    subprocess.run([tmp_path / "make_env.sh"], check=True, capture_output=True)
    made = (tmp_path / ".env").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", (INFRA / FILES[0]).read_text()))
    values = dict(line.split("=", 1) for line in made.splitlines())
    assert set(values) == asked
    assert len(set(values.values())) == len(asked)
    assert min(len(value) for value in values.values()) == 48
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    subprocess.run([tmp_path / "make_env.sh"], check=True, capture_output=True)
    assert (tmp_path / ".env").read_text() == made


@pytest.mark.skipif(not shutil.which("podman"), reason="no podman on this machine")
def test_nothing_starts_without_its_secrets(tmp_path):
    """A stack whose secrets were not made is refused, and the message says what to run."""
    shutil.copy(INFRA / FILES[0], tmp_path)
    done = subprocess.run(
        [Path(sys.executable).parent / "podman-compose", "-f", tmp_path / FILES[0], "config"],
        env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "run make env" in done.stdout + done.stderr


@pytest.mark.parametrize("name", DOCKERFILES.values())
def test_image_is_slim_and_not_roots(name):
    """Two stages on a base that is an argument; the second has a user of its own and checks its health."""
    lines = (INFRA / f"Dockerfile.{name}").read_text().splitlines()
    assert [line for line in lines if line.startswith("FROM")] == [
        "FROM ${BASE_IMAGE} AS build",
        "FROM ${BASE_IMAGE}",
    ]
    second = lines[lines.index("FROM ${BASE_IMAGE}") :]
    assert "USER 10001:10001" in second
    assert any(line.startswith("HEALTHCHECK") for line in second)
    assert not any(line.startswith("RUN") for line in second)
