"""`/v1/templates`: saving, checking, previewing, going back."""

from itertools import count
from typing import Any

import pytest

from tests.api.conftest import Call, Get, problem_of

PAID: dict[str, Any] = {
    "default_locale": "en",
    "params": [
        {"name": "order", "type": "integer", "example": 17},
        {"name": "items", "type": "integer", "example": 3},
        {"name": "note", "type": "string", "required": False, "example": "soon"},
    ],
    "variants": [
        {
            "locale": "en",
            "title": "Order {{ order }}",
            "body": "{{ items }} {{ items|plural(one='item', other='items') }}{% if note %}, {{ note }}{% endif %}",
        },
        {
            "locale": "ru",
            "title": "Заказ {{ order }}",
            "body": "{{ items }} {{ items|plural(one='товар', few='товара', many='товаров') }}",
        },
        {
            "locale": "ru",
            "sender": "WEBHOOK",
            "body": "<b>{{ order }}</b> {{ note|default('') }}",
            "format": "html",
        },
    ],
}
_numbers = count(1)


@pytest.fixture
def key() -> str:
    return f"order.paid-{next(_numbers)}"


@pytest.fixture
def saved(call: Call, key: str) -> str:
    answer = call("PUT", f"/v1/templates/{key}", PAID)
    assert answer.status == 200, answer.body
    assert answer.json() | {"findings": []} == {
        "number": 1,
        "changed": True,
        "dry_run": False,
        "findings": [],
    }
    return key


def variant(body: str, **fields: Any) -> dict[str, Any]:
    return {**PAID, "params": [], "variants": [{"locale": "en", "body": body, **fields}]}


def test_versions_are_numbered_and_the_newest_is_current(call: Call, get: Get, saved: str) -> None:
    changed = {**PAID, "default_locale": "ru"}
    assert call("PUT", f"/v1/templates/{saved}", changed).json()["number"] == 2
    assert get(f"/v1/templates/{saved}")["number"] == 2
    assert get(f"/v1/templates/{saved}")["author"] == "key:ADMIN_API_KEY:admin"
    assert get(f"/v1/templates/{saved}/versions/1")["default_locale"] == "en"
    listed = get(f"/v1/templates/{saved}/versions?limit=1")
    assert [item["number"] for item in listed["items"]] == [2]
    listed = get(f"/v1/templates/{saved}/versions?limit=1&cursor={listed['next']}")
    assert ([item["number"] for item in listed["items"]], listed["next"]) == ([1], None)


def test_the_same_content_makes_no_version(call: Call, get: Get, saved: str) -> None:
    answer = call("PUT", f"/v1/templates/{saved}", PAID).json()
    assert (answer["number"], answer["changed"]) == (1, False)
    view = get(f"/v1/templates/{saved}")
    content = {name: view[name] for name in ("default_locale", "params", "variants")}
    assert call("PUT", f"/v1/templates/{saved}", content).json()["changed"] is False


def test_going_back_is_a_new_version(call: Call, get: Get, saved: str) -> None:
    call("PUT", f"/v1/templates/{saved}", variant("other"))
    answer = call("POST", f"/v1/templates/{saved}/versions/1/restore")
    assert (answer.status, answer.json()["number"]) == (200, 3)
    assert get(f"/v1/templates/{saved}")["variants"][0]["title"] == "Order {{ order }}"


def test_a_dry_run_saves_nothing(call: Call, key: str) -> None:
    answer = call("PUT", f"/v1/templates/{key}", {**PAID, "dry_run": True})
    assert answer.json() | {"findings": []} == {
        "number": None,
        "changed": True,
        "dry_run": True,
        "findings": [],
    }
    problem_of(call("GET", f"/v1/templates/{key}"), 404, "not_found")


