"""What becomes of answers that are lost, late, cut, wrong or refused: a real S3 server behind a spoiling proxy."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any

import pytest

from fault_proxy import Answered, Cut, Deaf, Proxy, Request, Spoiled, on, proxying, s3_error, then
from object_servers import READER, ObjectServer
from safepoint import errors
from safepoint.stores import NotFound, Store, s3
from safepoint.stores._object_client import Deadlines
from safepoint.stores.probe import require_capabilities
from safepoint.stores.retry import Patience, RetryingStore, Time

_SECRET = "do-not-show-me"
_MEBIBYTE = 1024 * 1024

Behind = Callable[..., tuple[Store, Proxy]]


@pytest.fixture
def behind(s3_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Generator[Behind]:
    """Makes an empty store behind a proxy; attempts follow one another without pause."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:

        def make(*rules: Callable[..., Spoiled | None], attempts: int = 4, options: str = "") -> tuple[Store, Proxy]:
            proxy = stack.enter_context(proxying(s3_server.address, *rules))
            url = s3_server.url(secrets.token_hex(8), proxy.address) + options
            store = s3.open_s3(url, Deadlines(base_seconds=1))
            patience = Patience(attempts=attempts)
            return RetryingStore(store, patience, Time(sleep=lambda _: None)), proxy

        yield make


@pytest.mark.parametrize(
    "spoiled", [Answered(503, s3_error("SlowDown")), Answered(500, s3_error("InternalError")), Cut(), Deaf()]
)
@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "DELETE"])
def test_what_is_busy_broken_or_silent_is_asked_again(behind: Behind, method: str, spoiled: Spoiled) -> None:
    """Put, get, list, size and delete all survive two spoiled answers in a row."""
    store, _ = behind(on(method, spoiled, times=2))

    assert store.put_if_absent("a/b", b"data") is True
    assert (store.get("a/b"), store.size("a/b"), list(store.list("a"))) == (b"data", 4, ["a/b"])
    store.delete("a/b")

    assert list(store.list("")) == []


@pytest.mark.parametrize(
    "spoiled", [Cut(), Answered(500, after_effect=True), Answered(503, s3_error("SlowDown"), after_effect=True)]
)
def test_a_put_whose_answer_was_lost_has_won(behind: Behind, spoiled: Spoiled) -> None:
    """The second attempt finds the name taken, by the very bytes of the first: that is success, and said so."""
    store, proxy = behind(on("PUT", spoiled))

    assert store.put_if_absent("a", b"ours") is True
    assert [request.method for request in proxy.requests if request.method == "PUT"] == ["PUT", "PUT"]


def test_a_put_that_lost_to_another_writer_has_lost(behind: Behind) -> None:
    """The first attempt gets no answer and no effect, and meanwhile another writer puts other bytes of equal length."""
    store, proxy = behind(on("PUT", Answered(503)))
    other = _another(store, proxy)
    proxy.rules.insert(0, then(lambda: other.put_if_absent("a", b"their"), after="PUT"))

    assert store.put_if_absent("a", b"ours!") is False
    assert store.get("a") == b"their"


def test_a_conflict_between_two_puts_is_no_verdict(behind: Behind) -> None:
    """S3 may answer 409 to both of two conditional puts at once: the name is still free, and the put is repeated."""
    store, _ = behind(on("PUT", Answered(409, s3_error("ConditionalRequestConflict"))))

    assert store.put_if_absent("a", b"x") is True


def test_a_delete_whose_answer_was_lost_is_done(behind: Behind) -> None:
    """The second attempt finds nothing, which is what was wanted; a first one would be told so."""
    store, _ = behind(on("DELETE", Cut()))
    store.put_if_absent("a", b"x")

    store.delete("a")

    with pytest.raises(NotFound):
        store.delete("a")


@pytest.mark.parametrize("kept", [0, 1, 500_000])
def test_a_body_that_was_cut_is_never_taken_for_the_object(behind: Behind, kept: int) -> None:
    """Whole objects and ranges come back complete although the first answer of each broke off."""
    data = os.urandom(_MEBIBYTE)
    store, proxy = behind()
    store.put_if_absent("a", data)

    proxy.rules.append(on("GET", Cut(kept)))
    assert store.get("a") == data
    proxy.rules.append(on("GET", Cut(kept)))
    assert store.get_range("a", 10, 900_000) == data[10:900_010]


def test_a_deaf_server_ends_by_the_deadline(behind: Behind) -> None:
    """Every call ends: one second an attempt here, and says what it waited for."""
    store, _ = behind(*(on(method, Deaf(), times=99) for method in ("PUT", "GET", "HEAD", "DELETE")), attempts=1)
    calls: list[Callable[[], object]] = [
        lambda: store.put_if_absent("a", b"x"),
        lambda: store.get("a"),
        lambda: store.get_range("a", 0, 1),
        lambda: store.size("a"),
        lambda: store.delete("a"),
        lambda: list(store.list("a/")),
    ]

    for call in calls:
        started = time.monotonic()
        with pytest.raises(errors.Unreachable, match="no answer within the deadline"):
            call()
        assert time.monotonic() - started < 6


