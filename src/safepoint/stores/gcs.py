"""Google Cloud Storage: `gs://bucket/prefix?endpoint=…`.

Credentials are found by obstore at the first call: GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS (the path
of a key file), `gcloud auth application-default login`, or the instance's service account. An `http:` endpoint is an
emulator: requests to it are not signed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from obstore.store import GCSStore

from safepoint.stores._object_client import STANDARD_DEADLINES, Deadlines, Service
from safepoint.stores._object_store import ObjectStore
from safepoint.stores.port import Capabilities
from safepoint.stores.url import parse_store_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, GCSConfig, RetryConfig

_OPTIONS = frozenset({"endpoint"})
_NOBODY = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
_LARGEST_OBJECT = 5 * 1024**4  # cloud.google.com/storage/quotas


def open_gcs(text: str, deadlines: Deadlines = STANDARD_DEADLINES) -> ObjectStore:
    """The store at a `gs:` URL, touching nothing yet; ST003."""
    url = parse_store_url(text, options=_OPTIONS)
    endpoint = url.endpoint()
    is_emulator = endpoint is not None and endpoint.startswith("http://")
    settings: GCSConfig = {}
    if is_emulator:
        settings = {"service_account_key": json.dumps({**_NOBODY, "gcs_base_url": endpoint})}
    elif endpoint:
        settings = {"base_url": endpoint}

    def connect(client: ClientConfig, retry: RetryConfig) -> GCSStore:
        return GCSStore(
            url.host,
            config=settings,
            client_options={**client, "allow_http": is_emulator},
            retry_config=retry,
        )

    return ObjectStore(
        Service(
            place=str(url),
            prefix=url.path,
            capabilities=Capabilities(largest_object=_LARGEST_OBJECT),
            largest_put=_LARGEST_OBJECT,
            connect=connect,
        ),
        deadlines,
    )
