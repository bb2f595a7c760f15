"""`plant` of a site in `reactor_config.yaml`: how its controllers are reached, and what secures the way."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.listen import is_loopback
from shared.schemas.base import Name


class Section(BaseModel):
    """A section of the file: frozen, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Tls(Section):
    """An MQTT broker's TLS: who signs its certificate, and this side's own, where the broker asks for one."""

    ca_file: Path = Field(description="PEM: the CA of the broker's certificate")
    certificate_file: Path | None = Field(default=None, description="PEM: this side's certificate")
    key_file: Path | None = Field(default=None, description="PEM: its key, without a passphrase")

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together; give both or neither")
        return self


class Login(Section):
    """A user of an MQTT broker; the password stands in a file or in an environment variable, never here."""

    user: str = Field(min_length=1, max_length=256)
    password_file: Path | None = Field(default=None, description="its first line is the password")
    password_variable: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")

    @model_validator(mode="after")
    def _one_place_for_the_password(self) -> Self:
        if (self.password_file is None) == (self.password_variable is None):
            raise ValueError("give password_file or password_variable, one of the two")
        return self


class OpcUaSecurity(Section):
    """How an OPC UA connection is secured: signed and encrypted, or with policy `none` neither.

    Files are PEM or DER; a certificate is trusted when it is itself in `trusted`, whoever issued it.
    """

    policy: Literal["none", "Basic256Sha256", "Aes256Sha256RsaPss"]
    certificate: Path | None = Field(default=None, description="the agent's own")
    key: Path | None = Field(default=None, description="of the agent's certificate: RSA, without a password")
    trusted: Path | None = Field(default=None, description="the server's certificate, or a folder of them")
    user: str | None = None
    password_file: Path | None = Field(default=None, description="the user's password, in a file of its own")

    @model_validator(mode="after")
    def _files_belong_to_the_policy(self) -> Self:
        files = {"certificate": self.certificate, "key": self.key, "trusted": self.trusted}
        if self.policy == "none":
            named = [name for name in (*files, "user", "password_file") if getattr(self, name) is not None]
            if named:
                raise ValueError(f"policy none sends everything in clear; leave out {', '.join(named)}")
            return self
        missing = [name for name, path in files.items() if path is None]
        if missing:
            raise ValueError(
                f"{self.policy} needs {', '.join(missing)} too; `edge-agent certificate` makes a pair"
            )
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together")
        return self


class Plant(Section):
    """How the site's controllers are reached, and how often they are polled."""

    protocol: Literal["modbus_tcp", "opc_ua", "sparkplug_b"] = "modbus_tcp"
    group: Name = Field(
        default="pm-stack-smr", description="Sparkplug B group id; host and port are the broker's"
    )
    host: str = "127.0.0.1"
    port: int = Field(default=15020, ge=1, le=65_535)
    tls: Tls | None = Field(default=None, description="Sparkplug B only: the broker's TLS")
    login: Login | None = Field(default=None, description="Sparkplug B only: the broker's user")
    security: OpcUaSecurity | None = Field(
        default=None, description="of OPC UA; beyond this machine it must be said, be it {policy: none}"
    )
    poll_period_s: float = Field(default=1.0, ge=0.05, le=3600)
    timeout_s: float = Field(default=0.5, gt=0, le=60)

    @model_validator(mode="after")
    def _opc_ua_security_is_said(self) -> Self:
        """OPC UA has security built in, so doing without is a choice that a person makes and can be shown."""
        if self.protocol != "opc_ua" and self.security is not None:
            raise ValueError(f"security is for opc_ua; leave it out for {self.protocol}")
        if self.protocol == "opc_ua" and self.security is None and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} is beyond this machine; add security with a policy and certificates, "
                "or write security: {policy: none} to send everything in clear"
            )
        return self

    @model_validator(mode="after")
    def _answers_before_the_next_poll(self) -> Self:
        if self.timeout_s > self.poll_period_s:
            raise ValueError(f"timeout_s {self.timeout_s} must not exceed poll_period_s {self.poll_period_s}")
        return self

    @model_validator(mode="after")
    def _only_a_broker_has_tls_and_login(self) -> Self:
        given = [name for name in ("tls", "login") if getattr(self, name) is not None]
        if given and self.protocol != "sparkplug_b":
            raise ValueError(f"{' and '.join(given)} belong to sparkplug_b; {self.protocol} takes neither")
        return self

    @model_validator(mode="after")
    def _no_password_in_clear(self) -> Self:
        """A site may read a broker without TLS, as it reads Modbus TCP; a password may not travel so."""
        if self.login is not None and self.tls is None and not is_loopback(self.host):
            raise ValueError(f"login would send its password in clear to {self.host}; give tls.ca_file too")
        return self

    @property
    def secured(self) -> OpcUaSecurity | None:
        """The security section, where it secures anything."""
        return None if self.security is None or self.security.policy == "none" else self.security
