"""The titles of errors in the caller's language."""

from tests.api.conftest import Call, problem_of


def test_a_title_is_in_the_language_asked_for(call: Call) -> None:
    answer = call("GET", "/v1/nowhere", headers={"Accept-Language": "ru-RU, en;q=0.5"})
    problem = problem_of(answer, 404, "not_found")
    assert problem["title"] == "Такого объекта нет"
    assert problem["detail"] == "nothing is at /v1/nowhere"
    assert answer.headers["content-language"] == "ru"
    assert answer.headers["vary"] == "Accept-Language"


def test_the_door_speaks_it_too(call: Call) -> None:
    answer = call("GET", "/v1/keys", key=None, headers={"Accept-Language": "ru"})
    assert problem_of(answer, 401, "unauthenticated")["title"] == "Нет действующего ключа API или токена"


def test_english_is_the_default(call: Call) -> None:
    answer = call("GET", "/v1/nowhere", headers={"Accept-Language": "tlh"})
    assert problem_of(answer, 404, "not_found")["title"] == "There is no such thing"
    assert answer.headers["content-language"] == "en"
