"""One running service for all tests of the API, and calls to it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.net import free_port
from tests.support.postgres import PostgresForTests
from tests.support.service import Answer, Service
from tests.support.waiting import wait_blocking

JWT_SECRET = "a-shared-secret-of-more-than-32-bytes"
VK_SECRET, VK_CONFIRMATION, MAX_SECRET = "vk-callback-secret", "a1b2c3d4", "max-webhook-secret"
BATCH_ITEMS = 50
BODY_MAX_BYTES = 2_000_000
Call = Callable[..., Answer]
Get = Callable[[str], Any]
Send = Callable[..., str]
Reach = Callable[[str, str], Any]


@pytest.fixture(scope="package")
def api_database(postgres: PostgresForTests) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="package")
def service(api_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """CONSOLE and WEBHOOK are on, TG is off; one quick retry; tokens are accepted."""
    running = Service(
        tmp_path_factory.mktemp("api"),
        {
            "DATABASE_URL": api_database,
            "WEBHOOK_SECRET": "whsec_ZmFrZS1yZWNlaXZlci1zZWNyZXQtb2YtMzItYnl0ZXM=",
            "WEBHOOK_ALLOW_PRIVATE": "true",
            "VK_CALLBACK_SECRET": VK_SECRET,
            "VK_CALLBACK_CONFIRMATION": VK_CONFIRMATION,
            "MAX_WEBHOOK_SECRET": MAX_SECRET,
            "MAX_BOT_NAME": "our_bot",
            "VK__NEWS__CALLBACK_SECRET": f"{VK_SECRET}-of-news",
            "MAX__NEWS__WEBHOOK_SECRET": f"{MAX_SECRET}-of-news",
            "MAX__QUIET__BOT_NAME": "quiet_bot",
            "WEBHOOK__AUDIT__SECRET": "whsec_YW5vdGhlci1zZWNyZXQtb2YtMzItYnl0ZXMtLS0tLS0=",
            "WEBHOOK__AUDIT__RATE": "50",
            "DELIVERY_RETRY_DELAYS_SECONDS": "0.05",
            "JWT_SECRET": JWT_SECRET,
            "JWT_ISSUER": "https://issuer.example",
            "JWT_AUDIENCE": "notifications",
            "LIMIT_BATCH_ITEMS": str(BATCH_ITEMS),
            "SERVER_BODY_MAX_BYTES": str(BODY_MAX_BYTES),
        },
    )
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture(scope="package")
def nowhere() -> str:
    """A web address at which nobody listens: what is sent there fails for good after its retry."""
    return f"http://127.0.0.1:{free_port()}/hook"


@pytest.fixture
def call(service: Service) -> Call:
    return service.call


@pytest.fixture
def get(service: Service) -> Get:
    """GET that has to succeed; the JSON."""

    def ask(path: str) -> Any:
        answer = service.call("GET", path)
        assert answer.status == 200, answer.body
        return answer.json()

    return ask


@pytest.fixture
def send(service: Service) -> Send:
    """Send a notification to CONSOLE unless told otherwise; its id."""

    def post(**fields: Any) -> str:
        answer = service.call("POST", "/v1/notifications", {"body": "hello", "sender": "CONSOLE", **fields})
        assert answer.status == 202, answer.body
        return str(answer.json()["id"])

    return post


@pytest.fixture
def reach(get: Get) -> Reach:
    """Wait until a notification has a status; the notification."""

    def wait(notification_id: str, status: str) -> Any:
        def current() -> Any:
            found = get(f"/v1/notifications/{notification_id}")
            return found if found["status"] == status else None

        return wait_blocking(current, message=f"{notification_id} is {status}")

    return wait


def problem_of(answer: Answer, status: int, code: str) -> Any:
    """The problem document of a failed call, after checking its form."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"].endswith(code)
    assert document["title"]
    assert document["detail"]
    return document
