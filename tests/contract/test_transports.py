"""Every transport against the contract, and what only one of them can meet with."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import pytest

from service.transports.asyncapi import asyncapi_yaml
from tests.contract.rigs.kafka import KafkaRig
from tests.contract.rigs.rabbit import RabbitRig
from tests.contract.transport_suite import TransportSuite, message, running
from tests.support.brokers import KafkaMock, RabbitNode
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


class TestRabbit(TransportSuite):
    @pytest.fixture
    async def rig(self, rabbit_node: RabbitNode) -> AsyncIterator[RabbitRig]:
        async with RabbitRig(rabbit_node) as rig:
            yield rig

    async def test_a_message_id_said_twice_is_one_notification(
        self, rig: RabbitRig, database_url: str
    ) -> None:
        async with running(rig, database_url) as service:
            await service.connected()
            async with await rig.connect() as connection, connection.channel() as channel:
                for body in ("same", "same", "last"):
                    sent = aio_pika.Message(message(body), message_id=f"id of {body}")
                    await channel.default_exchange.publish(sent, rig.queue)
            await service.accepted(2)

    async def test_a_classic_queue_is_consumed_as_it_is(self, rig: RabbitRig, database_url: str) -> None:
        async with await rig.connect() as connection, connection.channel() as channel:
            await channel.declare_queue(rig.queue, durable=True)
        async with running(rig, database_url) as service:
            await service.connected()
            assert "exists in another form" in service.transport.detail
            await rig.publish(message("through the old queue"))
            await service.accepted(1)
        assert await rig.untaken() == 0

    async def test_a_deleted_queue_is_made_again(self, rig: RabbitRig, database_url: str) -> None:
        async with running(rig, database_url) as service:
            await service.connected()
            async with await rig.connect() as connection, connection.channel() as channel:
                await channel.queue_delete(rig.queue)
            await wait_until(lambda: not service.transport.ready, 30, "the lost consumer is noticed")
            await service.connected()
            await rig.publish(message("after"))
            await service.accepted(1)

    async def test_wrong_credentials_are_said_and_not_shown(self, rig: RabbitRig, database_url: str) -> None:
        rig.password = "hunter2"
        async with running(rig, database_url) as service:
            await wait_until(lambda: "ACCESS_REFUSED" in service.transport.detail, 30, "the reason")
            assert "hunter2" not in service.transport.detail
            assert not service.transport.ready


class TestKafka(TransportSuite):
    @pytest.fixture
    async def rig(self, kafka_mock: KafkaMock) -> AsyncIterator[KafkaRig]:
        async with KafkaRig(kafka_mock) as rig:
            yield rig


def test_the_committed_asyncapi_document_is_fresh() -> None:
    assert (ROOT / "asyncapi.yaml").read_text() == asyncapi_yaml(), "run `make docs`"


def test_the_asyncapi_document_is_the_same_in_every_process() -> None:
    program = "from service.transports.asyncapi import asyncapi_yaml; print(asyncapi_yaml(), end='')"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "RABBITMQ_HOST": "elsewhere", "RABBITMQ_QUEUE_NAME": "other"},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {asyncapi_yaml().encode()}
