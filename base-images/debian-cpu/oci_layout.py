#!/usr/bin/env python3
"""Writes a root file system tar as a one-layer OCI image layout.

usage: oci_layout.py TAR LAYOUT TAG

The same tar gives the same digests: fixed times, no host name, gzip without name and time.
"""
import gzip
import hashlib
import json
import os
import sys

CREATED = "2023-06-10T00:00:00Z"
CHUNK = 1 << 20


class Tee:
    """A file that hashes and counts what is written to it."""

    def __init__(self, raw):
        self.raw, self.sha, self.size = raw, hashlib.sha256(), 0

    def write(self, data):
        self.sha.update(data)
        self.size += len(data)
        return self.raw.write(data)

    def flush(self):
        self.raw.flush()


def write_blob(layout, document):
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(layout, "blobs/sha256", digest), "wb") as out:
        out.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}


def write_layer(layout, tar):
    part = os.path.join(layout, "layer.part")
    diff = hashlib.sha256()
    with open(tar, "rb") as source, open(part, "wb") as raw:
        tee = Tee(raw)
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=tee, mtime=0) as packed:
            while chunk := source.read(CHUNK):
                diff.update(chunk)
                packed.write(chunk)
    os.rename(part, os.path.join(layout, "blobs/sha256", tee.sha.hexdigest()))
    return "sha256:" + diff.hexdigest(), {"digest": "sha256:" + tee.sha.hexdigest(), "size": tee.size}


def main():
    tar, layout, tag = sys.argv[1:]
    os.makedirs(os.path.join(layout, "blobs/sha256"), exist_ok=True)
    diff_id, layer = write_layer(layout, tar)
    config = write_blob(layout, {
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
            "Cmd": ["bash"],
            "Labels": {"org.opencontainers.image.title": "Debian 12 (bookworm) from Debian's archive"},
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": CREATED, "created_by": "mmdebstrap bookworm"}],
    })
    manifest = write_blob(layout, {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **layer}],
    })
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "annotations": {"org.opencontainers.image.ref.name": tag},
        "platform": {"architecture": "amd64", "os": "linux"},
        **manifest,
    }
    with open(os.path.join(layout, "index.json"), "w", encoding="utf-8") as out:
        json.dump({"schemaVersion": 2, "manifests": [entry]}, out)
    with open(os.path.join(layout, "oci-layout"), "w", encoding="utf-8") as out:
        json.dump({"imageLayoutVersion": "1.0.0"}, out)
    print(manifest["digest"])


if __name__ == "__main__":
    main()
