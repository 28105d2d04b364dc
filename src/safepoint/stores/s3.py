"""Amazon S3 and what speaks its protocol: `s3://bucket/prefix?region=…&endpoint=…&style=…&profile=…`.

Credentials come from botocore's chain, resolved at the first call: environment, web identity, shared profile
(`profile` or AWS_PROFILE; SSO and assumed roles included), container, instance role. They are asked for again before
they expire. With `endpoint` the bucket is part of the path, unless `style=virtual` says that it is part of the host.
`conditional_put=no` declares a server that ignores `If-None-Match` on PUT.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from obstore.store import S3Store

from safepoint.stores._object_client import STANDARD_DEADLINES, Deadlines, Service
from safepoint.stores._object_store import ObjectStore
from safepoint.stores.aws_credentials import AwsCredentials
from safepoint.stores.port import Capabilities
from safepoint.stores.url import StoreUrl, parse_store_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

_OPTIONS = frozenset({"region", "endpoint", "style", "profile", "conditional_put"})
_LARGEST_PUT = 128 * 1024 * 1024
_LARGEST_OBJECT = 5 * 1024**3  # what one PUT takes, and one part copy moves ("Amazon S3 multipart upload limits")


def open_s3(text: str, deadlines: Deadlines = STANDARD_DEADLINES) -> ObjectStore:
    """The store at an `s3:` URL, touching nothing yet; ST003."""
    url = parse_store_url(text, options=_OPTIONS)
    conditional = url.choice("conditional_put", ("yes", "no")) == "yes"
    settings = _settings(url)

    def connect(client: ClientConfig, retry: RetryConfig) -> S3Store:
        credentials = AwsCredentials(profile=url.options.get("profile"), place=str(url))
        region = url.options.get("region") or credentials.region or "us-east-1"
        allow_http = str(settings.get("endpoint", "")).startswith("http://")
        return S3Store(
            url.host,
            config={**settings, "region": region},
            client_options={**client, "allow_http": allow_http},
            retry_config=retry,
            credential_provider=credentials,
        )

    return ObjectStore(
        Service(
            place=str(url),
            prefix=url.path,
            capabilities=Capabilities(conditional_put=conditional, largest_object=_LARGEST_OBJECT),
            largest_put=_LARGEST_PUT,
            connect=connect,
        ),
        deadlines,
    )


def _settings(url: StoreUrl) -> S3Config:
    endpoint = url.endpoint() or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    style = url.choice("style", ("path", "virtual") if endpoint else ("virtual", "path"))
    settings: S3Config = {
        "conditional_put": "etag",
        "copy_if_not_exists": "multipart",
        "disable_bulk_delete": True,  # a refused delete answers 403, not 200 with the refusal inside
        "virtual_hosted_style_request": style == "virtual",
    }
    if endpoint and style == "virtual":
        scheme, _, host = endpoint.partition("://")
        endpoint = f"{scheme}://{url.host}.{host}"
    if endpoint:
        settings["endpoint"] = endpoint
    return settings
