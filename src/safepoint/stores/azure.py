"""Azure Blob Storage: `az://account/container/prefix?endpoint=…`.

Credentials are found by obstore at the first call: AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, a service
principal (AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_TENANT_ID), a federated token file, or the managed identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from obstore.store import AzureStore

from safepoint.stores._object_client import STANDARD_DEADLINES, Deadlines, Service
from safepoint.stores._object_store import ObjectStore
from safepoint.stores.port import Capabilities
from safepoint.stores.url import parse_store_url, unusable

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig, RetryConfig

_OPTIONS = frozenset({"endpoint"})
_LARGEST_OBJECT = 5000 * 1024**2  # Put Blob since version 2019-12-12 ("Scalability and performance targets")


def open_azure(text: str, deadlines: Deadlines = STANDARD_DEADLINES) -> ObjectStore:
    """The store at an `az:` URL, touching nothing yet; ST003."""
    url = parse_store_url(text, options=_OPTIONS)
    container, _, prefix = url.path.partition("/")
    if not container:
        raise unusable(f"found no container in {url}, expected az://account/container/prefix", url.scheme)
    endpoint = url.endpoint()
    settings: AzureConfig = {"account_name": url.host}
    if endpoint:
        settings["endpoint"] = endpoint

    def connect(client: ClientConfig, retry: RetryConfig) -> AzureStore:
        return AzureStore(
            container,
            config=settings,
            client_options={**client, "allow_http": str(endpoint or "").startswith("http://")},
            retry_config=retry,
        )

    return ObjectStore(
        Service(
            place=str(url),
            prefix=prefix,
            capabilities=Capabilities(largest_object=_LARGEST_OBJECT),
            largest_put=_LARGEST_OBJECT,
            connect=connect,
        ),
        deadlines,
    )
