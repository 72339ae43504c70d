"""Baseline B: the usual choice, Celery prefork whose worker calls Apprise.

`python -m tests.benchmarks.baselines.celery_apprise FIRST COUNT` publishes messages for it.
"""

import os
import sys
from functools import cache

import apprise
from apprise.plugins.telegram import NotifyTelegram
from celery import Celery

from tests.benchmarks import messages

NotifyTelegram.notify_url = f"{os.environ['TG_API_URL']}/bot"

app = Celery("baseline", broker=os.environ["AMQP_URL"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue=os.environ["QUEUE"],
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
)


@cache
def channel(to: str) -> apprise.Apprise:
    made = apprise.Apprise()
    assert made.add(f"tgram://{os.environ['TG_BOT_TOKEN']}/{to}/")
    return made


@app.task(name="send")
def send(title: str, body: str, sender: str, to: str) -> None:
    if not channel(to).notify(body=body, title=title):
        raise RuntimeError("not sent")


if __name__ == "__main__":
    first, count = map(int, sys.argv[1:])
    for number in range(first, first + count):
        send.delay(**messages.request(number))
