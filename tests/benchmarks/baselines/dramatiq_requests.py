"""Baseline C2: dramatiq with requests, the fastest of the task queues that were tried.

`python -m tests.benchmarks.baselines.dramatiq_requests FIRST COUNT` publishes messages for it.
"""

import os
import sys
import threading

import dramatiq
import requests
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from tests.benchmarks import messages

dramatiq.set_broker(RabbitmqBroker(url=os.environ["AMQP_URL"], confirm_delivery=True))
URL = f"{os.environ['TG_API_URL']}/bot{os.environ['TG_BOT_TOKEN']}/sendMessage"
local = threading.local()


@dramatiq.actor(queue_name=os.environ["QUEUE"])
def send(title: str, body: str, sender: str, to: str) -> None:
    if not hasattr(local, "session"):
        local.session = requests.Session()
    answer = local.session.post(URL, json={"chat_id": to, "text": f"{title}\n{body}"}, timeout=20)
    answer.raise_for_status()


if __name__ == "__main__":
    first, count = map(int, sys.argv[1:])
    for number in range(first, first + count):
        send.send(**messages.request(number))
