"""Private wheels by the SDK: `WHEEL` is uploaded with TLS, and an environment with it is built."""

import json
import os
import shutil

import storage  # noqa: F401  (its names lead to kiln)
from workspace import workspace

from azureml.core import Environment
from azureml.core.conda_dependencies import CondaDependencies

ws = workspace()
seen = {}
wheel = os.environ["WHEEL"]
seen["url"] = Environment.add_private_pip_wheel(ws, wheel)
seen["again"] = Environment.add_private_pip_wheel(ws, wheel, exist_ok=True)
try:
    Environment.add_private_pip_wheel(ws, wheel)
except Exception as error:
    seen["twice"] = str(error)
bad = os.path.join(os.path.dirname(wheel), "my wheel.whl")
shutil.copy(wheel, bad)
try:
    Environment.add_private_pip_wheel(ws, bad)
except Exception as error:
    seen["bad name"] = str(error)

environment = Environment("with-private-wheel")
dependencies = CondaDependencies()
for requirement in list(dependencies.pip_packages):
    dependencies.remove_pip_package(requirement)
for option in list(getattr(dependencies, "pip_options", [])):
    dependencies.remove_pip_option(option)
for channel in list(dependencies.conda_channels):
    dependencies.remove_channel(channel)
dependencies.add_channel(os.environ["KILN_CHANNEL"])
dependencies.set_python_version("3.11")
dependencies.set_pip_option("--index-url " + os.environ["KILN_INDEX"])
dependencies.add_pip_package(seen["url"])
environment.python.conda_dependencies = dependencies
environment.docker.base_image = os.environ["KILN_BASE"]
environment.register(ws)
build = Environment.get(ws, "with-private-wheel").build(ws)
ended = build.wait_for_completion(show_output=True)
seen["status"] = build.status if hasattr(build, "status") else ended.status
local = Environment.get(ws, "with-private-wheel")
try:
    local.build_local(ws, useDocker=False)
except TypeError:
    local.build_local(ws)
prepared = sorted(os.listdir(os.path.expanduser("~/.azureml/envs")))
python = os.path.expanduser("~/.azureml/envs/" + prepared[0] + "/bin/python")
seen["local"] = os.popen(python + " -c 'import private_thing; print(private_thing.WORD)'").read().strip()
details = Environment.get(ws, "with-private-wheel").get_image_details(ws)
image = details["dockerImage"] if isinstance(details, dict) else details.dockerImage
registry = image["registry"]
address = registry["address"] if isinstance(registry, dict) else registry.address
seen["image"] = address + "/" + image["name"]
print("== seen")
print(json.dumps(seen))
