"""Apache Kafka for tests: a real broker on free loopback ports, which can be killed, paused and restarted."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # public

from shared.listen import free_port

INFRA = Path(__file__).parents[2] / "infra"
LAUNCHER = INFRA / "kafka" / "kafka.sh"
FETCH_DEADLINE_S = 600.0
START_DEADLINE_S = 120.0  # alone it takes 5 s
CALL_DEADLINE_S = 60.0
FAST_START = "-Xms96m -Xmx384m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def require_kafka() -> None:
    """Jars in place, or the test is skipped with the reason and the remedy; on CI it fails instead."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    reason = f"{' and '.join(missing)} missing: apt-get install openjdk-17-jre-headless maven"
    if not missing:
        fetched = subprocess.run(
            [LAUNCHER, "fetch"], capture_output=True, text=True, timeout=FETCH_DEADLINE_S, check=False
        )
        if fetched.returncode == 0:
            return
        reason = f"Kafka's jars cannot be fetched: {fetched.stderr.strip()[-2000:]}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def topics(telemetry: Mapping[str, str] | None = None) -> list[NewTopic]:
    """The topics of infra/kafka/topics.conf; `telemetry` are more settings of telemetry_raw."""
    lines = (INFRA / "kafka" / "topics.conf").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    more = {"telemetry_raw": dict(telemetry or {})}
    return [
        NewTopic(
            name,
            int(partitions),
            1,
            config=dict(pair.split("=") for pair in settings.split(",")) | more.get(name, {}),
        )
        for name, partitions, settings in rows
    ]


class KafkaBroker:
    """One node with a data folder of its own. `settings` override infra/kafka/server.properties; `secure` is
    the HOST:PORT of a SASL_SSL listener beside the plain one, `settings` then say with which certificate.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        secure: str | None = None,
        jvm: str = FAST_START,
    ) -> None:
        self._port, controller = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self._port}"
        self.secure = secure
        self.folder, self._jvm = folder, jvm
        also = f",SASL_SSL://{secure}" if secure else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = {
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}{also}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}{also}",
            "log.dirs": str(folder / "data"),
            **(settings or {}),
        }

    def start(self, *, wait: bool = True) -> None:
        """Start on the data folder as it is; with `wait`, return when the broker answers."""
        properties = self.folder / "server.properties"
        if not properties.exists():
            base = (INFRA / "kafka" / "server.properties").read_text()
            own = "".join(f"{name}={value}\n" for name, value in self._settings.items())
            properties.write_text(base + own)
            subprocess.run([LAUNCHER, "format", properties], check=True, timeout=START_DEADLINE_S)
        log = (self.folder / "broker.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [LAUNCHER, "serve", properties],
                env=os.environ | {"KAFKA_JVM": self._jvm},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_until_up()

    def wait_until_up(self) -> None:
        """Return when the broker answers; fail when it ended."""
        end = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"Kafka ended: {(self.folder / 'broker.log').read_text()[-2000:]}")
            with suppress(KafkaException):
                self.admin().list_topics(timeout=2)
                return
        raise TimeoutError(f"Kafka does not answer at {self.bootstrap}")

    def stop(self) -> None:
        """An orderly end (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9; what it had acknowledged is in its data folder."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def admin(self) -> AdminClient:
        """A client for administration."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def create_topics(self, **telemetry: str) -> None:
        """The topics of infra/kafka/topics.conf in place of all that are there.

        `telemetry` are settings of telemetry_raw beside those of the file.
        """
        wanted = topics(telemetry)
        end = time.monotonic() + START_DEADLINE_S
        while not self._created(wanted):  # what is deleted is there for a moment longer
            if time.monotonic() > end:
                raise TimeoutError(f"topics of before are still at {self.bootstrap}")
            self._delete_topics()
        admin, names = self.admin(), {topic.topic for topic in wanted}
        while not names <= admin.list_topics(timeout=CALL_DEADLINE_S).topics.keys():
            if time.monotonic() > end:  # the broker's list is a moment behind, long on a busy machine
                raise TimeoutError(f"{self.bootstrap} does not list the topics that it was told to make")
            time.sleep(0.05)

    def reset(self, **telemetry: str) -> None:
        """Empty topics and no consumer group: as new, for the next test."""
        end = time.monotonic() + START_DEADLINE_S
        while self._groups_left() and time.monotonic() < end:
            time.sleep(0.5)  # a member that was killed belongs to its group until its session times out
        self._delete_topics()
        self.create_topics(**telemetry)

    def _groups_left(self) -> bool:
        """Delete every consumer group; whether one has members and stays."""
        admin = self.admin()
        groups = [g.group_id for g in admin.list_consumer_groups().result(CALL_DEADLINE_S).valid]
        deleted = admin.delete_consumer_groups(groups).values() if groups else ()
        return any(future.exception(CALL_DEADLINE_S) for future in deleted)

    def _created(self, wanted: list[NewTopic]) -> bool:
        """Whether each topic is made; False when one of before is in the way."""
        admin = self.admin()
        made = admin.create_topics(wanted, operation_timeout=CALL_DEADLINE_S)
        errors = [future.exception(CALL_DEADLINE_S) for future in made.values()]
        for error in filter(None, errors):
            code = error.args[0].code() if isinstance(error, KafkaException) else None
            if code != KafkaError.TOPIC_ALREADY_EXISTS:
                raise error
        return not any(errors)

    def _delete_topics(self) -> None:
        admin = self.admin()
        while names := [
            name for name in admin.list_topics(timeout=CALL_DEADLINE_S).topics if name[:2] != "__"
        ]:
            for gone in admin.delete_topics(names, operation_timeout=CALL_DEADLINE_S).values():
                with suppress(KafkaException):  # deleted already; the broker's list is a moment behind
                    gone.result(CALL_DEADLINE_S)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the broker was not started"
        return self._process

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # a paused one does not hear SIGTERM
            process.wait(START_DEADLINE_S)


@contextmanager
def running_kafka(folder: Path, **arguments: object) -> Iterator[KafkaBroker]:
    """A broker of one's own with the topics made, killed at the end. Arguments as for KafkaBroker."""
    require_kafka()
    broker = KafkaBroker(folder, **arguments)  # type: ignore[arg-type]
    try:
        broker.start()
        broker.create_topics()
        yield broker
    finally:
        broker.kill()
