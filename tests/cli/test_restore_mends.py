"""A restore that meets damage in the repository says what mends it, and what else could be restored."""

from __future__ import annotations

from pathlib import Path

import pytest

from projects import Project, back_up

pytestmark = pytest.mark.pg("17")


def test_damage_names_the_repair(own: Project, server_root: Path) -> None:
    """With the repository as it was named, key and all; the command that fetches from a copy comes after a question."""
    back_up(own)
    pack = max(
        (path for path in (own.repository / "packs").rglob("*") if path.is_file()), key=lambda at: at.stat().st_size
    )
    content = bytearray(pack.read_bytes())
    content[len(content) // 3] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    place = f"--repository file:{own.repository} --key none"

    said = own.shell.safepoint(
        "restore", *place.split(), "--to", "latest", "--into", str(server_root / "copy"), ends=13
    )

    assert "hint: does another repository hold a copy" in said.err
    assert f"`safepoint repository repair --from NAME|URL {place}`" in said.err
    assert f"`safepoint backups shop {place}`" in said.err
