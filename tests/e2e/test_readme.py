"""What the README tells a newcomer to paste does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import StartService
from tests.support.brokers import KafkaMock, RabbitNode
from tests.support.net import free_port
from tests.support.service import API_KEY, ROOT, Service
from tests.support.waiting import wait_blocking

README = (ROOT / "README.md").read_text()


def _block(section: str, language: str) -> str:
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return max(blocks, key=len)


def _connected(service: Service, part: str) -> bool:
    return bool(service.call("GET", "/health/ready").json()["parts"][part]["status"] == "ok")


def _run(program: str, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(program)
    subprocess.run([sys.executable, str(script)], check=True, timeout=60)


def _is_told(service: Service) -> None:
    wait_blocking(lambda: "│ disk full" in service.logs(), message="the message on the console")


def test_rabbitmq(start_service: StartService, rabbit_node: RabbitNode, tmp_path: Path) -> None:
    service = start_service(rabbit_node.env)
    wait_blocking(lambda: _connected(service, "rabbit"), 30)
    _run(_block("RabbitMQ", "python").replace("amqp://guest:guest@127.0.0.1/", rabbit_node.url), tmp_path)
    _is_told(service)


def test_kafka(start_service: StartService, kafka_mock: KafkaMock, tmp_path: Path) -> None:
    service = start_service(kafka_mock.env)
    wait_blocking(lambda: _connected(service, "kafka"), 30)
    _run(_block("Kafka", "python").replace("127.0.0.1:9092", kafka_mock.bootstrap), tmp_path)
    _is_told(service)


def _paste(service: Service, section: str) -> str:
    """Run the section's longest block of commands. Returns what they printed, without spaces."""
    tour = _block(section, "sh").replace("http://127.0.0.1:8080", service.url)
    tour = tour.replace("export API_KEY=…   # the printed one\n", "")
    done = subprocess.run(
        ["sh", "-eu", "-c", tour],
        env={**os.environ, "API_KEY": API_KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.replace(" ", "")


def test_people_and_words(start_service: StartService) -> None:
    port = free_port()
    public_url = f"http://127.0.0.1:{port}"
    service = start_service({"SERVER_PORT": str(port), "SERVER_PUBLIC_URL": public_url})
    printed = _paste(service, "People and words").splitlines()
    assert "<h1>Выотписаны</h1>" in printed
    assert '"suppressed":"category_muted"' in printed[-1]
    wait_blocking(lambda: "│ We are open on Sunday" in service.logs(), message="the news on the console")
    assert "│ Заказ 17 оплачен\n│ \n│ Скоро привезём 5 товаров." in service.logs()


def test_the_tour_of_rest(start_service: StartService) -> None:
    service = start_service()
    # The tour asks for the first delivery: there is one.
    service.call("POST", "/v1/notifications", {"body": "first", "sender": "CONSOLE"})
    assert '"cancelled":1' in _paste(service, "REST")
    wait_blocking(lambda: "│ was paid" in service.logs(), message="the order on the console")