def test_an_archived_template_is_out_of_use_until_it_is_saved_again(call: Call, get: Get, saved: str) -> None:
    assert call("DELETE", f"/v1/templates/{saved}").status == 204
    problem_of(call("GET", f"/v1/templates/{saved}"), 404, "not_found")
    problem_of(call("DELETE", f"/v1/templates/{saved}"), 404, "not_found")
    assert get(f"/v1/templates/{saved}/versions/1")["number"] == 1
    assert saved in [item["key"] for item in get("/v1/templates?state=archived&limit=500")["items"]]
    assert saved not in [item["key"] for item in get("/v1/templates?limit=500")["items"]]
    assert call("PUT", f"/v1/templates/{saved}", PAID).json()["number"] == 2
    assert get(f"/v1/templates/{saved}")["number"] == 2


def test_writes_leave_a_trail(call: Call, get: Get, saved: str) -> None:
    entry = next(item for item in get("/v1/audit?limit=500")["items"] if item["target"] == saved)
    assert (entry["action"], entry["outcome"], entry["details"]["number"]) == ("template.save", "done", 1)


@pytest.mark.parametrize(
    ("draft", "code", "field", "words"),
    [
        (variant("{{ oops"), "syntax", "variants.en.body", "line 1"),
        (variant("a\n{% for %}"), "syntax", "variants.en.body", "line 2"),
        (variant("{{ a|upcase }}"), "syntax", "variants.en.body", "upcase"),
        (variant("{{ order }}"), "undeclared", "variants.en", "order"),
        (variant("x", locale="fr"), "no_default", "default_locale", "en"),
        (variant("x", sender="TG"), "no_default", "default_locale", "en"),
        (variant("x", sender="PIGEON"), "unknown_sender", "variants.en.PIGEON", "CONSOLE"),
        (variant("{{ 2|plural(one='x') }}"), "missing_plural", "variants.en.body", "other"),
        (variant("{% include 'x' %}"), "syntax", "variants.en.body", "include"),
        (variant("{{ ''.__class__ }}"), "forbidden", "variants.en.body", "__class__"),
        (variant("{{ 1/0 }}"), "failed", "variants.en.body", "zero"),
        (variant("{% if false %}x{% endif %}"), "blank", "variants.en.body", "blank"),
        (
            {**PAID, "params": [*PAID["params"], {"name": "order", "type": "date"}]},
            "repeated",
            "params.order",
            "twice",
        ),
        (
            {**PAID, "params": [{"name": "order", "type": "date", "example": 5}, *PAID["params"][1:]]},
            "wrong_example",
            "params.order",
            "2030-01-31",
        ),
    ],
)
def test_errors_keep_a_version_from_being_saved(
    call: Call, key: str, draft: dict[str, Any], code: str, field: str, words: str
) -> None:
    problem = problem_of(call("PUT", f"/v1/templates/{key}", draft), 409, "template_refused")
    found = next(item for item in problem["problems"] if item["code"] == code)
    assert found["field"] == field
    assert words in found["problem"]
    problem_of(call("GET", f"/v1/templates/{key}"), 404, "not_found")


@pytest.mark.parametrize(
    ("draft", "code", "where"),
    [
        ({**PAID, "params": [*PAID["params"], {"name": "spare", "type": "list"}]}, "unused", "params.spare"),
        (
            {**PAID, "params": [*PAID["params"], {"name": "spare", "type": "list"}]},
            "no_example",
            "params.spare",
        ),
        (
            {**PAID, "variants": [*PAID["variants"], {"locale": "de", "sender": "TG", "body": "x"}]},
            "missing_locale",
            "variants.de",
        ),
        (variant("x" * 5000), "too_long", "variants.en.body"),
        (variant("{{ 2|plural(other='x') }}"), "missing_plural", "variants.en.body"),
    ],
)
def test_warnings_are_told(call: Call, key: str, draft: dict[str, Any], code: str, where: str) -> None:
    answer = call("PUT", f"/v1/templates/{key}", draft)
    assert answer.status == 200, answer.body
    assert (code, where) in [(item["code"], item["where"]) for item in answer.json()["findings"]]


