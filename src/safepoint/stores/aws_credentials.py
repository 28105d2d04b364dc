"""AWS credentials from the places where every AWS tool looks for them, by botocore's own chain. Never printed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import botocore.session  # pyright: ignore[reportMissingTypeStubs]
from botocore.exceptions import BotoCoreError  # pyright: ignore[reportMissingTypeStubs]

from safepoint import errors

if TYPE_CHECKING:
    from obstore.store import S3Credential

_ASK_AGAIN_AFTER = timedelta(minutes=5)


class AwsCredentials:
    """Called by obstore for credentials; botocore renews them in time. ST004 at once where there are none."""

    def __init__(self, *, profile: str | None, place: str) -> None:
        try:
            session: Any = botocore.session.Session(profile=profile)
            self._credentials: Any = session.get_credentials()
            self.region: str | None = session.get_config_variable("region")
        except BotoCoreError as error:
            raise _none(place, type(error).__name__) from None
        if self._credentials is None:
            raise _none(place, "none")

    def __call__(self) -> S3Credential:
        """What signs requests for the next minutes."""
        now = self._credentials.get_frozen_credentials()
        return {
            "access_key_id": now.access_key,
            "secret_access_key": now.secret_key,
            "token": now.token,
            "expires_at": datetime.now(UTC) + _ASK_AGAIN_AFTER,
        }


def _none(place: str, found: str) -> errors.SafepointError:
    return errors.ST004.error(
        f"found no AWS credentials for {place} ({found}), expected some in the environment, a profile or a role",
        hints=[
            errors.ask("is this run by a user or service that has no AWS_PROFILE or AWS_ACCESS_KEY_ID?"),
            errors.run("see who you are for AWS: `aws sts get-caller-identity`"),
        ],
    )
