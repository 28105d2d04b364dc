"""Strategy files as tests write them, and what must be said of them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, settings

from safepoint.strategy import (
    Strategy,
    parse_strategy,
)

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
REPOSITORY = Path(__file__).parents[1]
GOLDEN = REPOSITORY / "tests/golden/strategy"
MINIMAL = '[database.shop]\nurl = "env:DATABASE_URL"\n'
WITH_REPOSITORY = MINIMAL + '[repository.main]\nurl = "file:/srv/backups"\nkey = "env:KEY"\n'


def parsed(text: str) -> Strategy:
    return parse_strategy(text, Path("/srv/shop/safepoint.toml"))
