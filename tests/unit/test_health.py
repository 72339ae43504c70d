"""Readiness from its parts."""

from service.health import Health, PartHealth, Status


async def _overall(**parts: tuple[PartHealth | Exception, bool]) -> Status:
    health = Health()
    for name, (answer, required) in parts.items():

        async def probe(answer: PartHealth | Exception = answer) -> PartHealth:
            if isinstance(answer, Exception):
                raise answer
            return answer

        health.register(name, probe, required=required)
    return health.overall(await health.check())


async def test_all_parts_work() -> None:
    assert await _overall(database=(PartHealth("ok"), True), rabbit=(PartHealth("ok"), False)) == "ok"
    assert await _overall() == "ok"


async def test_a_part_that_others_can_do_without_only_degrades() -> None:
    down = (PartHealth("down", "no route"), False)
    assert await _overall(database=(PartHealth("ok"), True), rabbit=down) == "degraded"
    assert await _overall(database=(PartHealth("ok"), True), rabbit=(OSError(), False)) == "degraded"


async def test_a_required_part_that_is_down_is_the_end() -> None:
    assert await _overall(database=(PartHealth("down"), True)) == "down"
    assert await _overall(database=(OSError(), True), rabbit=(PartHealth("ok"), False)) == "down"


async def test_a_probe_that_raises_is_down_without_its_text() -> None:
    health = Health()

    async def probe() -> PartHealth:
        raise OSError("postgresql://user:password@host")

    health.register("database", probe, required=True)
    assert await health.check() == {"database": PartHealth("down", "OSError")}
