"""`safepoint repository init`: the repositories that a strategy file names come to be."""

from __future__ import annotations

from dataclasses import dataclass

from safepoint import errors
from safepoint.errors import SafepointError
from safepoint.model.json_value import JsonObject
from safepoint.model.secret import Secret
from safepoint.repository import create_repository, open_repository
from safepoint.steps.execute import Context, Observer, Run, execute
from safepoint.steps.journal import MemoryJournal
from safepoint.steps.plan import Plan, Step
from safepoint.stores import open_store
from safepoint.stores.probe import require_capabilities
from safepoint.workflows.project import Project

CREATE_ACTION = "repository.create"
_ONE_WRITER = (
    "this store has no conditional put: only one safepoint at a time may write to the repository, from one host; "
    "nothing but care keeps a second one away, and two at once can replace each other's objects"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryCreation:
    """A planned creation of one repository of the strategy."""

    plan: Plan
    project: Project
    name: str

    def execute(self, observer: Observer) -> Run:
        """The repository is there and opens with its key, made now or before."""
        return execute(self.plan, actions={CREATE_ACTION: self._create}, journal=MemoryJournal(), observer=observer)

    def _create(self, _step: Step, _context: Context) -> JsonObject:
        repository = self.project.strategy.repository(self.name)
        return make_or_open(self.project.repository_url(repository), self.project.repository_key(repository))


def prepare_creation(project: Project, name: str | None) -> RepositoryCreation:
    """The plan to make the repository of that name, or the first; CF004, CF006."""
    repository = project.strategy.repository(name)
    url = project.repository_url(repository)
    step = Step(
        name="create",
        action=CREATE_ACTION,
        title=f"create or open the repository {url}",
        arguments={"repository": repository.name},
    )
    key = "none: whoever reads the store reads the data" if repository.key is None else str(repository.key)
    warning = f"whoever loses the key {repository.key} loses every backup: keep a copy of it elsewhere"
    plan = Plan(
        verb="repository init",
        subject=repository.name,
        title=f"make repository {repository.name}",
        steps=(step,),
        facts=(("url", url), ("key", key)),
        warnings=(*store_warnings(url), *(() if repository.key is None else (warning,))),
    )
    return RepositoryCreation(plan=plan, project=project, name=repository.name)


def make_or_open(url: str, passphrase: Secret | None) -> JsonObject:
    """A repository is at `url` and opens with the passphrase; RP003 when one is there that does not.

    RP002 when something is there that is none. ST007 when the store cannot do what a repository needs; one that is
    there already is not asked, so that it opens with credentials that may only read.
    """
    store = open_store(url)
    try:
        return {"repository": open_repository(store, passphrase).id, "is_new": False}
    except SafepointError as error:
        if error.spec is not errors.RP001:
            raise
    require_capabilities(store)
    return {"repository": create_repository(store, passphrase).id, "is_new": True}


def store_warnings(url: str) -> list[str]:
    """What a person must know before a repository is made at `url`; ST003 when that cannot be a store."""
    return [] if open_store(url).capabilities.conditional_put else [_ONE_WRITER]
