"""The settings of RabbitMQ and Kafka, and what a client needs to speak TLS to them."""

import ssl
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote

from pydantic import Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import BaseSettings

from service.variables import CommaList, variables

AMQPS_PORT = 5671
KEYLESS = "the client's key belongs to a certificate"


class _TlsSettings(BaseSettings):
    """What both brokers have for TLS. The files are read once, at the start."""

    ca_file: Path | None = Field(None, description="PEM file of authorities trusted beside the system's")
    cert_file: Path | None = Field(None, description="PEM file of the client's certificate")
    key_file: Path | None = Field(None, description="PEM file of its key; unset: in the certificate's file")
    key_password: SecretStr | None = Field(None, description="Of the key, where it is encrypted")

    _tls_context: ssl.SSLContext | None = PrivateAttr(None)

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        """For a client of this broker; None: it speaks without TLS."""
        return self._tls_context

    def _read_tls(self, *, on: bool, remedy: str) -> None:
        """Raises ValueError, whose text names the variable that is wrong and never its value."""
        given = [name for name in _TlsSettings.model_fields if getattr(self, name) is not None]
        if given and not on:
            raise ValueError(f"{self._variable(given[0])} has no effect without TLS: {remedy}, or remove it")
        for name in ("key_file", "key_password"):
            if name in given and self.cert_file is None:
                raise ValueError(f"{self._variable(name)} needs {self._variable('cert_file')}: {KEYLESS}")
        self._tls_context = self._make_context() if on else None

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.ca_file is not None:
            try:
                context.load_verify_locations(self.ca_file)
            except OSError as error:
                raise ValueError(
                    f"{self._variable('ca_file')} cannot be used ({_why(error)}); accepted: a PEM file of certificates"
                ) from None
        if self.cert_file is not None:
            # Never None, which would make OpenSSL ask at the terminal.
            password = "" if self.key_password is None else self.key_password.get_secret_value()
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password)
            except OSError as error:
                raise ValueError(
                    f"{self._variable('cert_file')} and {self._variable('key_file')} cannot be used ({_why(error)}); "
                    f"accepted: PEM files of a certificate and of its key, and {self._variable('key_password')} "
                    "where that is encrypted"
                ) from None
        return context

    def _variable(self, field: str) -> str:
        return f"{self.model_config['env_prefix']}{field}".upper()


class RabbitSettings(_TlsSettings):
    """RabbitMQ is used when `RABBITMQ_HOST` is set."""

    model_config = variables("RABBITMQ_")

    host: str | None = None
    port: int = Field(5672, ge=1, le=65535, description="With TLS it is 5671 where nothing is set")
    tls: bool = Field(False, description="Speak TLS (amqps)")
    user: str = "guest"
    password: SecretStr = SecretStr("guest")
    vhost: str = "/"
    queue_name: str = Field("notifications", min_length=1, max_length=200)
    events_queue_name: str = Field(
        "notifications.domain-events",
        min_length=1,
        max_length=200,
        description="Events that triggers wait for",
    )
    prefetch: int = Field(500, ge=1, le=65535, description="Unacknowledged messages a process holds")

    @model_validator(mode="after")
    def _reads_its_files(self) -> Self:
        self._read_tls(on=self.tls, remedy="set RABBITMQ_TLS=true")
        if self.tls and "port" not in self.model_fields_set:
            self.port = AMQPS_PORT
        return self

    @property
    def url(self) -> str:
        """The AMQP address with credentials: never to be logged."""
        scheme = "amqps" if self.tls else "amqp"
        secret = quote(self.password.get_secret_value(), safe="")
        vhost = quote(self.vhost, safe="")
        return f"{scheme}://{quote(self.user, safe='')}:{secret}@{self.host}:{self.port}/{vhost}"


class KafkaSettings(_TlsSettings):
    """Kafka is used when `KAFKA_BOOTSTRAP_SERVERS` is set."""

    model_config = variables("KAFKA_")

    bootstrap_servers: CommaList[str] = ()
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    topic: str = Field("notifications", min_length=1, max_length=249)
    events_topic: str = Field(
        "notifications.domain-events",
        min_length=1,
        max_length=249,
        description="Events that triggers wait for",
    )
    group_id: str = Field("notifications-service", min_length=1)
    batch_max_records: int = Field(500, ge=1, le=10_000)

    @model_validator(mode="after")
    def _fits_its_protocol(self) -> Self:
        login = {
            "KAFKA_SASL_MECHANISM": self.sasl_mechanism,
            "KAFKA_SASL_USERNAME": self.sasl_username,
            "KAFKA_SASL_PASSWORD": self.sasl_password,
        }
        protocol = f"KAFKA_SECURITY_PROTOCOL={self.security_protocol}"
        for variable, value in login.items():
            if value is None and self.logs_in:
                raise ValueError(f"{variable} is not set, and {protocol} needs it")
            if value is not None and not self.logs_in:
                raise ValueError(
                    f"{variable} has no effect with {protocol}: "
                    "set that to SASL_SSL (or SASL_PLAINTEXT, without TLS), or remove the variable"
                )
        remedy = f"set KAFKA_SECURITY_PROTOCOL={'SASL_SSL' if self.logs_in else 'SSL'}"
        self._read_tls(on=self.security_protocol.endswith("SSL"), remedy=remedy)
        return self

    @property
    def logs_in(self) -> bool:
        """Whether the brokers ask for a user."""
        return self.security_protocol.startswith("SASL_")


def _why(error: OSError) -> str:
    return (
        "its format or its password is wrong"
        if isinstance(error, ssl.SSLError)
        else error.strerror or "it fails"
    )
