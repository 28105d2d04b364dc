"""What `backup` says it did: where it read, how it found what had changed, and why it was the slower way."""

from __future__ import annotations

import pytest

from projects import Project

pytestmark = pytest.mark.pg("17")


@pytest.mark.parametrize("source", ["files", "stream"])
def test_a_backup_names_its_source_and_its_detection(own: Project, source: str) -> None:
    """In the facts for people and in the JSON for programs; the reason stands with the slower way."""
    facts = dict(
        line.split(maxsplit=1) for line in own.shell.safepoint("backup", "--source", source).out.splitlines() if line
    )
    told = own.shell.safepoint("backup", "--source", source, "--json").json

    assert facts["source"] == source
    assert facts["changes"].startswith("read and compared: ")
    assert (told["source"], told["detection"]) == (source, "read and compared")
    assert told["detection_reason"] != ""
    assert told["damaged_pages"] == []
