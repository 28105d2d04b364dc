"""What an object store answered, said in one line: status and code, or why no answer came, and never its text.

The text of an answer may hold the signed request, a token or an account; `obstore` repeats it, and the signed URL, in
its exceptions. Only what the two patterns below match is shown: three digits, and a word of letters and digits.
Codes: S3 API "Error responses", Azure "Blob service error codes", GCS XML API "HTTP status and error codes".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from safepoint import errors

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>|\"reason\": ?\"([A-Za-z0-9]{1,60})\"")
_REDIRECT = "BareRedirect"
_NO_ANSWER = (
    (re.compile(_REDIRECT), "a redirect to nowhere"),
    (re.compile(r"ConnectionRefused"), "a refused connection"),
    (re.compile(r"dns error"), "a host name that nobody knows"),
    (re.compile(r"[Cc]ertificate|UnknownIssuer"), "a certificate that this machine does not trust"),
    (re.compile(r"kind: Timeout|TimedOut|timed out"), "no answer within the deadline"),
    (re.compile(r"kind: Connect"), "no connection"),
    (re.compile(r"IncompleteMessage|UnexpectedEof|ConnectionReset|BrokenPipe|HTTP error|body"), "a broken connection"),
)
_CREDENTIALS = re.compile(r"token request|credential provider|169\.254\.169\.254|metadata\.google\.internal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back. `status` and `code` are None where the answer had none, both where there was no answer."""

    status: int | None
    code: str | None
    text: str

    @property
    def is_absent(self) -> bool:
        """The object is not there, and the bucket is, as far as the answer tells."""
        return self.status == _NOT_FOUND and self.code not in _NO_BUCKET

    @property
    def tells_little(self) -> bool:
        """An answer to HEAD has no body: it says neither which right was missing nor what was not found."""
        return self.status is not None and self.code is None


@dataclass(frozen=True, slots=True)
class _Kind:
    spec: errors.Spec
    question: str
    cure: str


_NOT_FOUND = 404
_NO_RANGE = 416
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound", "InvalidBucketName", "ResourceNotFound"})

_BUCKET = _Kind(
    errors.ST003,
    "is the bucket's name spelt right, and does it exist in that account?",
    "safepoint makes no buckets: create it with the provider's tools, then repeat",
)
_REGION = _Kind(
    errors.ST003, "is the bucket in another region?", 'name its region: `url = "s3://bucket/prefix?region=…"`'
)
_RIGHT = _Kind(
    errors.ST004,
    "may these credentials read, write, list and delete below this prefix?",
    "see docs/STORES.md for the rights that are needed",
)
_IDENTITY = _Kind(
    errors.ST004,
    "are the credentials those of this account, and still valid?",
    "see which ones are used: docs/STORES.md names the places in their order",
)
_CLOCK = _Kind(
    errors.ST004,
    "is this machine's clock wrong by minutes? The store refuses signatures of another time",
    "set the clock: `timedatectl status`",
)
_FULL = _Kind(errors.ST002, "is the quota of this account or bucket used up?", "make room or raise it, then repeat")
_BUSY = _Kind(
    errors.ST001, "is the store overloaded or in maintenance?", "repeat later: what was stored is found again"
)
_AWAY = _Kind(
    errors.ST001,
    "is the address right, and does a firewall or proxy stand between?",
    "repeat when it can be reached: what was stored is found again",
)

_IDENTITY_CODES = (
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
    *("AuthenticationFailed", "AuthorizationFailure"),
)
_FULL_CODES = ("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "AccountLimitExceeded")

_BY_CODE: Mapping[str, _Kind] = {
    **dict.fromkeys(_NO_BUCKET, _BUCKET),
    **dict.fromkeys(("AuthorizationHeaderMalformed", "IllegalLocationConstraintException"), _REGION),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired"), _CLOCK),
    **dict.fromkeys(
        (
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "InvalidToken",
            "AuthenticationFailed",
            "AuthorizationFailure",
        ),
        _IDENTITY,
    ),
    **dict.fromkeys(_FULL_CODES, _FULL),
}
_BY_STATUS: Mapping[int, _Kind] = {401: _IDENTITY, 403: _RIGHT, 404: _BUCKET, 507: _FULL}
_TAKEN = frozenset({304, 412})  # S3 and Google; some servers of the S3 protocol answer 304
_TAKEN_CODE = "BlobAlreadyExists"  # Azure: 409, as other conflicts


def answer_of(error: Exception) -> Answer:
    """What an exception of `obstore` tells."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    return Answer(status=int(status[1]) if status else None, code=(code[1] or code[2]) if code else None, text=text)


def is_taken(answer: Answer) -> bool:
    """The name has an object.

    Not every conflict says so: two conditional puts at once may both get 409 from S3, with ConditionalRequestConflict,
    and neither has won ("Conditional writes", Amazon S3 user guide).
    """
    return answer.status in _TAKEN or answer.code == _TAKEN_CODE


def is_beyond_the_end(answer: Answer) -> bool:
    """The range begins at or behind the object's last byte; some servers answer with nothing, and obstore complains."""
    return answer.status == _NO_RANGE or "StartTooLarge" in answer.text


def explained(answer: Answer, doing: str, place: str) -> errors.SafepointError:
    """The error to raise for an answer that was no success; `place` is the store's URL without options."""
    kind = _kind_of(answer)
    return kind.spec.error(
        f"cannot {doing}: found {_found(answer)} at {place}, expected success",
        changed="nothing is known to have been stored" if doing.startswith("store") else errors.NOTHING_CHANGED,
        hints=[errors.ask(kind.question), errors.run(kind.cure)],
    )


def _kind_of(answer: Answer) -> _Kind:
    if _CREDENTIALS.search(answer.text):
        return _IDENTITY
    if answer.status is None:
        return _REGION if _REDIRECT in answer.text else _AWAY
    if answer.code is not None and answer.code in _BY_CODE:
        return _BY_CODE[answer.code]
    return _BY_STATUS.get(answer.status, _BUSY)


def _found(answer: Answer) -> str:
    if _CREDENTIALS.search(answer.text):
        return "no usable credentials"
    if answer.status is not None:
        return f"{answer.status} {answer.code or 'without a code'}"
    return next((words for pattern, words in _NO_ANSWER if pattern.search(answer.text)), "an answer of no known form")
