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
from safepoint.workflows.project import Project

CREATE_ACTION = "repository.create"


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
        warnings=() if repository.key is None else (warning,),
    )
    return RepositoryCreation(plan=plan, project=project, name=repository.name)


def make_or_open(url: str, passphrase: Secret | None) -> JsonObject:
    """A repository is at `url` and opens with the passphrase; RP003 when one is there that does not."""
    store = open_store(url)
    try:
        repository = create_repository(store, passphrase)
    except SafepointError as error:
        if error.spec is not errors.RP002:
            raise
        return {"repository": open_repository(store, passphrase).id, "is_new": False}
    return {"repository": repository.id, "is_new": True}
