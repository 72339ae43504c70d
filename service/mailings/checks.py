"""Whether a mailing can go out: what only the senders, topics and templates there are can tell."""

from service.audience.facts import topics_exist
from service.content.templates import check_params, load_current
from service.contract import FieldProblem, NotificationRequest
from service.db.database import Connection
from service.delivery.planning import Planner
from service.errors import MailingRefused
from service.mailings.drafts import MailingDraft
from service.mailings.windows import hours_for


async def usable_version(
    connection: Connection, planner: Planner, draft: MailingDraft, request: NotificationRequest
) -> int | None:
    """The id of the template's version, if it has a template. Raises `MailingRefused`."""
    problems = [*await _audience_problems(connection, draft)]
    if hours_for(planner, draft).never:
        text = f"leaves no time of the day beside the quiet hours {planner.defaults.quiet}; accepted: a wider one"
        problems.append(FieldProblem(field="window", problem=text, code="never_open"))
    if refusal := planner.unusable(request.chain):
        problems += refusal.problems
    version_id = None
    if request.template is not None:
        version = (await load_current(connection, [request.template])).get(request.template)
        if version is None:
            text = f"{request.template!r} is not a template in use"
            problems.append(FieldProblem(field="template", problem=text, code="unknown_template"))
        else:
            version_id = version.id
            problems += check_params(version, request.params)
    if problems:
        raise MailingRefused(problems)
    return version_id


async def _audience_problems(connection: Connection, draft: MailingDraft) -> list[FieldProblem]:
    audience = draft.audience
    if audience.kind == "topic" and not await topics_exist(connection, [audience.topic]):
        text = f"{audience.topic!r} is not a topic"
        return [FieldProblem(field="audience.topic", problem=text, code="unknown_topic")]
    if audience.kind == "uploaded" and not await connection.fetchval(
        "SELECT members IS NOT NULL FROM audience_list WHERE id = $1", audience.uploaded
    ):
        text = "there is no such list; upload one with PUT /v1/mailings/{id}/recipients"
        return [FieldProblem(field="audience.uploaded", problem=text, code="unknown_list")]
    return []
