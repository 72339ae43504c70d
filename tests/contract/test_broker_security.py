"""Brokers over TLS and behind a login: spoken to as the settings say, refused with a reason that names the remedy."""

import logging
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from service.broker_settings import KafkaSettings, RabbitSettings
from tests.contract.rigs.kafka import KafkaRig
from tests.contract.rigs.rabbit import RabbitRig
from tests.contract.transport_suite import message, running
from tests.support.brokers import KafkaMock, RabbitNode
from tests.support.gates import KafkaGate, TlsGate, write_authority, write_client
from tests.support.waiting import wait_until

PASSWORD = "a secret, with = and ,"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    return write_authority(authority, tmp_path)


class _Kafka(KafkaRig):
    """The service goes through a gate; who publishes does not."""

    def __init__(self, mock: KafkaMock, port: int, **security: Any) -> None:
        super().__init__(mock)
        self._own = {"bootstrap_servers": f"127.0.0.1:{port}", **security}

    def settings(self) -> dict[str, Any]:
        return _replaced(super().settings(), self._own)


class _Rabbit(RabbitRig):
    """The same."""

    def __init__(self, node: RabbitNode, port: int, **security: Any) -> None:
        super().__init__(node)
        self._own = {"host": "127.0.0.1", "port": port, "tls": True, **security}

    def settings(self) -> dict[str, Any]:
        return _replaced(super().settings(), self._own)


def _replaced(settings: dict[str, BaseSettings], own: dict[str, Any]) -> dict[str, Any]:
    """A rig's settings of its one broker, with some of them its own: judged as those of the service are."""
    [(name, plain)] = settings.items()
    return {name: type(plain)(**{**plain.model_dump(exclude_defaults=True), **own})}


def _port_of(mock: KafkaMock) -> int:
    return int(mock.bootstrap.rpartition(":")[2])


def _login(mechanism: str, password: str = PASSWORD) -> dict[str, Any]:
    return {"sasl_mechanism": mechanism, "sasl_username": "svc", "sasl_password": SecretStr(password)}


async def _passes(rig: KafkaRig | RabbitRig, database_url: str) -> None:
    """A message comes in and its events go out."""
    async with rig, running(rig, database_url) as service:
        await service.connected()
        await rig.publish(message("through the gate"))
        await service.accepted(1)
        await service.published("events", 2)


async def _refused(
    rig: KafkaRig | RabbitRig, database_url: str, caplog: pytest.LogCaptureFixture, *words: str
) -> None:
    """The service serves on, unconnected, and says in its log what is wrong: not a word of the password."""
    with caplog.at_level(logging.WARNING, "service.transports"):
        async with rig, running(rig, database_url) as service:
            await wait_until(
                lambda: all(word in service.transport.detail for word in words), 20, f"{words} in the detail"
            )
            assert not service.transport.ready
    assert any(all(word in line for word in words) for line in caplog.messages)
    assert PASSWORD not in caplog.text


