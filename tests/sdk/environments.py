"""Registers, reads, lists, labels and builds environments with the real SDK, and says what it saw as JSON."""

import glob
import json
import os
import subprocess
import sys

from workspace import workspace

from azureml.core import Environment
from azureml.core.conda_dependencies import CondaDependencies

BASE, INDEX = os.environ["KILN_BASE"], os.environ["KILN_INDEX"]
seen = {}
ws = workspace()


def environment(name, *packages):
    """Pip packages from the test bed's index on its base image."""
    env = Environment(name)
    env.docker.base_image = BASE
    env.python.conda_dependencies = CondaDependencies(
        conda_dependencies_file_path=None,
        _underlying_structure={
            "name": "project_environment",
            "channels": ["nodefaults", os.environ["KILN_CHANNEL"]],
            "dependencies": ["python=3.11", {"pip": ["--index-url " + INDEX, *packages]}],
        },
    )
    env.environment_variables = {"FROM": "the SDK"}
    return env


first = environment("my env", "foo==1.0").register(ws)
seen["first"] = first.version
seen["again"] = environment("my env", "foo==1.0").register(ws).version
seen["second"] = environment("my env", "foo==1.1").register(ws).version
seen["python"] = first.python.conda_dependencies.serialize_to_string()

read = Environment.get(ws, "my env", version="1")
seen["read"] = (read.name, read.version, read.docker.base_image, read.environment_variables)
seen["equal"] = json.dumps(Environment._serialize_to_dict(read)["python"], sort_keys=True) == json.dumps(
    Environment._serialize_to_dict(first)["python"], sort_keys=True
)
seen["newest"] = Environment.get(ws, "my env").version
try:
    Environment.get(ws, "nothing")
except Exception as error:
    seen["missing"] = str(error)
# The SDK of 2019 sends names as they are: a slash would be a part of the path.
hard = "a b" if sys.argv[1] == "2019" else "a/b (c)"
environment(hard, "foo==1.0").register(ws)
seen["hard"] = Environment.get(ws, hard).name == hard
seen["list"] = sorted(Environment.list(ws))

if sys.argv[1] != "2019":
    Environment.label(ws, "my env", "1", ["stable"])
    seen["labelled"] = Environment.get(ws, "my env", label="stable").version



def image_details():
    """A mapping, whatever the SDK makes of the answer."""
    details = read.get_image_details(ws)
    return details if isinstance(details, dict) else vars(details)


def built(env, show_output):
    """Builds, and gives the last status."""
    build = env.build(ws)
    ended = build.wait_for_completion(show_output=show_output)
    return build.status if hasattr(build, "status") else ended.status


details = image_details()
seen["before"] = (details["imageExistsInRegistry"], details["ingredients"])
seen["status"] = built(read, True)
details = image_details()
seen["after"] = details["imageExistsInRegistry"]
seen["image"] = "{}/{}".format(details["dockerImage"]["registry"]["address"], details["dockerImage"]["name"])
seen["interpreter"] = details["pythonEnvironment"]["interpreterPath"]
seen["dockerfile"] = details["ingredients"]["dockerfile"]
seen["cached"] = built(read, False)
if sys.argv[1] != "2019":
    seen["text"] = "{!r} {} {}".format(details, details.image, details.dockerfile)
    on_compute = environment("on compute", "foo==1.0").build(ws, image_build_compute="a-cluster")
    on_compute.wait_for_completion(show_output=False)
    seen["on compute"] = on_compute.status
    seen["shares"] = Environment.get(ws, "on compute").get_image_details(ws).image == seen["image"]

failing = environment("failing", "there-is-no-such-package==1.0").register(ws)
print("== failing")
seen["failed"] = built(failing, True)
print("== local")
if sys.argv[1] == "2019":
    read.build_local(ws)
else:
    read.build_local(ws, useDocker=False)
    read.build_local(ws, useDocker=True)
folder = glob.glob(os.path.expanduser("~/.azureml/envs/azureml_*"))[0]
python = subprocess.run([folder + "/bin/python", "-c", "import foo; print(foo.__file__)"], stdout=subprocess.PIPE, text=True)
seen["local"] = python.stdout.strip().startswith(folder)
print("== seen")
print(json.dumps(seen))
