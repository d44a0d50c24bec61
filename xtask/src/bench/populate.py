"""Fills a registry with the images of environments, as an earlier kiln would have left them.

populate.py KILN REGISTRY/PREFIX FOLDER COUNT

Writes FOLDER/bodies: the bodies of POST /v1/builds, a line each. The images have no layers: what is
measured is how hits are answered.
"""

import concurrent.futures
import hashlib
import http.client
import json
import pathlib
import subprocess
import sys

KILN, REGISTRY, FOLDER, COUNT = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), int(sys.argv[4])
HOST, PREFIX = REGISTRY.split("/", 1)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def environment(number):
    """An environment of fifty packages, different from all others in one version."""
    packages = "".join(f"  - package-{n}={n % 7}.{n % 5}\n" for n in range(39))
    pip = "".join(f"      - wheel-{n}=={n % 9}.{n % 4}.1\n" for n in range(10))
    text = f"channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n{packages}  - numpy=1.{number}\n  - pip:\n{pip}"
    return text.replace("      - ", "    - ")


def send(connection, method, path, body=b"", headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status}")
    return answer.headers


def blob(connection, repository, data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    location = send(connection, "POST", f"/v2/{repository}/blobs/uploads/")["Location"]
    path = location.split(HOST, 1)[-1]
    mark = "&" if "?" in path else "?"
    send(connection, "PUT", f"{path}{mark}digest={digest}", data, {"Content-Type": "application/octet-stream"})
    return {"digest": digest, "size": len(data)}


def populate(number):
    text = environment(number)
    known = subprocess.run(
        [KILN, "hash", "-", "--kind", "conda", "--json"],
        input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
    )
    known = json.loads(known.stdout)
    labels = {"io.kiln.spec-hash": known["spec_hash"], "io.kiln.backend": "docker"}
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": []},
    }).encode()
    connection = http.client.HTTPConnection(HOST)
    repository = f"{PREFIX}/{known['name']}"
    descriptor = blob(connection, repository, config)
    descriptor["mediaType"] = "application/vnd.oci.image.config.v1+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor, "layers": []}).encode()
    for tag in ("1", "latest"):
        send(connection, "PUT", f"/v2/{repository}/manifests/{tag}", manifest, {"Content-Type": MANIFEST})
    connection.close()
    return json.dumps({"conda": text})


with concurrent.futures.ThreadPoolExecutor(4) as pool:
    bodies = list(pool.map(populate, range(COUNT)))
(FOLDER / "bodies").write_text("\n".join(bodies) + "\n")
