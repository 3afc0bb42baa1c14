"""A real S3 to test against: moto's server, over HTTP."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from typing import Any

import boto3
import fsspec
import pytest

from connectors.launch import launcher
from connectors.loopback import HOST
from connectors.server import Server
from tests.waiting import PATIENCE_S

BUCKET = "argo-workflows"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


class Store(Server):
    """One moto server, empty after each start."""

    name = "moto"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """What has Amazon's own tools find it."""
        return {**KEYS, "AWS_ENDPOINT_URL_S3": self.url}

    @contextmanager
    def guarded(self, user: str, forbidden: str) -> Iterator[dict[str, str]]:
        """Give the keys of a user who may read everything but some objects, and have them asked for meanwhile."""
        kept = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        iam: Any = boto3.client("iam", endpoint_url=self.url, **kept)
        statements = [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
            {"Effect": "Deny", "Action": "s3:GetObject", "Resource": forbidden},
        ]
        iam.create_user(UserName=user)
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=user, PolicyName="all-but-some", PolicyDocument=document)
        keys = iam.create_access_key(UserName=user)["AccessKey"]
        self._ask_for_keys_after("0")
        try:
            yield {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"]}
        finally:
            self._ask_for_keys_after("inf")

    def _ask_for_keys_after(self, requests: str) -> None:
        with closing(HTTPConnection(HOST, self.port, timeout=PATIENCE_S)) as connection:
            connection.request("POST", "/moto-api/reset-auth", requests)
            assert connection.getresponse().status == 200

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        program = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)]
        return [*launcher(end_with=signal.SIGKILL), *program]

    def is_ready(self) -> bool:
        with closing(HTTPConnection(HOST, self.port, timeout=2)) as connection, suppress(OSError):
            connection.request("GET", "/moto-api/data.json")
            return connection.getresponse().status == 200
        return False


class Bucket:
    """A bucket of a test's own."""

    def __init__(self, store: Store, name: str = BUCKET) -> None:
        self.store = store
        self.name = name
        self.files: Any = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        self.files.mkdir(name)

    @property
    def root(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, data: bytes) -> str:
        self.files.pipe_file(f"{self.name}/{key}", data)
        return key


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("moto")) as store:
        yield store


@pytest.fixture
def bucket(s3_server: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A fresh bucket, and the environment in which it is found."""
    for name, value in s3_server.environ.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(s3_server)
    yield bucket
    bucket.files.rm(bucket.name, recursive=True)
