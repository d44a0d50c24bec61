"""A workspace as Azure's resource manager tells it, with a JWT as the token; and one that is not the caller's."""

import json
import os

from workspace import URL

from azureml.core import Environment, Workspace
from azureml.core.authentication import TokenAuthentication


class Jwt(TokenAuthentication):
    """The SDK's own way to send a token, with kiln in the place of Azure's resource manager."""

    def _get_all_subscription_ids(self):
        return [], "tenant"

    def _check_if_subscription_exists(self, *_args, **_kwargs):
        return True


auth = Jwt(lambda audience: os.environ["KILN_TOKEN"], cloud="AzureCloud")
auth._cloud_type.endpoints.resource_manager = URL
seen = {}

ws = Workspace("sub", "rg", "ws", auth=auth)
seen["registered"] = Environment("myenv").register(ws).version
seen["details"] = ws.get_details()["id"]

folder = os.path.join(os.environ["HOME"], "project")
os.makedirs(folder)
with open(os.path.join(folder, "config.json"), "w") as out:
    json.dump({"subscription_id": "sub", "resource_group": "rg", "workspace_name": "ws"}, out)
seen["from_config"] = Environment.get(Workspace.from_config(folder, auth=auth), "myenv").version

for name in ("other", "nothing"):
    try:
        Workspace("sub", "rg", name, auth=auth)
        seen[name] = "there"
    except Exception as error:
        seen[name] = str(error).replace(name, "NAME")
print("== seen")
print(json.dumps(seen))
