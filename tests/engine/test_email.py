"""A mail from a notification to the mailbox, with the engine between."""

from collections.abc import AsyncIterator

import pytest

from service.audience.unsubscribing import LINK_PURPOSE, Unsubscribing
from tests.contract.rigs.email import EmailRig
from tests.engine.conftest import StartBench
from tests.engine.test_people import contacts, people, told
from tests.fakes.smtp import Fault
from tests.support.engines import LINKS, PUBLIC_URL
from tests.support.waiting import wait_until


@pytest.fixture
async def rig() -> AsyncIterator[EmailRig]:
    async with EmailRig() as rig:
        yield rig


async def test_a_mail_says_how_to_leave_its_category(start_bench: StartBench, rig: EmailRig) -> None:
    bench = await start_bench(rig.sender())
    await people(bench, anna={"contacts": contacts(("EMAIL", rig.address))})
    to = {"recipient": "anna"}
    await bench.until(await told(bench, title="News", body="b", to=to, category="news"), "sent")
    (mail,) = rig.server.mails
    url = mail.parsed["List-Unsubscribe"][1:-1]
    assert mail.parsed["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert url in mail.html
    assert url in mail.text
    link = Unsubscribing.from_link(
        LINKS.read(LINK_PURPOSE, url.removeprefix(f"{PUBLIC_URL}/{LINK_PURPOSE}/"))
    )
    assert (link.category, link.sender) == ("news", None)


async def test_what_nobody_can_leave_does_not_say_so(start_bench: StartBench, rig: EmailRig) -> None:
    bench = await start_bench(rig.sender())
    await people(bench, anna={"contacts": contacts(("EMAIL", rig.address))})
    await bench.until(await told(bench, title="Bill", body="b", to={"recipient": "anna"}), "sent")
    assert rig.server.mails[0].parsed["List-Unsubscribe"] is None


async def test_a_greylisted_mail_waits_and_others_go_on(start_bench: StartBench, rig: EmailRig) -> None:
    bench = await start_bench(rig.make(domain_rate=0))
    rig.server.fault(Fault("RCPT", "450 4.7.1 Greylisted"), times=20)
    bodies = [f"body {number}" for number in range(20)]
    greylisted = [
        await bench.accept(body, sender="EMAIL", to=f"user{number}@example.org")
        for number, body in enumerate(bodies)
    ]

    async def all_wait() -> bool:
        sql = "SELECT count(*) FROM delivery WHERE attempt = 1 AND due_at BETWEEN now() + '200s' AND now() + '400s'"
        return bool(await bench.database.pool.fetchval(sql) == len(greylisted))

    await wait_until(all_wait)
    await bench.until(await bench.accept("b", sender="EMAIL", to="bob@example.net"), "sent")
