#!/usr/bin/env python3
"""Writes an image into an OCI image layout from root file system tars.

usage: oci_layout.py LAYOUT TAG [--from TAG] [--layer TAR]... [--config FILE] [--title TEXT]

`--from` starts with an image of the same layout, each `--layer` is added above it, and the JSON object of `--config` is merged
into the image config: `Env` by variable, everything else replaced. The same input gives the same digests: fixed times, no host
name, gzip without name and time. Prints the manifest's digest.
"""
import argparse
import gzip
import hashlib
import json
import os

CREATED = "2023-06-10T00:00:00Z"
CHUNK = 1 << 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DEFAULT_CONFIG = {
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
    "Cmd": ["bash"],
}


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


class Layout:
    """An OCI image layout folder, made when it is not there."""

    def __init__(self, path):
        self.path = path
        os.makedirs(os.path.join(path, "blobs/sha256"), exist_ok=True)
        self.replace("oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())

    def blob(self, digest):
        return os.path.join(self.path, "blobs/sha256", digest.removeprefix("sha256:"))

    def replace(self, name, data):
        path = os.path.join(self.path, name)
        with open(path + ".part", "wb") as out:
            out.write(data)
        os.rename(path + ".part", path)

    def read(self, digest):
        with open(self.blob(digest), "rb") as source:
            return json.load(source)

    def index(self):
        try:
            with open(os.path.join(self.path, "index.json"), "rb") as source:
                return json.load(source)
        except FileNotFoundError:
            return {"schemaVersion": 2, "manifests": []}

    def write_json(self, media_type, document):
        data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.replace("blobs/sha256/" + digest, data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def write_layer(self, tar):
        """Packs one tar; returns its diff_id and descriptor."""
        part, diff = os.path.join(self.path, "layer.part"), hashlib.sha256()
        with open(tar, "rb") as source, open(part, "wb") as raw:
            tee = Tee(raw)
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=tee, mtime=0) as packed:
                while chunk := source.read(CHUNK):
                    diff.update(chunk)
                    packed.write(chunk)
        digest = "sha256:" + tee.sha.hexdigest()
        os.rename(part, self.blob(digest))
        media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
        return "sha256:" + diff.hexdigest(), {"mediaType": media_type, "digest": digest, "size": tee.size}

    def image(self, tag):
        """The manifest and config of a tag."""
        for entry in self.index()["manifests"]:
            if entry["annotations"]["org.opencontainers.image.ref.name"] == tag:
                manifest = self.read(entry["digest"])
                return manifest, self.read(manifest["config"]["digest"])
        raise SystemExit(f"no image {tag} in {self.path}")

    def tag(self, tag, descriptor):
        index = self.index()
        name = "org.opencontainers.image.ref.name"
        index["manifests"] = [m for m in index["manifests"] if m["annotations"][name] != tag]
        platform = {"architecture": "amd64", "os": "linux"}
        index["manifests"].append({**descriptor, "annotations": {name: tag}, "platform": platform})
        self.replace("index.json", json.dumps(index, indent=1).encode())


def merge(config, overlay):
    env = dict(item.split("=", 1) for item in config.get("Env", ()))
    env.update(item.split("=", 1) for item in overlay.get("Env", ()))
    return {**config, **overlay, "Env": [f"{name}={value}" for name, value in env.items()]}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("layout")
    arguments.add_argument("tag")
    arguments.add_argument("--from", dest="base")
    arguments.add_argument("--layer", action="append", default=[])
    arguments.add_argument("--config")
    arguments.add_argument("--title", default="")
    arguments = arguments.parse_args()

    layout = Layout(arguments.layout)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}
    image = {
        "architecture": "amd64", "os": "linux", "created": CREATED, "config": DEFAULT_CONFIG, "history": [],
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    if arguments.base:
        manifest, image = layout.image(arguments.base)
    for tar in arguments.layer:
        diff_id, layer = layout.write_layer(tar)
        manifest["layers"].append(layer)
        image["rootfs"]["diff_ids"].append(diff_id)
        image["history"].append({"created": CREATED, "created_by": "layer " + os.path.basename(tar)})
    overlay = {"Labels": {"org.opencontainers.image.title": arguments.title}} if arguments.title else {}
    if arguments.config:
        with open(arguments.config, "rb") as source:
            overlay = {**overlay, **json.load(source)}
        image["history"].append({"created": CREATED, "created_by": "config", "empty_layer": True})
    image["config"] = merge(image["config"], overlay)
    manifest["config"] = layout.write_json("application/vnd.oci.image.config.v1+json", image)
    descriptor = layout.write_json(MANIFEST, manifest)
    layout.tag(arguments.tag, descriptor)
    print(descriptor["digest"])


if __name__ == "__main__":
    main()
