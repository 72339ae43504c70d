"""A Kafka-protocol broker for tests: librdkafka's mock cluster, run as a process of its own.

Prints the bootstrap address, then obeys lines on standard input: `down`, `up`, `topic NAME PARTITIONS`;
each is answered with `ok` or a line about the error. Ends when standard input is closed.
"""

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace

import confluent_kafka

BROKER = 1
PRODUCER = 0
ERROR_BYTES = 512


def load() -> ctypes.CDLL:
    """The librdkafka inside the confluent_kafka wheel: its mock's controls have no Python names."""
    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    (library,) = folder.glob("librdkafka*")
    rd = ctypes.CDLL(str(library))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_set", number, [pointer, text, text, text, ctypes.c_size_t]),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_handle_mock_cluster", pointer, [pointer]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_up", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
    ):
        function = getattr(rd, name)
        function.restype, function.argtypes = result, arguments
    return rd


def start(rd: ctypes.CDLL) -> SimpleNamespace:
    """A client whose only use is the mock cluster it carries."""
    error = ctypes.create_string_buffer(ERROR_BYTES)
    settings = rd.rd_kafka_conf_new()
    for name, value in ((b"test.mock.num.brokers", b"1"), (b"log_level", b"0")):
        if rd.rd_kafka_conf_set(settings, name, value, error, ERROR_BYTES):
            sys.exit(error.value.decode())
    client = rd.rd_kafka_new(PRODUCER, settings, error, ERROR_BYTES)
    if not client:
        sys.exit(error.value.decode())
    cluster = rd.rd_kafka_handle_mock_cluster(client)
    rd.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
    return SimpleNamespace(client=client, cluster=cluster)


def obey(rd: ctypes.CDLL, cluster: int, line: str) -> int:
    match line.split():
        case ["down"]:
            return int(rd.rd_kafka_mock_broker_set_down(cluster, BROKER))
        case ["up"]:
            return int(rd.rd_kafka_mock_broker_set_up(cluster, BROKER))
        case ["topic", name, partitions]:
            return int(rd.rd_kafka_mock_topic_create(cluster, name.encode(), int(partitions), 1))
    return -1


def main() -> None:
    rd = load()
    mock = start(rd)
    print(rd.rd_kafka_mock_cluster_bootstraps(mock.cluster).decode(), flush=True)
    for line in sys.stdin:
        code = obey(rd, mock.cluster, line)
        print("ok" if code == 0 else f"error {code}", flush=True)


if __name__ == "__main__":
    main()
