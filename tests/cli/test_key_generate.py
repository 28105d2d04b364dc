"""`safepoint repository key generate`: a key on stdout, kept nowhere, that opens what is made with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from safepoint import errors
from safepoint.model.secret import Secret
from safepoint.repository.sealing.printed_key import KeyForm, form_of
from safepoint.workflows.passphrases import require_strong, weakness_warnings
from shell import Shell, shell_in


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """An empty folder."""
    return shell_in(tmp_path)


def test_it_prints_one_key_and_touches_nothing(shell: Shell) -> None:
    """The key alone on stdout, so that `$(...)` takes it; what to do with it on stderr; another one each time."""
    said, again = (shell.safepoint("repository", "key", "generate") for _ in range(2))

    (line,) = said.out.splitlines()
    assert form_of(Secret(line)) is KeyForm.GENERATED
    assert line not in again.out
    assert said.err.startswith("hint: it is kept nowhere")
    assert list(shell.folder.iterdir()) == []


def test_as_json_it_makes_and_opens_a_repository(shell: Shell) -> None:
    """No word about a weak passphrase, and one slot of its kind."""
    key = shell.safepoint("repository", "key", "generate", "--json").json["key"]
    keyed, place = shell.knowing(SAFEPOINT_KEY=key), ("--repository", "file:new")

    made = keyed.safepoint("repository", "init", *place)
    (slot,) = keyed.safepoint("repository", "key", "list", *place, "--json").json

    assert "characters" not in made.err
    assert slot["kind"] == "generated"
    wrong = shell.knowing(SAFEPOINT_KEY=key[:-1] + ("2" if key[-1] == "3" else "3"))
    told = wrong.safepoint("repository", "key", "list", *place, ends=11)
    assert told.error == "RP003"
    assert "group 13 of the generated key" in told.err


def test_one_that_is_generated_is_not_judged() -> None:
    """Not even the one of all zeros, which would count as few characters."""
    zeros = Secret("KEY" + "-00000" * 13)

    require_strong(zeros, "env:KEY")

    assert weakness_warnings(zeros, "env:KEY") == []


def test_a_weak_passphrase_is_told_of_the_verb() -> None:
    """In the refusal and in the remark."""
    with pytest.raises(errors.Refused) as refused:
        require_strong(Secret("hunter2"), "env:KEY")

    (remark,) = weakness_warnings(Secret("hunter2"), "env:KEY")
    for told in (" ".join(hint.text for hint in refused.value.hints), remark):
        assert "`safepoint repository key generate`" in told
