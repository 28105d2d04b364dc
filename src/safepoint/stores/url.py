"""URLs of stores behind a network: `scheme://host/prefix?option=value`, taken apart.

What is refused is named without repeating what may be a secret.

Only options that the store names are accepted; none of them is a secret, because credentials never stand in a URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from safepoint import errors
from safepoint.stores.port import check_name

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUrl:
    """A URL taken apart. `path` has no slash at either end; `options` holds only those that were allowed."""

    scheme: str
    host: str
    path: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}" + (f"/{self.path}" if self.path else "")

    def choice(self, option: str, choices: tuple[str, ...]) -> str:
        """The option's value, the first choice where it is not given; ST003 for any other."""
        value = self.options.get(option, choices[0])
        if value not in choices:
            raise unusable(f"found {option}={value!r} in {self}, expected {' or '.join(choices)}", self.scheme)
        return value

    def endpoint(self) -> str | None:
        """The address of a server other than the provider's own, without a slash at its end; ST003."""
        value = self.options.get("endpoint")
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query:
            raise unusable(
                f"found an unusable endpoint in {self}, expected http://host:port or https://host", self.scheme
            )
        return value.rstrip("/")


def parse_store_url(url: str, *, options: frozenset[str]) -> StoreUrl:
    """The URL taken apart; ST003 when it names no host, holds credentials, or an option that is not allowed."""
    parts = urlsplit(url)
    scheme = parts.scheme
    if "@" in parts.netloc:
        raise unusable("found credentials in a store's URL, expected none: they come from the environment", scheme)
    if not _HOST.fullmatch(parts.netloc):
        raise unusable(f"found {parts.netloc!r} behind {scheme}://, expected {_FORM[scheme]}", scheme)
    path = parts.path.strip("/")
    try:
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        check_name(path or "x")
    except ValueError:
        message = f"found a prefix or a query that cannot be used behind {scheme}://{parts.netloc}"
        raise unusable(f"{message}, expected {_FORM[scheme]}", scheme) from None
    if unknown := sorted(set(given) - options):
        raise unusable(
            f"found the option {unknown[0]!r} in the URL of {scheme}://{parts.netloc}, "
            f"expected one of {', '.join(sorted(options))}",
            scheme,
        )
    return StoreUrl(scheme=scheme, host=parts.netloc, path=path, options=given)


_FORM = {
    "s3": "s3://bucket/prefix?region=eu-west-1",
    "gs": "gs://bucket/prefix",
    "az": "az://account/container/prefix",
}


def unusable(message: str, scheme: str = "") -> errors.SafepointError:
    """ST003, with an example of a URL that can be used."""
    form = _FORM.get(scheme, "file:/srv/safepoint")
    return errors.ST003.error(message, hints=[errors.run(f'for example: `[repository.main] url = "{form}"`')])
