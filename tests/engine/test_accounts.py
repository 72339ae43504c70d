"""Accounts of one sender work side by side: each is called, paced, halted and counted for itself."""

import pytest

from service.senders import build_senders
from service.senders.base import Capabilities, Gone, Halted
from service.settings import Settings
from tests.contract.sender_suite import message
from tests.engine.conftest import ScriptedSender, StartBench
from tests.engine.test_people import contacts, people, told
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.support.waiting import wait_until

SHARED = Capabilities(shared_addresses=True)


async def test_a_halted_account_stops_alone_and_names_its_own_setting(start_bench: StartBench) -> None:
    plain, alerts = ScriptedSender("TG"), ScriptedSender("TG:alerts")
    alerts.answer("a", Halted(reason="the provider does not know TG_BOT_TOKEN"))
    bench = await start_bench(plain, alerts)
    waiting = await bench.accept("a", sender="TG:alerts")
    await wait_until(lambda: not bench.engine.states.works("TG:alerts"))
    assert bench.engine.states.all()["TG:alerts"].reason == "the provider does not know TG__ALERTS__BOT_TOKEN"
    await bench.until(await bench.accept("b"), "sent")
    await bench.until(waiting, "queued")
    assert (plain.bodies, alerts.bodies) == (["b"], ["a"])
    assert await bench.engine.operations.resume("TG:alerts")
    await bench.until(waiting, "sent")


async def test_a_dead_address_is_dead_for_every_account_that_shares_it(start_bench: StartBench) -> None:
    mail, news = (
        ScriptedSender("EMAIL", capabilities=SHARED),
        ScriptedSender("EMAIL:news", capabilities=SHARED),
    )
    bench = await start_bench(mail, news)
    await people(bench, anna={"contacts": contacts(("EMAIL", "a@b.c"))})
    news.answer("a", Gone(reason="no such mailbox"))
    await bench.until(await told(bench, body="a", sender="EMAIL:news", to={"recipient": "anna"}), "failed")
    assert not await bench.database.pool.fetchval("SELECT active FROM contact WHERE address = 'a@b.c'")


async def test_a_person_who_blocked_one_bot_is_reached_by_the_other(start_bench: StartBench) -> None:
    plain, alerts = ScriptedSender("TG"), ScriptedSender("TG:alerts")
    bench = await start_bench(plain, alerts)
    await people(bench, anna={"contacts": contacts(("TG:alerts", "5"), ("TG", "5"))})
    alerts.answer("a", Gone(reason="bot was blocked by the user"))
    await bench.until(await told(bench, body="a", to={"recipient": "anna"}), "failed", "sent")
    rows = await bench.database.pool.fetch("SELECT sender, active FROM contact ORDER BY sender")
    assert [(row["sender"], row["active"]) for row in rows] == [("TG", True), ("TG:alerts", False)]


async def test_two_bots_call_with_their_own_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    other_token = "987654321:the-token-of-another-bot"
    async with FakeTelegram() as one, FakeTelegram(token=other_token) as two:
        monkeypatch.setenv("TG_BOT_TOKEN", TOKEN)
        monkeypatch.setenv("TG_API_URL", one.url)
        monkeypatch.setenv("TG__ALERTS__BOT_TOKEN", other_token)
        monkeypatch.setenv("TG__ALERTS__API_URL", two.url)
        monkeypatch.setenv("TG__WRONG__BOT_TOKEN", TOKEN)
        monkeypatch.setenv("TG__WRONG__API_URL", two.url)
        senders = build_senders(Settings())
        for name, sender in senders.items():
            if name.startswith("TG"):
                await sender.open()
                outcome = await sender.send(message("5", body=name))
                assert isinstance(outcome, Halted) == (name == "TG:wrong")
                await sender.close()
        assert [text.split()[-1] for text in (*one.texts(), *two.texts())] == ["TG", "TG:alerts"]
