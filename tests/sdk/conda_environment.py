"""An environment of what a conda environment on this machine has: run where a conda is.

usage: conda_environment.py SDK: the SDK's folder, which conda's own python must not see.
"""

import json
import os
import subprocess
import sys

SDK = sys.argv[1]
CHANNEL = os.environ["KILN_CHANNEL"]
sys.path.insert(0, SDK)

from workspace import workspace  # noqa: E402

from azureml.core import Environment  # noqa: E402

create = ["conda", "create", "--yes", "--quiet", "--name", "trained", "--override-channels", "--channel", CHANNEL]
subprocess.run([*create, "python=3.11", "requests"], check=True, stdout=subprocess.DEVNULL)
installed = subprocess.check_output(["conda", "list", "--name", "trained", "--json"])
installed = {package["name"]: package["version"] for package in json.loads(installed)}

ws = workspace()
env = Environment.from_existing_conda_environment("trained", "trained")
missing = Environment.from_existing_conda_environment("missing", "missing")
env.docker.base_image = os.environ["KILN_BASE"]
env = env.register(ws)
build = env.build(ws)
build.wait_for_completion(show_output=False)
print("== seen")
print(
    json.dumps(
        {
            "version": env.version,
            "missing": missing,
            "status": build.status,
            "image": env.get_image_details(ws).image,
            "requests": installed["requests"],
        }
    )
)
