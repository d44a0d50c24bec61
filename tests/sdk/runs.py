"""Runs: their environments, read with the SDK of any release; with the newest, a run that logs and ends."""

import copy
import json
import os
import sys

import requests
from workspace import URL, workspace

from azureml.core import Environment, Experiment, Run

HISTORY = (
    "/history/v1.0/subscriptions/sub/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/ws"
)
seen = {}
ws = workspace()
env = Environment("myenv")
env.docker.base_image = os.environ["KILN_BASE"]
env = env.register(ws)
whole = Environment._serialize_to_dict(env)


def submitted(run, environment):
    """Makes a run known as a submission does, with its whole definition."""
    definition = {"script": "train.py", "arguments": ["--alpha", 0.5], "target": "local", "environment": environment}
    url = "{}{}/experiments/my-experiment/runs/{}".format(URL, HISTORY, run)
    body = {"runId": run, "scriptName": "train.py", "target": "local", "runDefinition": definition}
    answer = requests.patch(url, json=body)
    seen[run] = answer.status_code
    return answer.json()


def changed(**variables):
    """The environment without a name, with other variables."""
    other = copy.deepcopy(whole)
    other.update(name=None, version=None, environmentVariables=variables)
    return other


submitted("by-version", whole)
submitted("by-reference", {"name": "myenv", "version": "1"})
submitted("unnamed-1", changed(A="1"))
submitted("unnamed-2", changed(A="2"))
submitted("unnamed-3", changed(A="1"))
submitted("nowhere", {"name": "myenv", "version": "7"})
submitted("by-reference", {"name": "myenv", "version": "1"})

exp = Experiment(ws, "my-experiment")
for run in ("by-version", "by-reference", "unnamed-1", "unnamed-2", "unnamed-3"):
    found = Run(exp, run).get_environment()
    seen["environment of " + run] = (found.name, found.version, found.environment_variables.get("A"))
submitted_run = Run(exp, "by-version")
seen["status"] = submitted_run.get_status()
seen["details"] = submitted_run.get_details()["runDefinition"]["arguments"]

if sys.argv[1] != "2019":
    run = exp.start_logging(outputs=None, snapshot_directory=None)
    run.log("alpha", 0.5)
    run.log_list("losses", [3, 2, 1])
    run.tag("kind", "test")
    run.add_properties({"a": "b"})
    run.flush()
    seen["metrics"] = run.get_metrics()
    run.complete()
    again = next(iter(exp.get_runs()))
    seen["newest"] = again.id == run.id
    seen["ended"] = (again.get_status(), again.get_tags(), again.get_properties().get("a"))
    failing = exp.start_logging(outputs=None, snapshot_directory=None)
    failing.fail(error_details="it broke")
    seen["failed"] = (failing.get_status(), failing.get_details()["error"]["error"]["message"])
    seen["runs"] = len(list(exp.get_runs()))
    seen["experiments"] = [experiment.name for experiment in Experiment.list(ws)]
print("== seen")
print(json.dumps(seen))
