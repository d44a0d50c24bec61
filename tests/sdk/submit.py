"""Submits scripts to this very machine, with and without Docker, and says what became of them as JSON."""

import json
import os
import sys
import time

from workspace import workspace

from azureml.core import Environment, Experiment, ScriptRunConfig
from azureml.core.conda_dependencies import CondaDependencies
from azureml.core.runconfig import DataReferenceConfiguration

OLD = sys.argv[1] == "2019"
SCRIPT = """
import os, sys, time
print("arguments", sys.argv[1:], os.environ.get("A"))
print("python", sys.prefix, os.getcwd())
with open("outputs/model.txt", "w") as out:
    out.write(open("data/numbers.txt").read())
if "wait" in sys.argv:
    print("waiting", flush=True)
    time.sleep(600)
if "bad" in sys.argv:
    raise ValueError("alpha is bad")
time.sleep(1)
"""
seen = {}
ws = workspace()
exp = Experiment(ws, "submitted")
source = os.path.join(os.environ["HOME"], "source")
os.makedirs(os.path.join(source, "data"))
with open(os.path.join(source, "train.py"), "w") as out:
    out.write(SCRIPT)
with open(os.path.join(source, "data", "numbers.txt"), "w") as out:
    out.write("1 2 3")


def environment(name, **settings):
    """Python from the test bed's channel, or the machine's own."""
    env = Environment(name)
    env.docker.base_image = os.environ["KILN_BASE"]
    env.environment_variables = {"A": "1"}
    env.python.conda_dependencies = CondaDependencies(
        conda_dependencies_file_path=None,
        _underlying_structure={"channels": [os.environ["KILN_CHANNEL"]], "dependencies": ["python=3.11"]},
    )
    env.docker.enabled = settings.get("docker", False)
    if settings.get("own"):
        env.python.user_managed_dependencies = True
        env.python.interpreter_path = sys.executable
    return env


def submitted(env, *arguments):
    """A run of the script."""
    config = ScriptRunConfig(source_directory=source, script="train.py", arguments=list(arguments))
    config.run_config.target = "local"
    config.run_config.environment = env
    return exp.submit(config)


def told(run):
    """What a run that is over was and left."""
    details = run.get_details()
    found = run.get_environment()
    return {
        "id": run.id,
        "status": run.get_status(),
        "environment": (found.name, found.version),
        "snapshot": details["properties"].get("ContentSnapshotId") is not None,
    }


print("== refused")
for refused in ("target", "data"):
    config = ScriptRunConfig(source_directory=source, script="train.py")
    config.run_config.environment = environment("own", own=True)
    config.run_config.target = "local"
    if refused == "target":
        config.run_config.target = "cpu-cluster"
    elif OLD:
        continue
    else:
        config.run_config.data_references = {"ds": DataReferenceConfiguration(datastore_name="ds")}
    try:
        exp.submit(config)
    except Exception as error:
        seen["refused " + refused] = str(error)
print("== prepared")
run = submitted(environment("prepared"), "--alpha", 0.5)
run.wait_for_completion(show_output=True)
seen["prepared"] = told(run)
print("== docker")
run = submitted(environment("docker", docker=True), "a b", "$(id)")
run.wait_for_completion(show_output=True)
seen["docker"] = told(run)
print("== failed")
run = submitted(environment("own", own=True), "bad")
try:
    run.wait_for_completion(show_output=True)
except Exception as error:
    seen["error"] = str(error)
seen["failed"] = told(run)
print("== cancelled")
run = submitted(environment("own", own=True), "wait")
while run.get_status() not in ("Running", "Failed", "Completed"):
    time.sleep(0.2)
run.cancel()
for _ in range(100):
    if run.get_status() == "Canceled":
        break
    time.sleep(0.2)
seen["cancelled"] = told(run)
print("== seen")
print(json.dumps(seen))