def test_a_sound_template_has_no_findings(call: Call, saved: str) -> None:
    assert call("POST", f"/v1/templates/{saved}/check").json() == {"findings": []}
    other = call("POST", f"/v1/templates/{saved}/check", variant("{{ x }}")).json()["findings"]
    assert [item["code"] for item in other] == ["undeclared"]


@pytest.mark.parametrize(
    ("items", "words"),
    [(1, "1 товар"), (2, "2 товара"), (5, "5 товаров"), (11, "11 товаров"), (21, "21 товар")],
)
def test_a_preview_is_what_the_person_would_get(call: Call, saved: str, items: int, words: str) -> None:
    asked = {"sender": "TG", "locale": "ru-RU", "params": {"order": 17, "items": items}}
    shown = call("POST", f"/v1/templates/{saved}/preview", asked).json()
    assert (shown["locale"], shown["title"], shown["body"]) == ("ru", "Заказ 17", words)
    assert shown["texts"] == [f"<b>Заказ 17</b>\n{words}"]


def test_a_preview_escapes_params_and_knows_the_senders_own_variant(call: Call, saved: str) -> None:
    asked = {"sender": "WEBHOOK", "locale": "ru", "params": {"order": 1, "items": 1, "note": "<i>&"}}
    shown = call("POST", f"/v1/templates/{saved}/preview", asked).json()
    assert shown["body"] == "<b>1</b> &lt;i&gt;&amp;"
    assert shown["format"] == "html"


def test_a_preview_without_params_uses_the_examples(call: Call, saved: str) -> None:
    shown = call("POST", f"/v1/templates/{saved}/preview", {"sender": "CONSOLE", "locale": "ar"}).json()
    assert (shown["locale"], shown["body"]) == ("en", "3 items, soon")


@pytest.mark.parametrize(
    ("asked", "field", "code"),
    [
        ({"params": {"items": 1}}, "params.order", "missing"),
        ({"params": {"order": "17", "items": 1}}, "params.order", "not_integer"),
        ({"params": {"order": 17, "items": 1, "ordre": 1}}, "params.ordre", "undeclared"),
        ({"sender": "PIGEON"}, "sender", "unknown_sender"),
        ({"zone": "Mars/Olympus"}, "zone", "unknown_zone"),
        ({"draft": variant("{{ [1]|number }}")}, "body", "failed"),
    ],
)
def test_what_cannot_be_previewed_says_why(
    call: Call, saved: str, asked: dict[str, Any], field: str, code: str
) -> None:
    answer = call("POST", f"/v1/templates/{saved}/preview", {"sender": "TG", "locale": "en", **asked})
    problem = problem_of(answer, 409, "not_rendered")
    assert (field, code) in [(item["field"], item["code"]) for item in problem["problems"]]


def test_a_template_that_runs_for_ever_holds_up_nobody(call: Call, saved: str) -> None:
    endless = variant("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}x")
    answer = call("POST", f"/v1/templates/{saved}/check", endless).json()["findings"]
    assert [item["code"] for item in answer] == ["overrun"]
    assert call("POST", f"/v1/templates/{saved}/check").json() == {"findings": []}


def test_reading_needs_read_and_writing_manage(call: Call, saved: str) -> None:
    keys = {
        scope: call("POST", "/v1/keys", {"name": scope, "scopes": [scope]}).json()["key"]
        for scope in ("read", "manage")
    }
    assert call("GET", f"/v1/templates/{saved}", key=keys["read"]).status == 200
    problem_of(call("GET", f"/v1/templates/{saved}", key=keys["manage"]), 403, "missing_scope")
    problem_of(call("PUT", f"/v1/templates/{saved}", PAID, key=keys["read"]), 403, "missing_scope")
    problem_of(call("DELETE", f"/v1/templates/{saved}", key=keys["read"]), 403, "missing_scope")
