"""How a Kafka client proves who it is, and whom it believes: TLS and SASL, for both planes.

Enters: a file of `name=value` lines, as librdkafka names them. Leaves: those settings, checked. Never: a
value in a message or a log; a setting that turns verification off, runs a command or loads a library.
"""

from pathlib import Path
from stat import S_IRWXO, filemode
from typing import Final

from shared.errors import ConfigError

VARIABLE: Final = "KAFKA_CLIENT_CONFIG"  # the file's path, for every program
FILE_BYTES_MAX = 65_536
PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
ALLOWED = (
    "security.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.crl.location",
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.sigalgs.list",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sasl.kerberos.service.name",
    "sasl.kerberos.principal",
    "sasl.kerberos.keytab",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.token.endpoint.url",
)


class KafkaClientSettings(dict[str, str]):
    """Settings by name; printed without their values, which are secrets."""

    def __repr__(self) -> str:
        return f"KafkaClientSettings({', '.join(self)})"

    __str__ = __repr__


def load_client_settings(path: Path | None) -> KafkaClientSettings:
    """The settings in the file, none without one; ConfigError with every problem and its line."""
    if path is None:
        return KafkaClientSettings()
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            lines = file.read(FILE_BYTES_MAX).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"the Kafka client's settings cannot be read: {error}"]) from error
    found, problems = KafkaClientSettings(), []
    if mode & S_IRWXO:
        problems.append(f"mode {filemode(mode)}: it may hold a password; chmod o= {path.name}")
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            name, equals, value = (part.strip() for part in line.partition("="))
            problem = _problem(name, value) if equals else "expected name=value"
            problems += [f"line {number}: {problem}"] if problem else []
            found[name] = value
    if problems:
        raise ConfigError(str(path), problems)
    return found


def _problem(name: str, value: str) -> str | None:
    """What is wrong with one setting, without saying its value unless it can be no secret."""
    if name not in ALLOWED:
        return f"{name!r} is not a TLS or SASL setting that may be given; known: {', '.join(ALLOWED)}"
    if name == "security.protocol" and value.lower() not in PROTOCOLS:
        return f"security.protocol: found {value!r}; expected one of {', '.join(PROTOCOLS)}"
    if (name.endswith(".location") or name.endswith(".keytab")) and not Path(value).is_file():
        return f"{name}: {value} is not a file"
    return None