class TestKafka:
    async def test_over_tls(
        self, kafka_mock: KafkaMock, authority: trustme.CA, ca_file: Path, database_url: str
    ) -> None:
        async with KafkaGate(_port_of(kafka_mock), authority) as gate:
            rig = _Kafka(kafka_mock, gate.port, security_protocol="SSL", ca_file=ca_file)
            await _passes(rig, database_url)
            assert gate.connections

    async def test_with_a_certificate_of_its_own(
        self, kafka_mock: KafkaMock, authority: trustme.CA, ca_file: Path, database_url: str, tmp_path: Path
    ) -> None:
        clients = trustme.CA()
        cert_file, key_file = write_client(clients, tmp_path)
        async with KafkaGate(_port_of(kafka_mock), authority, clients=clients) as gate:
            files = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
            await _passes(_Kafka(kafka_mock, gate.port, security_protocol="SSL", **files), database_url)

    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
    async def test_with_a_login_over_tls(
        self, kafka_mock: KafkaMock, authority: trustme.CA, ca_file: Path, database_url: str, mechanism: str
    ) -> None:
        async with KafkaGate(_port_of(kafka_mock), authority, user="svc", password=PASSWORD) as gate:
            security = {"security_protocol": "SASL_SSL", "ca_file": ca_file, **_login(mechanism)}
            await _passes(_Kafka(kafka_mock, gate.port, **security), database_url)
            assert set(gate.logins) == {mechanism}

    async def test_with_a_login_and_no_tls(self, kafka_mock: KafkaMock, database_url: str) -> None:
        async with KafkaGate(_port_of(kafka_mock), None, user="svc", password=PASSWORD) as gate:
            security = {"security_protocol": "SASL_PLAINTEXT", **_login("SCRAM-SHA-256")}
            await _passes(_Kafka(kafka_mock, gate.port, **security), database_url)

    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
    async def test_a_wrong_password(
        self, kafka_mock: KafkaMock, database_url: str, caplog: pytest.LogCaptureFixture, mechanism: str
    ) -> None:
        async with KafkaGate(_port_of(kafka_mock), None, user="svc", password="another") as gate:
            security = {"security_protocol": "SASL_PLAINTEXT", **_login(mechanism)}
            rig = _Kafka(kafka_mock, gate.port, **security)
            await _refused(rig, database_url, caplog, "SaslAuthenticationFailed", "wrong user or password")

    async def test_a_wrong_authority(
        self,
        kafka_mock: KafkaMock,
        authority: trustme.CA,
        database_url: str,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        other = write_authority(trustme.CA(), tmp_path)
        async with KafkaGate(_port_of(kafka_mock), authority) as gate:
            rig = _Kafka(kafka_mock, gate.port, security_protocol="SSL", ca_file=other)
            await _refused(rig, database_url, caplog, "certificate is not trusted", "KAFKA_CA_FILE")


class TestRabbit:
    async def test_over_tls(
        self, rabbit_node: RabbitNode, authority: trustme.CA, ca_file: Path, database_url: str
    ) -> None:
        async with TlsGate(rabbit_node.port, authority) as gate:
            await _passes(_Rabbit(rabbit_node, gate.port, ca_file=ca_file), database_url)
            # The transport, the clock's broker, and the firings.
            await wait_until(lambda: gate.connections >= 3, 20, "every client goes through the gate")

    async def test_with_a_certificate_of_its_own(
        self, rabbit_node: RabbitNode, authority: trustme.CA, ca_file: Path, database_url: str, tmp_path: Path
    ) -> None:
        clients = trustme.CA()
        cert_file, key_file = write_client(clients, tmp_path)
        async with TlsGate(rabbit_node.port, authority, clients=clients) as gate:
            files = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
            await _passes(_Rabbit(rabbit_node, gate.port, **files), database_url)

    async def test_a_wrong_authority(
        self,
        rabbit_node: RabbitNode,
        authority: trustme.CA,
        database_url: str,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        other = write_authority(trustme.CA(), tmp_path)
        async with TlsGate(rabbit_node.port, authority) as gate:
            rig = _Rabbit(rabbit_node, gate.port, ca_file=other)
            await _refused(rig, database_url, caplog, "certificate is not trusted", "RABBITMQ_CA_FILE")

    async def test_a_certificate_of_another_host(
        self,
        rabbit_node: RabbitNode,
        authority: trustme.CA,
        ca_file: Path,
        database_url: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async with TlsGate(rabbit_node.port, authority, name="elsewhere.example") as gate:
            rig = _Rabbit(rabbit_node, gate.port, ca_file=ca_file)
            await _refused(rig, database_url, caplog, "not valid for '127.0.0.1'")

    async def test_a_broker_without_tls(
        self, rabbit_node: RabbitNode, ca_file: Path, database_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        rig = _Rabbit(rabbit_node, rabbit_node.port, ca_file=ca_file)
        await _refused(rig, database_url, caplog, "TLS failed")

    def test_the_port_of_amqps_is_the_default_with_tls(self) -> None:
        assert RabbitSettings(host="mq.example", tls=True).url == "amqps://guest:guest@mq.example:5671/%2F"
        assert RabbitSettings(host="mq.example", tls=True, port=5672).port == 5672


def _complaint(
    group: type[KafkaSettings | RabbitSettings], env: dict[str, str], patch: pytest.MonkeyPatch
) -> str:
    for name, value in env.items():
        patch.setenv(name, value)
    with pytest.raises(ValidationError) as raised:
        group()
    return "; ".join(str(problem["msg"]) for problem in raised.value.errors())


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"KAFKA_SASL_MECHANISM": "PLAIN"}, ["KAFKA_SASL_MECHANISM", "KAFKA_SECURITY_PROTOCOL", "SASL_SSL"]),
        ({"KAFKA_SASL_PASSWORD": "hush"}, ["KAFKA_SASL_PASSWORD", "remove"]),
        ({"KAFKA_CA_FILE": "ca.pem"}, ["KAFKA_CA_FILE", "KAFKA_SECURITY_PROTOCOL=SSL"]),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, ["KAFKA_SASL_MECHANISM is not set"]),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "PLAIN"},
            ["KAFKA_SASL_USERNAME is not set"],
        ),
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, ["'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"]),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_CA_FILE": "none.pem"}, ["KAFKA_CA_FILE", "No such file"]),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_CA_FILE": __file__}, ["KAFKA_CA_FILE", "a PEM file"]),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_KEY_FILE": "k.pem"},
            ["KAFKA_KEY_FILE needs KAFKA_CERT_FILE"],
        ),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_CERT_FILE": __file__}, ["KAFKA_CERT_FILE", "PEM files"]),
    ],
)
def test_what_does_not_fit_together_for_kafka(
    env: dict[str, str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    complaint = _complaint(KafkaSettings, env, monkeypatch)
    assert all(word in complaint for word in words), complaint
    assert "hush" not in complaint


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"RABBITMQ_CA_FILE": "ca.pem"}, ["RABBITMQ_CA_FILE", "RABBITMQ_TLS=true"]),
        ({"RABBITMQ_TLS": "true", "RABBITMQ_CA_FILE": "none.pem"}, ["RABBITMQ_CA_FILE", "No such file"]),
        (
            {"RABBITMQ_TLS": "true", "RABBITMQ_KEY_PASSWORD": "x"},
            ["RABBITMQ_KEY_PASSWORD needs RABBITMQ_CERT_FILE"],
        ),
    ],
)
def test_what_does_not_fit_together_for_rabbitmq(
    env: dict[str, str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    complaint = _complaint(RabbitSettings, env, monkeypatch)
    assert all(word in complaint for word in words), complaint


def test_an_encrypted_key_is_never_asked_for_at_the_terminal(tmp_path: Path) -> None:
    certificate, key = write_client(trustme.CA(), tmp_path)
    _encrypt(key, PASSWORD)
    files: dict[str, Any] = {"security_protocol": "SSL", "cert_file": certificate, "key_file": key}
    with pytest.raises(ValidationError, match="KAFKA_KEY_PASSWORD"):
        KafkaSettings(**files)
    assert KafkaSettings(**files, key_password=SecretStr(PASSWORD)).tls_context is not None


def _encrypt(key: Path, password: str) -> None:
    from cryptography.hazmat.primitives import serialization as pem

    private = pem.load_pem_private_key(key.read_bytes(), None)
    sealed = pem.BestAvailableEncryption(password.encode())
    key.write_bytes(private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, sealed))
