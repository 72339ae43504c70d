"""One template for ten people: each text against what was written by hand."""

from service.content.drafts import TemplateDraft
from service.content.rendering import Renderer
from service.content.templates import check_params, choose
from service.settings import TemplateSettings
from tests.support.order_paid import PEOPLE, TEMPLATE
from tests.support.rendering import RenderJob, render_many


async def test_ten_people_get_their_own_words() -> None:
    version = TemplateDraft.model_validate(TEMPLATE).version("order.paid")
    jobs = [
        RenderJob(version, choose(version, who.locale, who.sender), who.params, who.locale, who.zone)
        for who in PEOPLE
    ]
    assert all(check_params(version, who.params) == [] for who in PEOPLE)
    renderer = Renderer(TemplateSettings())
    await renderer.start()
    try:
        results = await render_many(renderer, jobs)
    finally:
        await renderer.close()
    texts = [(getattr(result, "title", result), getattr(result, "body", "")) for result in results]
    assert texts == [(who.title, who.body) for who in PEOPLE]
