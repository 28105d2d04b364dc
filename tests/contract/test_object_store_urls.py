"""URLs of cloud stores: what is understood, what is refused, where credentials come from, and what is never shown."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from fault_proxy import Answered, Proxy, on, proxying, s3_error
from safepoint import errors
from safepoint.stores import NotFound, azure, gcs, open_store, s3
from safepoint.stores._object_client import Deadlines

_LIST = '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>'


@pytest.fixture
def server() -> Generator[Proxy]:
    """Answers what its rules say; nothing real is behind it."""
    with proxying(None) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without credentials of anybody."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://vivr-backups/pg?region=us-east-1", "s3://vivr-backups/pg"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        (
            "s3://bucket/a/b/?endpoint=http://127.0.0.1:1&style=virtual&profile=backup&conditional_put=no",
            "s3://bucket/a/b",
        ),
        ("gs://bucket/pg", "gs://bucket/pg"),
        ("az://account/container", "az://account/container"),
        ("az://account/container/pg?endpoint=https://blob.example.test", "az://account/container/pg"),
    ],
)
def test_opening_touches_nothing_and_shows_bucket_and_prefix(url: str, shown: str) -> None:
    """No credentials are needed yet, no server is asked."""
    assert repr(open_store(url)) == f"ObjectStore({shown!r})"


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:bucket",
        "s3:///pg",
        "s3://a b/pg",
        "s3://bucket/../pg",
        "s3://bucket/p//g",
        "s3://AKIA:hush@bucket/pg",
        "s3://bucket/pg?access_key=hush",
        "s3://bucket/pg?region",
        "s3://bucket/pg?style=hush",
        "s3://bucket/pg?conditional_put=maybe",
        "s3://bucket/pg?endpoint=127.0.0.1:9000",
        "s3://bucket/pg?endpoint=http://user:hush@host",
        "gs://bucket/pg?region=x",
        "az://account",
        "az://account/?endpoint=http://host",
    ],
)
def test_what_cannot_be_used_is_said_with_an_example(url: str) -> None:
    """Every wrong part is named by itself; a value that may be a secret is not repeated."""
    with pytest.raises(errors.Misconfigured) as caught:
        open_store(url)

    assert caught.value.spec is errors.ST003
    assert "found" in caught.value.message
    assert "expected" in caught.value.message
    assert "hush" not in caught.value.message or "style" in url
    assert "for example" in caught.value.hints[0].text


def test_without_credentials_each_provider_says_where_they_are_looked_for(server: Proxy) -> None:
    """S3: nothing in environment, profile or role. The server is not even asked."""
    with pytest.raises(errors.Misconfigured, match="ST004: found no AWS credentials for s3://bucket/pg"):
        s3.open_s3(f"s3://bucket/pg?endpoint={server.address}").get("a")
    with pytest.raises(errors.Misconfigured, match=r"ST004: found no AWS credentials .*ProfileNotFound"):
        s3.open_s3(f"s3://bucket/pg?endpoint={server.address}&profile=absent").get("a")

    assert server.requests == []


def test_a_profile_gives_credentials_and_region(server: Proxy, tmp_path: Path) -> None:
    """As `aws --profile` would: the request is signed with the profile's key, for its region."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[dr]\naws_access_key_id=DRKEY\naws_secret_access_key=hush\n")
    (tmp_path / ".aws" / "config").write_text("[profile dr]\nregion=eu-west-9\n")
    server.rules.append(on("GET", Answered(404, s3_error("NoSuchKey"))))

    with pytest.raises(NotFound):
        s3.open_s3(f"s3://bucket/pg?endpoint={server.address}&profile=dr").get("a")

    [request] = server.requests
    assert request.path == "/bucket/pg/a"
    assert "Credential=DRKEY/" in request.headers["authorization"]
    assert "/eu-west-9/s3/" in request.headers["authorization"]
    assert "hush" not in str(request)


def test_the_region_in_the_url_wins(server: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the environment's."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    server.rules.append(on("GET", Answered(200, _LIST)))

    assert list(s3.open_s3(f"s3://bucket?region=eu-central-1&endpoint={server.address}").list("")) == []

    assert "/eu-central-1/s3/" in server.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    ("status", "answer"), [(200, True), (412, False), (503, errors.ST001), (404, errors.ST003), (403, errors.ST004)]
)
def test_google_puts_on_condition(server: Proxy, status: int, answer: bool | errors.Spec) -> None:
    """The condition is generation 0; the answers are those of the XML API, which no emulator has."""
    codes = {404: "NoSuchBucket", 403: "AccessDenied", 412: "PreconditionFailed", 503: "ServiceUnavailable"}
    body = s3_error(codes[status]) if status in codes else ""
    server.rules.append(on("PUT", Answered(status, body, headers={"ETag": '"x"', "x-goog-generation": "1"})))
    store = gcs.open_gcs(f"gs://bucket/pg?endpoint={server.address}", Deadlines(base_seconds=2))

    if isinstance(answer, bool):
        assert store.put_if_absent("a", b"x") is answer
    else:
        with pytest.raises(errors.SafepointError) as caught:
            store.put_if_absent("a", b"x")
        assert caught.value.spec is answer

    assert server.requests[0].headers["x-goog-if-generation-match"] == "0"


def test_a_wrong_azure_container_is_no_missing_object(server: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's codes are understood: the container is named, and a missing blob is a missing object."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "aHVzaA==")
    store = azure.open_azure(f"az://account/container/pg?endpoint={server.address}", Deadlines(base_seconds=2))
    server.rules.append(on("GET", Answered(404, s3_error("ContainerNotFound"))))
    with pytest.raises(errors.Misconfigured, match="found 404 ContainerNotFound at az://account/container/pg"):
        store.get("a")

    server.rules.append(on("GET", Answered(404, s3_error("BlobNotFound"))))
    with pytest.raises(NotFound):
        store.get("a")


def test_an_object_too_large_is_refused_before_it_is_sent(server: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is the provider's; nothing goes over the wire."""
    monkeypatch.setattr(azure, "_LARGEST_OBJECT", 10)
    store = azure.open_azure(f"az://account/container/pg?endpoint={server.address}")

    with pytest.raises(errors.Refused, match="ST005: found 11 B to store as a, expected at most 10 B"):
        store.put_if_absent("a", b"x" * 11)

    assert server.requests == []


def test_a_forked_child_is_refused_instead_of_hanging(server: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """obstore's threads do not live on in the child, where even a new store would wait for ever."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    server.rules.append(on("GET", Answered(200, _LIST), times=9))
    url = f"s3://bucket?endpoint={server.address}"
    assert list(s3.open_s3(url).list("")) == []

    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        signal.alarm(20)
        try:
            s3.open_s3(url).get("a")
        except errors.Bug as error:
            os._exit(0 if error.spec is errors.ST006 else 3)
        os._exit(4)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
