"""The acts, in order; each is one function of the story."""

from __future__ import annotations

from collections.abc import Callable

from vivr_demo.acts.backing_up import back_up
from vivr_demo.acts.complete_loss import lose_everything
from vivr_demo.acts.lost_directory import lose_the_directory
from vivr_demo.acts.migrating import migrate
from vivr_demo.acts.mistake import make_a_mistake
from vivr_demo.acts.opening import open_the_shop
from vivr_demo.story import Story

ACTS: tuple[tuple[str, Callable[[Story], None]], ...] = (
    ("The shop opens: a database, its migrations, its customers", open_the_shop),
    ("It is backed up, and its WAL streams into the repository", back_up),
    ("A release: one harmless migration, one dangerous", migrate),
    ("A person deletes a day of orders", make_a_mistake),
    ("The data directory is lost", lose_the_directory),
    ("Everything is lost but the repository and its key", lose_everything),
)
