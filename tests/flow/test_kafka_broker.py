"""The launcher of Apache Kafka, its topics, and the container that does the same."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from shared.schemas import DLQ_SUFFIX, TOPICS
from tests.support.kafka import INFRA, LAUNCHER, topics

DEADLINE_S = 60.0
OF_THIS_START = {"process.roles", "log.dirs"}  # and whatever names listeners: the container has its own


def test_the_topics_file_names_every_topic_and_its_dead_letters():
    """What the records travel on is what the file makes."""
    assert {topic.topic for topic in topics()} == {name + end for name in TOPICS for end in ("", DLQ_SUFFIX)}


@pytest.mark.slow
def test_init_topics_makes_what_is_missing_and_corrects_what_differs(tmp_path, kafka):
    """A missing topic is made, a wrong setting corrected, and a second run changes nothing."""
    admin = kafka.admin()
    for call in admin.delete_topics(["alerts.dlq"], operation_timeout=DEADLINE_S).values():
        call.result(DEADLINE_S)
    wrong = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    alerts = ConfigResource(ResourceType.TOPIC, "alerts", incremental_configs=[wrong])
    for call in admin.incremental_alter_configs([alerts]).values():
        call.result(DEADLINE_S)
    first = init_topics(kafka.bootstrap)
    second = init_topics(kafka.bootstrap, KAFKA_HOME=str(distribution(tmp_path)))
    assert re.findall(r"^(made|changed) +(\S+):", first, re.M) == [
        ("changed", "alerts"),
        ("made", "alerts.dlq"),
    ]
    assert second == f"healthy  {len(topics())} topics at {kafka.bootstrap}, a leader for each partition\n"
    [described] = admin.describe_configs([ConfigResource(ResourceType.TOPIC, "alerts")]).values()
    assert described.result(DEADLINE_S)["retention.ms"].value == "2592000000"


def init_topics(bootstrap: str, **environment: str) -> str:
    command, env = [INFRA / "init_kafka_topics.sh", bootstrap], os.environ | environment
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout


def distribution(folder: Path) -> Path:
    """A folder with Kafka's tools where a distribution and the container image have them."""
    (folder / "bin").mkdir()
    for name in ("topics", "configs"):
        tool = folder / "bin" / f"kafka-{name}.sh"
        tool.write_text(f'#!/bin/sh\nexec "{LAUNCHER}" {name} "$@"\n')
        tool.chmod(0o755)
    return folder


def test_the_container_has_the_settings_of_the_local_broker():
    """Whoever changes one must change the other."""
    lines = (INFRA / "kafka" / "server.properties").read_text().splitlines()
    local = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    kafka = yaml.safe_load((INFRA / "docker-compose.yml").read_text())["services"]["kafka"]["environment"]
    shared = {name for name in local if "listener" not in name and "voters" not in name} - OF_THIS_START
    assert {name: kafka[f"KAFKA_{name.upper().replace('.', '_')}"] for name in shared} == {
        name: local[name] for name in shared
    }


def test_a_machine_without_java_is_told_what_to_install(tmp_path):
    """The launcher names the package instead of a missing command."""
    for name in ("bash", "dirname", "sha256sum", "cut"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    found = subprocess.run(
        [LAUNCHER, "serve", "any.properties"],
        check=False,
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert found.stderr == "kafka.sh: java is missing: apt-get install openjdk-17-jre-headless\n"
