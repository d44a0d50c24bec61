#!/usr/bin/env python3
"""What a platform's registry server does with kiln: names an environment, gets its image, follows the log.

    registry_server.py http://127.0.0.1:8470 register sklearn examples/scikit-learn/requirements.txt
    registry_server.py http://127.0.0.1:8470 image sklearn

Only the standard library. The environments it keeps are one JSON file, ENVIRONMENTS (environments.json).
"""

import json
import os
import sys
import urllib.error
import urllib.request

ENVIRONMENTS = os.environ.get("ENVIRONMENTS", "environments.json")


def call(server, method, path, body=None):
    """One request to kiln; its errors carry a class, a message and a remedy."""
    request = urllib.request.Request(server + path, method=method)
    if token := os.environ.get("KILN_TOKEN"):
        request.add_header("Authorization", "Bearer " + token)
    data = None
    if body is not None:
        request.add_header("Content-Type", "application/json")
        data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, data, timeout=660) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        detail = json.load(error).get("error", {})
        sys.exit(f"kiln answers {error.code}: {detail.get('message')}\n  help: {detail.get('remedy')}")


def load():
    try:
        with open(ENVIRONMENTS, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def register(name, path):
    """Keeps a document under a name. What kind it is shows in its first lines."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if path.endswith(".json"):
        document = {"environment": json.loads(text)}
    elif path.endswith((".yml", ".yaml")):
        document = {"conda": text}
    else:
        document = {"requirements": text}
    environments = load()
    environments[name] = document
    temporary = ENVIRONMENTS + ".tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(environments, file, indent=1)
    os.replace(temporary, ENVIRONMENTS)
    print(f"registered {name}")


def follow(server, build_id):
    """Prints the build's log until the build is over; the stream ends by itself."""
    request = urllib.request.Request(f"{server}/v1/builds/{build_id}/logs?format=text")
    if token := os.environ.get("KILN_TOKEN"):
        request.add_header("Authorization", "Bearer " + token)
    with urllib.request.urlopen(request) as stream:
        for line in stream:
            print("  " + line.decode(errors="replace").rstrip(), file=sys.stderr)


def image(server, name):
    """Gets or creates the image, and prints `HOST/azureml/azureml_<hash>@sha256:...`."""
    environments = load()
    if name not in environments:
        sys.exit(f"there is no environment `{name}`; register it first")
    status = call(server, "POST", "/v1/builds", environments[name])
    if status["state"] not in ("READY", "FAILED", "CANCELLED"):
        follow(server, status["build_id"])
        status = call(server, "POST", "/v1/builds", {**environments[name], "wait": 600})
    if status["state"] != "READY":
        error = status["error"]
        sys.exit(f"{error['class']}: {error['message']}\n  help: {error['remedy']}")
    print(status["image"])


def main():
    arguments = sys.argv[1:]
    if len(arguments) == 4 and arguments[1] == "register":
        register(*arguments[2:])
    elif len(arguments) == 3 and arguments[1] == "image":
        image(arguments[0].rstrip("/"), arguments[2])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