def test_attempts_are_bounded(behind: Behind) -> None:
    """After the last attempt the error tells status and code."""
    store, proxy = behind(on("PUT", Answered(503, s3_error("SlowDown", secret=_SECRET)), times=99), attempts=3)

    with pytest.raises(errors.Unreachable) as caught:
        store.put_if_absent("a", b"x")

    assert "found 503 SlowDown" in caught.value.message
    assert _SECRET not in str(caught.value)
    assert len(proxy.requests) == 3


@pytest.mark.parametrize(
    ("status", "code", "spec", "hint"),
    [
        (403, "AccessDenied", errors.ST004, "may these credentials"),
        (403, "RequestTimeTooSkewed", errors.ST004, "clock"),
        (403, "SignatureDoesNotMatch", errors.ST004, "are the credentials those"),
        (400, "ExpiredToken", errors.ST004, "still valid"),
        (404, "NoSuchBucket", errors.ST003, "bucket's name"),
        (400, "AuthorizationHeaderMalformed", errors.ST003, "another region"),
        (507, "InsufficientStorage", errors.ST002, "quota"),
        (403, "QuotaExceeded", errors.ST002, "quota"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_what_stays_wrong_is_said_once(
    behind: Behind, method: str, status: int, code: str, spec: errors.Spec, hint: str
) -> None:
    """Refusals are not tried again; the error names both values and the likely cause, and never the answer's text."""
    store, proxy = behind(on(method, Answered(status, s3_error(code, secret=_SECRET)), times=99))
    call: Callable[[], object] = (
        (lambda: store.get("a")) if method == "GET" else (lambda: store.put_if_absent("a", b"x"))
    )

    with pytest.raises(errors.SafepointError) as caught:
        call()

    assert caught.value.spec is spec
    assert f"found {status} {code} at s3://" in caught.value.message
    assert any(hint in given.text for given in caught.value.hints)
    shown = f"{caught.value} {caught.value.hints} {caught.value.__cause__}"
    assert _SECRET not in shown
    assert "writer-secret" not in shown
    assert len(proxy.requests) == 1


def test_a_wrong_bucket_is_no_missing_object(s3_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the bucket is not there, nothing in it is "not found": all calls say which bucket was meant."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    store = s3.open_s3(f"s3://no-such-bucket/pg?endpoint={s3_server.address}")
    calls: list[Callable[[], object]] = [
        lambda: store.put_if_absent("a", b"x"),
        lambda: store.get("a"),
        lambda: store.get_range("a", 0, 1),
        lambda: store.size("a"),
        lambda: store.delete("a"),
        lambda: list(store.list("")),
        lambda: list(store.list("a")),
    ]

    for call in calls:
        with pytest.raises(
            errors.Misconfigured, match=r"ST003: cannot .* found 404 NoSuchBucket at s3://no-such-bucket/pg"
        ):
            call()


def test_a_reader_reads_and_is_told_what_it_may_not(s3_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that may only read open what was stored; put and delete are refused, and nothing is gone."""
    url = s3_server.url(secrets.token_hex(8))
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    s3.open_s3(url).put_if_absent("a", b"x")
    for name, value in READER.items():
        monkeypatch.setenv(name, value)
    store = s3.open_s3(url)

    with pytest.raises(errors.Misconfigured, match="ST004: cannot store b: found 403 AccessDenied"):
        store.put_if_absent("b", b"x")
    with pytest.raises(errors.Misconfigured, match="ST004: cannot delete a: found 403 AccessDenied"):
        store.delete("a")

    assert (store.get("a"), list(store.list(""))) == (b"x", ["a"])


@pytest.mark.parametrize(("key", "code"), [("NOBODY", "InvalidAccessKeyId"), ("WRITERKEY", "SignatureDoesNotMatch")])
def test_wrong_credentials_are_named_by_their_code(
    s3_server: ObjectServer, monkeypatch: pytest.MonkeyPatch, key: str, code: str
) -> None:
    """The server's verdict is shown, the keys are not."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")

    with pytest.raises(errors.Misconfigured, match=f"found 403 {code}") as caught:
        s3.open_s3(s3_server.url("x")).get("a")

    assert "a-wrong-secret" not in repr(caught.value)
    assert key not in str(caught.value)


def test_large_objects_go_up_in_parts_and_keep_the_condition(behind: Behind, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts beside their name, then copied to it if it is free; nothing else is left, listed or not."""
    monkeypatch.setattr(s3, "_LARGEST_PUT", 5 * _MEBIBYTE)
    store, proxy = behind()
    data = os.urandom(33 * _MEBIBYTE)

    assert store.put_if_absent("big", data) is True
    assert store.put_if_absent("big", data[::-1]) is False

    assert (store.size("big"), store.get("big") == data) == (33 * _MEBIBYTE, True)
    assert store.get_range("big", 15 * _MEBIBYTE, 17 * _MEBIBYTE) == data[15 * _MEBIBYTE : 32 * _MEBIBYTE]
    assert sum("partNumber" in request.path and request.method == "PUT" for request in proxy.requests) == 4
    assert _everything(store) == ["big"]


@pytest.mark.parametrize("having", ["/tmp/.put-", "/big?"], ids=["upload", "copy"])
def test_a_completion_that_answers_200_with_an_error_is_no_success(
    behind: Behind, monkeypatch: pytest.MonkeyPatch, having: str
) -> None:
    """S3 may begin its answer with 200 and end it with InternalError: the object counts once it is whole."""
    monkeypatch.setattr(s3, "_LARGEST_PUT", 5 * _MEBIBYTE)
    data = os.urandom(6 * _MEBIBYTE)
    store, proxy = behind()

    def spoil(request: Request) -> Spoiled | None:
        is_completion = request.method == "POST" and "uploadId" in request.path and having in request.path
        return Answered(200, s3_error("InternalError")) if is_completion else None

    proxy.rules.append(spoil)
    with pytest.raises(errors.Unreachable):
        store.put_if_absent("big", data)
    assert list(store.list("")) == []

    proxy.rules.clear()
    proxy.rules.append(on("POST", Answered(200, s3_error("InternalError")), having="uploadId"))
    assert store.put_if_absent("big", data) is True
    assert store.get("big") == data


def test_a_listing_goes_on_where_a_page_was_lost(behind: Behind) -> None:
    """Pages come one by one; a lost one costs one request, no name twice and none left out."""
    store, proxy = behind()
    names = [f"p/{number:04}" for number in range(1005)]
    for name in names:
        store.put_if_absent(name, b"")
    proxy.rules.append(on("GET", Cut(100), having="continuation-token"))
    proxy.rules.append(on("GET", Answered(503), having="list-type"))

    assert list(store.list("p/")) == names


def test_a_server_that_ignores_the_condition_is_found_out(behind: Behind) -> None:
    """Silently replaced objects would be lost backups: asked before a repository is made, with what to do about it."""
    store, _ = behind(on("PUT", Answered(200, headers={"ETag": '"x"'}), after=1))

    with pytest.raises(errors.Misconfigured, match="ST007") as caught:
        require_capabilities(store)

    assert "conditional_put=no" in caught.value.hints[-1].text
    assert list(store.list("")) == []


def test_without_conditional_put_one_writer_keeps_its_promises(behind: Behind) -> None:
    """Declared so, a put looks first, puts, and reads back what it put; also when its answer is lost."""
    store, proxy = behind(options="&conditional_put=no")
    require_capabilities(store)

    assert store.capabilities.conditional_put is False
    assert store.put_if_absent("a", b"first") is True
    assert store.put_if_absent("a", b"second") is False
    proxy.rules.append(on("PUT", Cut()))
    assert store.put_if_absent("b", b"lost") is True

    assert [store.get(name) for name in store.list("")] == [b"first", b"lost"]
    assert not any("if-none-match" in request.headers for request in proxy.requests)


def test_without_conditional_put_a_second_writer_is_noticed_where_it_can_be(behind: Behind) -> None:
    """Both looked, both put: who reads back other bytes than its own says so instead of acknowledging them."""
    store, proxy = behind(options="&conditional_put=no", attempts=1)
    other = _another(store, proxy)
    proxy.rules.append(then(lambda: (other.delete("a"), other.put_if_absent("a", b"their")), after="PUT"))

    with pytest.raises(errors.Unreachable, match="found other bytes"):
        store.put_if_absent("a", b"ours!")


def test_a_redirect_means_another_region(behind: Behind) -> None:
    """S3 answers 301 without an address where the region in the URL is not the bucket's."""
    store, _ = behind(on("GET", Answered(301, s3_error("PermanentRedirect"))))

    with pytest.raises(errors.Misconfigured, match="ST003") as caught:
        store.get("a")

    assert "another region" in caught.value.hints[0].text


def _another(store: Store, proxy: Proxy) -> Store:
    """Another writer to the same store, past the proxy."""
    place = repr(store).partition("'")[2].rpartition("'")[0]
    return s3.open_s3(f"{place}?endpoint=http://{proxy.upstream}")


def _everything(store: Store) -> list[str]:
    """What is in the store, temporary objects included, which `list` leaves out."""
    inner: Any = vars(store)["_inner"]
    return sorted(inner._names(inner._root))
