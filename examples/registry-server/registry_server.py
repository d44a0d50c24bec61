#!/usr/bin/env python3
"""What a platform's registry server does with kiln: names an environment, gets its image, follows the log.

    registry_server.py http://127.0.0.1:8470 register sklearn examples/scikit-learn/requirements.txt
    registry_server.py http://127.0.0.1:8470 image sklearn
    registry_server.py http://127.0.0.1:8470 image sklearn --by webhook
    registry_server.py nats://127.0.0.1:4222 image sklearn --by queue

By HTTP it asks and follows the log. By webhook it sends a signed message to kiln's source `platform` and waits for
kiln's signed event; by queue it does both through NATS JetStream. Only the standard library is used. The environments it
keeps are one JSON file.

    ENVIRONMENTS          the file, environments.json by default
    KILN_TOKEN            a token of kiln's, where kiln asks for one
    KILN_SOURCE_SECRET    `whsec_...`, the secret of the source `platform`
    KILN_CALLBACK_SECRET  `whsec_...`, what `kiln hooks callback-secret` prints
"""

import json
import os
import sys
import urllib.error
import urllib.request
import uuid

from nats import Connection
from webhook import Inbox, headers

ENVIRONMENTS = os.environ.get("ENVIRONMENTS", "environments.json")


def call(server, method, path, body, more=None):
    """One request to kiln; its errors carry a class, a message and a remedy."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(more or {})}
    if token := os.environ.get("KILN_TOKEN"):
        sent["Authorization"] = "Bearer " + token
    request = urllib.request.Request(server + path, data, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=660) as answer:
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


def by_http(server, document):
    """Gets or creates, and follows the log meanwhile."""
    status = call(server, "POST", "/v1/builds", document)
    if status["state"] not in ("READY", "FAILED", "CANCELLED"):
        follow(server, status["build_id"])
        status = call(server, "POST", "/v1/builds", {**document, "wait": 600})
    return status


def request(document, **more):
    """The CloudEvent that asks for a build."""
    return {
        "specversion": "1.0",
        "type": "io.kiln.build.requested",
        "id": str(uuid.uuid4()),
        "source": "/registry-server",
        "data": document,
        **more,
    }


def outcome(events):
    """The status in the first event that tells how a build ended."""
    for event in events:
        kind = event["type"].removeprefix("io.kiln.build.")
        print(f"  {kind}", file=sys.stderr)
        if kind in ("ready", "failed", "cancelled"):
            return event["data"]


def by_webhook(server, document):
    """Sends a signed message, and waits for the signed event that tells the end."""
    inbox = Inbox(os.environ["KILN_CALLBACK_SECRET"])
    event = request({**document, "callback": inbox.url})
    body = json.dumps(event).encode()
    signed = headers(os.environ["KILN_SOURCE_SECRET"], event["id"], body)
    signed["Content-Type"] = "application/cloudevents+json"
    # The same id and body may be sent any number of times: it is one build.
    call(server, "POST", "/v1/hooks/platform", body, signed)
    # The event comes also when the image is known already.
    status = outcome(iter(lambda: inbox.events.get(timeout=660), None))
    inbox.close()
    return status


def by_queue(server, document):
    """Publishes the request; what becomes of it is published to the subject it names."""
    broker = Connection(server)
    subject = f"kiln.results.{uuid.uuid4()}"
    broker.subscribe(subject)
    event = request(document, kilnreplyto=subject)
    broker.store("kiln.builds", json.dumps(event).encode(), event["id"])
    messages = iter(broker.message, None)
    status = outcome(json.loads(body) for to, body in messages if to == subject)
    broker.close()
    return status


WAYS = {"http": by_http, "webhook": by_webhook, "queue": by_queue}


def image(server, name, way):
    """Gets or creates the image, and prints `HOST/azureml/azureml_<hash>@sha256:...`."""
    environments = load()
    if name not in environments:
        sys.exit(f"there is no environment `{name}`; register it first")
    status = WAYS[way](server, environments[name])
    if status["state"] != "READY":
        error = status["error"]
        sys.exit(f"{error['class']}: {error['message']}\n  help: {error['remedy']}")
    print(status["image"])


def main():
    arguments = sys.argv[1:]
    if len(arguments) == 4 and arguments[1] == "register":
        register(*arguments[2:])
    elif len(arguments) == 3 and arguments[1] == "image":
        image(arguments[0].rstrip("/"), arguments[2], "http")
    elif len(arguments) == 5 and arguments[1::2] == ["image", "--by"] and arguments[4] in WAYS:
        image(arguments[0].rstrip("/"), arguments[2], arguments[4])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
