"""What `APPRISE` does beyond the suite: URLs that requests bring, and what must never show."""

import io
import logging
import threading

import pytest

from service.sender_settings import AppriseSettings
from service.senders.apprise import AppriseSender
from service.senders.base import AddressError, Refused, Retry, Sent
from tests.contract.rigs.apprise import KEY, AppriseRig
from tests.contract.sender_suite import message
from tests.fakes.apprise import SECRET_PATH
from tests.fakes.provider import Fault

URL = "json://user:pass-word@203.0.113.7/a-path"


def sender(**values: object) -> AppriseSender:
    return AppriseSender(
        AppriseSettings.model_validate({"schemas": "json, slack", "address_key": KEY, **values})
    )


def test_a_url_of_a_request_is_sealed_where_it_is_kept() -> None:
    sealed = sender().check_address(URL)
    assert sealed.startswith("json:")
    assert not [secret for secret in ("user", "pass-word", "a-path", "203.0.113.7") if secret in sealed]
    assert sender().check_address(sealed) == sealed
    assert sender().check_address(URL) == sealed
    with pytest.raises(AddressError, match="not sealed with APPRISE_ADDRESS_KEY"):
        sender(address_key="another key, of more than 32 characters").check_address(sealed)


@pytest.mark.parametrize(
    "url", ["mailto://a:s3cret@b.c", "syslog://s3cret", "json://s3cret\n", "json://" + "s3cret" * 300]
)
def test_what_is_not_allowed_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(AddressError) as caught:
        sender().check_address(url)
    assert "s3cret" not in str(caught.value)


def test_a_schema_that_was_taken_off_the_list_is_refused_sealed_too() -> None:
    sealed = sender().check_address(URL)
    with pytest.raises(AddressError, match="APPRISE_SCHEMAS"):
        sender(schemas="slack").check_address(sealed)


def test_settings_tell_what_is_wrong_and_not_the_urls() -> None:
    settings = AppriseSettings.model_validate({"urls": "ops=slack://a/b/c?x=1\n desk=gotify://h/t"})
    assert {name: url.get_secret_value() for name, url in settings.urls.items()} == {
        "ops": "slack://a/b/c?x=1",
        "desk": "gotify://h/t",
    }
    assert "gotify" not in repr(settings)
    with pytest.raises(ValueError, match="part 2 is not as ops=slack") as caught:
        AppriseSettings.model_validate({"urls": "ops=slack://a s3cret"})
    assert "s3cret" not in str(caught.value)


async def test_requests_reach_private_places_only_where_that_is_allowed() -> None:
    async with AppriseRig() as rig:
        for allowed, outcome in ((False, Refused), (True, Sent)):
            apprise = AppriseSender(rig.settings(allow_private=allowed))
            await apprise.open()
            answer = await apprise.send(message(apprise.check_address(rig.service.url)))
            assert type(answer) is outcome
            await apprise.close()
        assert len(rig.service.messages) == 1


async def test_a_redirect_into_the_network_is_not_followed() -> None:
    async with AppriseRig() as rig, AppriseRig() as inside:
        apprise = AppriseSender(rig.settings(allow_private=True))
        await apprise.open()
        to = f"{inside.service.base_url}/{SECRET_PATH}"
        rig.service.fault(Fault(status=307, headers={"location": to}))
        answer = await apprise.send(message(apprise.check_address(rig.service.url)))
        assert isinstance(answer, Refused)
        assert inside.service.journal == []
        await apprise.close()


async def test_names_that_do_not_resolve_and_urls_nobody_understands() -> None:
    apprise = sender(urls="ops=json:// desk=nonsense://x")
    await apprise.open()
    for address, outcome in (
        (apprise.check_address("json://nowhere.invalid/x"), Retry),
        ("ops", Refused),
        ("desk", Refused),
    ):
        assert type(await apprise.send(message(address))) is outcome
    await apprise.close()


async def test_with_several_targets_a_failure_is_never_certain() -> None:
    async with AppriseRig() as rig:
        apprise = AppriseSender(rig.settings(urls=f"ops={rig.service.url}?to=a"))
        await apprise.open()
        rig.service.fault(Fault(status=500))
        assert isinstance(await apprise.send(message("ops")), Retry)
        await apprise.close()
    several = sender(urls="ops=slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#a/#b")
    await several.open()
    service = several._service("ops")
    assert len(service) == 2
    await several.close()


async def test_no_part_of_a_url_gets_into_the_logs() -> None:
    logged = io.StringIO()
    root, handler = logging.getLogger(), logging.StreamHandler(logged)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        async with AppriseRig() as rig:
            apprise = rig.sender()
            await apprise.open()
            logging.getLogger("service").info("it logs")
            rig.service.fault(Fault(status=500))
            assert isinstance(await apprise.send(message("ops")), Retry)
            assert isinstance(await apprise.send(message("ops")), Sent)
            await apprise.close()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "it logs" in logged.getvalue()
    assert SECRET_PATH not in logged.getvalue()


async def test_when_every_thread_is_stuck_a_message_was_certainly_not_sent() -> None:
    async with AppriseRig() as rig:
        apprise = AppriseSender(rig.settings(concurrency=1), timeout_seconds=0.2)
        await apprise.open()
        assert apprise._pool is not None
        stuck = threading.Event()
        apprise._pool.submit(stuck.wait)
        outcome = await apprise.send(message("ops"))
        assert isinstance(outcome, Retry)
        assert outcome.code == "busy"
        stuck.set()
        assert isinstance(await apprise.send(message("ops")), Sent)
        assert len(rig.service.messages) == 1
        await apprise.close()
