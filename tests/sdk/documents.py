"""Sends every document of the folders that are named to be registered, reads it back and sends it back."""

import glob
import json
import re
import sys

import requests
from workspace import URL, workspace

from azureml.core import Environment

PATH = (
    "/environment/v1.0/subscriptions/sub/resourceGroups/rg/providers/Microsoft.MachineLearningServices"
    "/workspaces/ws/environments/"
)
# What a registration does not keep: its own name and version, and a section that no release sends.
OUTSIDE = {"name", "version", "assetid", "databricks"}
SECRETS = {"password", "authToken"}


def kept(value, key=None):
    """A part of a document as it is to be read back."""
    if key in SECRETS:
        return None
    if key == "baseImageRegistry" and isinstance(value, str):
        value = {"address": value}
    if isinstance(value, dict):
        return {key: kept(part, key) for key, part in value.items()}
    if isinstance(value, list):
        return [kept(part) for part in value]
    if key == "locationType":
        # As the SDK spells it, which takes no other.
        return value[:1].lower() + value[1:]
    if isinstance(value, str):
        # Credentials of an address, and a shared access signature.
        value = re.sub(r"//[^/@\s]+:[^/@\s]+@", "//", value)
        value = re.sub(r"\?sv=\S*", "", value)
    return value


def difference(sent, read, path=""):
    """Where what is read says less or other than what was sent; what it says more is a default."""
    if isinstance(sent, dict) and isinstance(read, dict):
        spelled = {key.lower(): value for key, value in read.items()}
        return [
            found
            for key, value in sent.items()
            for found in difference(value, spelled.get(key.lower()), path + "/" + key)
        ]
    return [] if sent == read else ["{}: {!r} is {!r}".format(path, sent, read)]


ws = workspace()
seen = {}
for number, path in enumerate(path for folder in sys.argv[1:] for path in sorted(glob.glob(folder + "/*.json"))):
    with open(path, "rb") as file:
        sent = file.read()
    name = "document {}".format(number)
    url = URL + PATH + requests.utils.quote(name)
    answer = requests.put(url, data=sent, headers={"Content-Type": "application/json"})
    entry = seen[path] = {"name": name, "status": answer.status_code}
    if answer.status_code != 200:
        entry["message"] = answer.text
        continue
    document = {key: value for key, value in json.loads(sent).items() if key.lower() not in OUTSIDE}
    entry["difference"] = difference(kept(document), requests.get(url).json())
    read = Environment.get(ws, name)
    # `build` registers what it was given before it builds it.
    entry["again"] = read.register(ws).version
    read.version = None
    entry["newest"] = read.register(ws).version
    cloned = read.clone("clone of " + name).register(ws)
    entry["clone"] = cloned.version
print("== seen")
print(json.dumps(seen))
