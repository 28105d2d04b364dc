"""Creating and opening repositories.

Creation puts the wrapped key first and `safepoint.json` last: killed in between, it leaves a key of a repository that
does not exist, which no passphrase of a later one opens.
"""

from __future__ import annotations

import contextlib
import secrets

from safepoint import errors
from safepoint.model.measures import Clock, system_clock
from safepoint.model.secret import Secret
from safepoint.repository.repository import Repository
from safepoint.repository.sealing import keys
from safepoint.stores.port import NotFound, Store

_STANDARD_COST = keys.KeyCost()
_CONTENT = ("backups/", "packs/", "wal/", "records/")


def create_repository(
    store: Store, passphrase: Secret | None, *, cost: keys.KeyCost = _STANDARD_COST, clock: Clock = system_clock
) -> Repository:
    """A new repository, durably there; without a passphrase nothing in it is encrypted.

    RP002 when one is there already, or the remains of one. The passphrase cannot be recovered.
    """
    _require_free(store)
    description = keys.new_description(is_encrypted=passphrase is not None)
    master = key_name = None
    if passphrase is not None:
        _require_passphrase(passphrase)
        master, key_name = keys.new_master(), f"{keys.KEYS_PREFIX}{secrets.token_hex(16)}"
        store.put_if_absent(key_name, keys.wrap_master(master, description, passphrase, cost))
    if not store.put_if_absent(keys.DESCRIPTION_NAME, keys.description_to_bytes(description)):
        if key_name is not None:
            with contextlib.suppress(NotFound, errors.SafepointError):
                store.delete(key_name)
        raise _exists(keys.DESCRIPTION_NAME)
    return Repository(store, description, keys.keyring_of(description, master), clock)


def open_repository(store: Store, passphrase: Secret | None, *, clock: Clock = system_clock) -> Repository:
    """The repository in the store; writes nothing. RP001 when there is none, RP003 when the passphrase is not its."""
    description = _read_description(store)
    if description.hashing_key is not None:
        if passphrase is not None:
            raise _not_encrypted(description)
        return Repository(store, description, keys.keyring_of(description, None), clock)
    if passphrase is None:
        raise _needs_passphrase(description)
    master = _find_master(store, description, passphrase)
    return Repository(store, description, keys.keyring_of(description, master), clock)


def _read_description(store: Store) -> keys.Description:
    try:
        return keys.description_from_bytes(store.get(keys.DESCRIPTION_NAME))
    except NotFound:
        raise errors.RP001.error(
            f"found no {keys.DESCRIPTION_NAME} in {store}, expected a repository",
            hints=[
                errors.ask("is the URL right, and is the disk mounted?"),
                errors.run("make one: `safepoint repository init`"),
            ],
        ) from None


def _find_master(store: Store, description: keys.Description, passphrase: Secret) -> bytes:
    damaged: errors.SafepointError | None = None
    count = 0
    for name in store.list(keys.KEYS_PREFIX):
        count += 1
        try:
            master = keys.unwrap_master(name, store.get(name), description, passphrase)
        except NotFound:
            continue
        except errors.Damaged as error:
            damaged = error
            continue
        if master is not None:
            return master
    if damaged is not None:
        raise damaged
    raise errors.RP003.error(
        f"found {count} keys in repository {description.id}, none opened by the passphrase, expected one",
        hints=[
            errors.ask("is it the passphrase of another repository, or does it end in a line break?"),
            errors.run("check what `key` in the strategy file refers to; a lost passphrase cannot be recovered"),
        ],
    )


def _require_free(store: Store) -> None:
    if any(True for _ in store.list(keys.DESCRIPTION_NAME)):
        raise _exists(keys.DESCRIPTION_NAME)
    for prefix in _CONTENT:
        for name in store.list(prefix):
            raise _exists(name)


def _require_passphrase(passphrase: Secret) -> None:
    if not passphrase.reveal():
        raise errors.RP003.error("found an empty passphrase, expected one, or none for a repository in the clear")


def _exists(name: str) -> errors.SafepointError:
    return errors.RP002.error(
        f"found {name} in the store, expected no repository there",
        hints=[
            errors.ask("is it the repository you want to use? Then it needs no creation"),
            errors.run("choose another folder; if safepoint.json alone was lost, put it back from a copy"),
        ],
    )


def _not_encrypted(description: keys.Description) -> errors.SafepointError:
    return errors.RP003.error(
        f"found repository {description.id} unencrypted, expected it to need the key that was given",
        hints=[
            errors.ask("is it the repository you mean, or was it put in the place of an encrypted one?"),
            errors.run("remove `key` from this repository's entry if it is meant to be readable by anybody"),
        ],
    )


def _needs_passphrase(description: keys.Description) -> errors.SafepointError:
    return errors.RP003.error(
        f"found repository {description.id} encrypted, expected a key and got none",
        hints=[errors.run('name it: `[repository.main] key = "env:SAFEPOINT_KEY"`')],
    )
