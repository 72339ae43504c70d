"""The contract as producers meet it: what is taken, and what is said of everything else."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract import (
    DEFAULT_BOUNDS,
    Bounds,
    ContractError,
    FieldProblem,
    NotificationRequest,
    Priority,
    parse_batch,
    parse_item,
    parse_request,
)

SEED = {"title": "Backup failed", "body": "disk full", "sender": "TG"}


def problems(changes: dict[str, Any], bounds: Bounds = DEFAULT_BOUNDS) -> dict[str, FieldProblem]:
    """What is said of the seed's message with these changes, by field."""
    with pytest.raises(ContractError) as caught:
        parse_request(json.dumps({**SEED, **changes}), bounds)
    return {problem.field: problem for problem in caught.value.problems}


def test_the_seeds_three_fields_are_a_valid_request() -> None:
    request = parse_request(json.dumps(SEED))
    assert (request.title, request.body, request.chain) == ("Backup failed", "disk full", ("TG",))
    assert request.priority is Priority.NORMAL
    assert request.format == "plain"


def test_every_field_is_read() -> None:
    request = parse_request(
        json.dumps(
            {
                **SEED,
                "id": "order-17",
                "sender": ["TG", "WEBHOOK"],
                "to": {"addresses": {"TG": "1"}},
                "format": "markdown",
                "priority": "urgent",
                "send_at": "2030-01-01T15:00:00.5+03:00",
                "expires_at": "2030-01-02T00:00:00Z",
                "buttons": [{"text": "Open", "url": "https://example.com"}],
                "attachments": [{"kind": "photo", "url": "https://example.com/a.png"}],
                "category": "orders",
                "on_unknown": "hold",
                "metadata": {"order": 17, "deep": [{"x": None}]},
            }
        )
    )
    assert request.chain == ("TG", "WEBHOOK")
    assert request.send_at == datetime(2030, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)
    assert request.metadata == {"order": 17, "deep": [{"x": None}]}


@pytest.mark.parametrize("raw", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes_is_read(raw: Any) -> None:
    assert parse_request(raw(json.dumps(SEED).encode())).sender == "TG"


def test_an_unknown_field_is_named_with_those_that_exist() -> None:
    problem = problems({"bdy": "x"})["bdy"]
    assert problem.code == "extra_forbidden"
    assert "accepted: title, body, sender" in problem.problem
    assert problems({"buttons": [{"text": "a", "url": "https://a", "colour": "red"}]})[
        "buttons.0.colour"
    ].problem.endswith("accepted: text, url")
    assert problems({"to": {"adresses": {}}})["to.adresses"].problem.endswith(
        "accepted: addresses, recipient, topic"
    )


@pytest.mark.parametrize("body", ["", " ", "\n\t", "\u200b\ufeff\u00a0"])
def test_an_empty_body_is_refused(body: str) -> None:
    assert "accepted: text with at least one visible character" in problems({"body": body})["body"].problem


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ContractError) as caught:
        parse_request('{"title": "x"}')
    assert [(p.field, p.code) for p in caught.value.problems] == [("body", "missing"), ("sender", "missing")]
    assert all("is required; accepted: " in p.problem for p in caught.value.problems)


def test_lengths_are_those_of_the_settings() -> None:
    bounds = Bounds(title_chars=5, body_chars=5, metadata_bytes=10, buttons=0, attachments=0)
    assert (
        problems({"title": "x" * 6, "body": "b"}, bounds)["title"].problem
        == "has 6 characters; accepted: at most 5"
    )
    assert problems({"title": "", "body": "😀" * 6}, bounds)["body"].problem.endswith("at most 5")
    small = {"title": "", "body": "b"}
    assert (
        "accepted: at most 10" in problems({**small, "metadata": {"k": "v" * 9}}, bounds)["metadata"].problem
    )
    button, photo = {"text": "a", "url": "https://a"}, {"kind": "photo", "url": "https://a"}
    assert "accepted: at most 0" in problems({**small, "buttons": [button]}, bounds)["buttons"].problem
    assert "accepted: at most 0" in problems({**small, "attachments": [photo]}, bounds)["attachments"].problem


def test_an_over_long_id_is_refused_and_shown_short() -> None:
    problem = problems({"id": "x" * 100_000})["id"]
    assert "accepted: at most 128" in problem.problem
    assert len(problem.problem) < 200


@pytest.mark.parametrize(
    "value", [17, "17", "1700000000", "2030-01-01", "2030-01-01T12:00:00", "2030-01-01 12:00:00Z", "2030-02-30T00:00:00Z",
              "2030-01-01T24:00:00Z", "2030-01-01T12:00:00+25:00", "0001-01-01T00:00:00+23:00", "soon", True, {}]
)  # fmt: skip
@pytest.mark.parametrize("field", ["send_at", "expires_at"])
def test_a_date_that_is_no_rfc_3339_with_offset_is_refused(field: str, value: object) -> None:
    problem = problems({field: value})[field]
    assert "accepted: RFC 3339 with an offset, as 2030-01-01T12:00:00Z" in problem.problem


