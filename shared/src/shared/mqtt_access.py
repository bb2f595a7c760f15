"""How this machine proves itself to an MQTT broker, and the broker to it.

Enters: `plant.tls` and `plant.login` of the configuration, which name files and variables and hold no
secret. Leaves: a client that is equipped, or a message that names the remedy; never the secret itself.
"""

import os
import ssl
import stat
from pathlib import Path
from typing import Any, Protocol

from shared.errors import ConfigError
from shared.plant_config import Login, Plant, Tls

SECRET_BYTES_MAX = 4096  # a password, not a document
_WRONG_CA = {18, 19, 20, 21}  # X509_V_ERR_*: self-signed, or its issuer is not known
_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_NAME = {62, 64}  # host name, address


class Client(Protocol):
    """The part of paho's client that is used here."""

    def tls_set_context(self, context: ssl.SSLContext | None = None) -> None: ...

    def username_pw_set(self, username: str | None, password: str | None = None) -> None: ...


def equip(client: Client, tls: Tls | None, login: Login | None) -> None:
    """Before it connects. ConfigError when a file or variable named in the configuration is not usable."""
    if tls is not None:
        client.tls_set_context(_context(tls))
    if login is not None:
        client.username_pw_set(login.user, _password(login))


class Running(Protocol):
    """The part of paho's client by which it ends."""

    on_connect: Any
    on_connect_fail: Any
    on_disconnect: Any
    on_message: Any
    on_pre_connect: Any

    def disconnect(self) -> Any: ...

    def loop_stop(self) -> Any: ...


def end(client: Running) -> None:
    """Say farewell, wait for its thread, and let go of who was called: they hold the client, and in such a
    circle the garbage collector may come upon paho's sockets first, still open."""
    client.disconnect()
    client.loop_stop()
    client.on_connect = client.on_connect_fail = client.on_pre_connect = None
    client.on_disconnect = client.on_message = None


def remedy(error: BaseException, plant: Plant) -> str:
    """What a failed connection means, and what would be right."""
    place = f"{plant.host}:{plant.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"MQTT broker at {place}: {_unverified(error, plant)}"
    if plant.tls is not None and isinstance(error, (ssl.SSLError, ConnectionResetError)):
        return (
            f"MQTT broker at {place} does not speak TLS as this side does; "
            "give plant.port the broker's TLS listener (often 8883)"
        )
    return f"no MQTT broker at {place}: {error}; start one, for example mosquitto"


def refusal(reason: str, plant: Plant) -> str:
    """What a broker's refusal means (MQTT 3.1.1, section 3.2.2.3), and what would be right."""
    who = "a client without a login" if plant.login is None else f"user {plant.login.user!r}"
    remedy = "give plant.login" if plant.login is None else "check the password and the user's rights"
    return f"MQTT broker at {plant.host}:{plant.port} refuses {who}: {reason}; {remedy}"


def hung_up(plant: Plant) -> str:
    """What it means that a broker closes the connection before it has answered."""
    if plant.tls is None:
        remedy = "if its listener speaks TLS, give plant.tls.ca_file"
    elif plant.tls.certificate_file is None:
        remedy = "if it asks for a client certificate, give plant.tls.certificate_file and key_file"
    else:
        remedy = "plant.tls.certificate_file may have expired, or be of a CA that the broker does not know"
    return f"MQTT broker at {plant.host}:{plant.port} hangs up without an answer; {remedy}"


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(tls.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "plant.tls.ca_file", [f"{tls.ca_file}: {_said(error)}; expected certificates in PEM form"]
        ) from error
    if tls.certificate_file is not None and tls.key_file is not None:
        try:
            context.load_cert_chain(tls.certificate_file, tls.key_file, password=_no_passphrase)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                "plant.tls.certificate_file",
                [
                    f"{tls.certificate_file} with {tls.key_file}: {_said(error)}; "
                    "expected a certificate and its own key in PEM form, the key without a passphrase"
                ],
            ) from error
    return context


def _no_passphrase() -> str:
    """A daemon cannot be asked for one."""
    return ""


def _said(error: OSError) -> str:
    return error.strerror or str(error)


def _password(login: Login) -> str:
    if login.password_file is None:
        place = f"environment variable {login.password_variable}"
        found = os.environ.get(str(login.password_variable), "")
    else:
        place = str(login.password_file)
        found = _read_secret(login.password_file)
    if not found:
        raise ConfigError("plant.login", [f"{place} holds no password for user {login.user!r}; set it"])
    return found


def _read_secret(path: Path) -> str:
    """Its first line."""
    try:
        if path.stat().st_mode & stat.S_IROTH:
            raise ConfigError(
                "plant.login.password_file", [f"{path} may be read by everyone; run: chmod 600 {path}"]
            )
        with path.open("rb") as file:
            return file.read(SECRET_BYTES_MAX).decode().partition("\n")[0].rstrip("\r")
    except OSError as error:
        raise ConfigError(
            "plant.login.password_file", [f"{path}: {_said(error)}; expected a file with the password"]
        ) from error
    except UnicodeDecodeError:
        raise ConfigError("plant.login.password_file", [f"{path}: expected text in UTF-8"]) from None


def _unverified(error: ssl.SSLCertVerificationError, plant: Plant) -> str:
    ca_file = None if plant.tls is None else plant.tls.ca_file
    if error.verify_code == _EXPIRED:
        return "its certificate, or its CA's, has expired; renew it on the broker"
    if error.verify_code == _NOT_YET_VALID:
        return "its certificate is not valid yet; set this machine's clock, or the broker's"
    if error.verify_code in _WRONG_CA:
        return f"its certificate is not signed by plant.tls.ca_file {ca_file}; give the CA that signed it"
    if error.verify_code in _OTHER_NAME:
        return f"its certificate is not for {plant.host!r}; give plant.host a name that stands in it"
    return f"its certificate is refused: {error.verify_message}"
