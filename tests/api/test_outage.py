"""While PostgreSQL is away every call is answered 503 with Retry-After; afterwards everything works again."""

import tempfile
from pathlib import Path

from tests.api.conftest import problem_of
from tests.support.postgres import PostgresForTests
from tests.support.service import Service
from tests.support.waiting import wait_blocking

BODY = {"body": "x", "sender": "CONSOLE"}


def test_an_outage_is_said_and_survived(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="notifications-outage-") as folder:
        postgres = PostgresForTests(Path(folder))
        postgres.start()
        env = {"DATABASE_URL": postgres.url_of("migrated"), "DELIVERY_INTAKE_TIMEOUT_SECONDS": "1"}
        service = Service(tmp_path, env).start()
        try:
            assert service.call("POST", "/v1/notifications", BODY).status == 202
            postgres.server.stop()
            for method, path, body in (
                ("POST", "/v1/notifications", BODY),
                ("POST", "/v1/notifications/batch", {"items": [BODY]}),
                ("GET", "/v1/deliveries", None),
                ("POST", "/v1/senders/CONSOLE/pause", {"reason": "x"}),
                ("GET", "/v1/keys", None),
            ):
                answer = service.call(method, path, body)
                problem_of(answer, 503, "unavailable")
                assert int(answer.headers["retry-after"]) >= 1
            assert service.call("GET", "/health/live", key=None).status == 200
            ready = service.call("GET", "/health/ready", key=None)
            assert (ready.status, ready.json()["status"]) == (503, "down")
            postgres.server.start()
            wait_blocking(
                lambda: service.call("POST", "/v1/notifications", BODY).status == 202,
                message="accepted again",
            )
        finally:
            service.close()
            postgres.stop()