@pytest.mark.parametrize(
    ("sender", "field"),
    [
        (5, "sender"),
        ("", "sender"),
        ([], "sender"),
        ("T\nG", "sender"),
        ({}, "sender"),
        (["TG", 5], "sender.1"),
        (["S"] * 9, "sender"),
    ],
)
def test_a_wrong_sender_is_one_problem_in_plain_words(sender: object, field: str) -> None:
    found = problems({"sender": sender})
    assert list(found) == [field]
    assert "constrained" not in str(found)
    assert "accepted: " in found[field].problem


@pytest.mark.parametrize(
    ("to", "field"),
    [
        (5, "to"),
        ("", "to"),
        ([], "to"),
        ({"addresses": {}}, "to.addresses"),
        ({"addresses": {"TG": 5}}, "to.addresses.TG"),
    ],
)
def test_a_wrong_address_is_one_problem_in_plain_words(to: object, field: str) -> None:
    found = problems({"to": to})
    assert list(found) == [field]
    assert "accepted: " in found[field].problem


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"sender": ["TG", "TG"]}, "sender", "repeated_sender"),
        ({"sender": ["TG", "VK"], "to": "1"}, "to", "ambiguous_to"),
        ({"to": {"addresses": {"VK": "1"}}}, "to", "stranger_in_to"),
    ],
)
def test_fields_that_contradict_each_other_are_named(changes: dict[str, Any], field: str, code: str) -> None:
    found = problems(changes)
    assert {name: problem.code for name, problem in found.items()} == {field: code}
    assert "accepted: " in found[field].problem
    assert "{{" not in found[field].problem


@pytest.mark.parametrize("field", ["format", "priority", "on_unknown"])
def test_a_wrong_word_is_answered_with_the_right_ones(field: str) -> None:
    problem = problems({field: "nonsense"})[field].problem
    assert "accepted: " in problem
    assert "got 'nonsense'" in problem


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_numbers_that_other_readers_of_json_cannot_hold_are_refused(number: str) -> None:
    with pytest.raises(ContractError, match="metadata: has a number"):
        parse_request(json.dumps(SEED)[:-1] + f', "metadata": {{"deep": [{number}]}}}}')


def test_integers_beyond_64_bits_are_kept_as_doubles() -> None:
    request = parse_request(
        json.dumps({**SEED, "metadata": {"far": [10**30], "near": 2**63 - 1, "flag": True}})
    )
    assert request.metadata == {"far": [1e30], "near": 2**63 - 1, "flag": True}
    assert isinstance(request.metadata["far"][0], float)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"null", b"[]", b"5", b'"text"', b"\xff\xfe\x00", b"\x00", "\ud800", b"[" * 100_000]
)
def test_what_is_no_json_object_is_one_problem_of_the_whole(raw: bytes | str) -> None:
    with pytest.raises(ContractError) as caught:
        parse_request(raw)
    (problem,) = caught.value.problems
    assert problem.field == ""


def test_many_problems_are_cut() -> None:
    assert len(problems({f"field{i}": 1 for i in range(500)})) == 20


def test_a_batch_answers_each_item_in_its_place() -> None:
    items = [SEED, {"title": "no body"}, 5, {**SEED, "title": "last"}]
    parsed = parse_batch(json.dumps({"items": items}).encode())
    assert [isinstance(item, NotificationRequest) for item in parsed] == [True, False, False, True]
    assert isinstance(parsed[3], NotificationRequest)
    assert parsed[3].title == "last"


@pytest.mark.parametrize(
    "raw", [b"[]", b"{}", b'{"items": []}', b'{"items": 5}', b'{"items": [], "x": 1}', b"{"]
)
def test_what_is_no_batch_is_refused_as_a_whole(raw: bytes) -> None:
    with pytest.raises(ContractError):
        parse_batch(raw)


@pytest.mark.parametrize("item", [SEED, {}])
def test_a_batch_is_limited(item: object) -> None:
    with pytest.raises(ContractError, match="items: has 3 items; accepted: at most 2"):
        parse_batch(json.dumps({"items": [item] * 3}).encode(), most=2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
FIELDS = st.sampled_from([*NotificationRequest.model_fields, "nonsense"])
NEARLY = st.dictionaries(FIELDS, JSON | st.sampled_from(["TG", "x", "2030-01-01T00:00:00Z"])).map(
    lambda changes: {**SEED, **changes}
)


@given(st.binary())
def test_random_bytes_never_raise_anything_else(raw: bytes) -> None:
    with pytest.raises(ContractError):
        parse_request(raw)


def judged(raw: bytes) -> NotificationRequest | tuple[FieldProblem, ...]:
    try:
        return parse_request(raw)
    except ContractError as error:
        return error.problems


@given(JSON | NEARLY)
def test_random_json_is_taken_or_refused_with_reasons(value: object) -> None:
    answer = judged(json.dumps(value).encode())
    if isinstance(answer, NotificationRequest):
        assert judged(answer.model_dump_json().encode()) == answer
    else:
        assert answer
        assert all(problem.problem and problem.code for problem in answer)


@given(NEARLY)
def test_batches_judge_as_single_requests_do(value: object) -> None:
    (item,) = parse_batch(json.dumps({"items": [value]}).encode())
    alone = judged(json.dumps(value).encode())
    assert (item.problems if isinstance(item, ContractError) else item) == alone
    if isinstance(alone, NotificationRequest):
        assert parse_item(value) == alone
