"""`migrate deploy`: a plan of gate, ledger and units, and the actions that carry it out under lock budgets.

Wired by a workflow as `plan = plan_deploy(url, folder, ...)`, then within `open_deployment(url, plan, ...) as
deployment`: `execute(plan, actions=deploy_actions(deployment, safety=...), journal=deployment.journal)`.
"""

from safepoint.migration.deploy.actions import deploy_actions
from safepoint.migration.deploy.deployment import Deployment, open_deployment
from safepoint.migration.deploy.plan import plan_deploy
from safepoint.migration.deploy.settings import DeploySettings, LockBudget
from safepoint.migration.deploy.survey import Survey, survey

__all__ = [
    "DeploySettings",
    "Deployment",
    "LockBudget",
    "Survey",
    "deploy_actions",
    "open_deployment",
    "plan_deploy",
    "survey",
]
