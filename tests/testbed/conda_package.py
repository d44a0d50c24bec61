"""Writes conda packages and channel indexes without conda-build.

A `.conda` file is a stored zip of `metadata.json`, `pkg-NAME.tar.zst` and `info-NAME.tar.zst` (conda package format v2); a
`.tar.bz2` file is one archive with both (format v1). Only the standard library and the `zstd` program are used. The same
input gives the same bytes.
"""
import bz2
import dataclasses
import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
import zipfile

MTIME = 1_700_000_000
"""Modification time of every entry, in seconds."""

PLACEHOLDER = "/opt/placeholder" + "_hold" * 47 + "_pad"
"""A prefix of 255 characters, the length conda-build pads to."""
assert len(PLACEHOLDER) == 255


@dataclasses.dataclass
class File:
    """One entry of a package: bytes, or a symbolic link when `link` is set."""

    data: bytes = b""
    mode: int = 0o644
    link: str | None = None
    prefix: str | None = None  # "text" or "binary": PLACEHOLDER occurs in data
    placeholder: str = PLACEHOLDER


def text(content, mode=0o644, prefix=None):
    """A text file."""
    return File(content.encode(), mode, prefix=prefix)


def script(content, prefix=None):
    """An executable text file."""
    return text(content, 0o755, prefix)


@dataclasses.dataclass
class Package:
    """The metadata of one package, as in `info/index.json`."""

    name: str
    version: str
    build: str = "0"
    build_number: int = 0
    depends: tuple = ()
    constrains: tuple = ()
    subdir: str = "linux-64"
    noarch: str | None = None
    license: str = "Apache-2.0"
    summary: str = ""
    entry_points: tuple = ()
    track_features: str | None = None
    python_site_packages_path: str | None = None

    @property
    def stem(self):
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def folder(self):
        return "noarch" if self.noarch else self.subdir

    def index(self):
        index = {
            "name": self.name, "version": self.version, "build": self.build, "build_number": self.build_number,
            "depends": list(self.depends), "constrains": list(self.constrains), "subdir": self.folder,
            "license": self.license, "timestamp": MTIME * 1000,
        }
        if self.noarch:
            index["noarch"] = self.noarch
        else:
            index["platform"], index["arch"] = "linux", {"linux-64": "x86_64", "linux-aarch64": "aarch64"}[self.subdir]
        if self.track_features:
            index["track_features"] = self.track_features
        if self.python_site_packages_path:
            index["python_site_packages_path"] = self.python_site_packages_path
        return index


def _paths_entry(path, file, files):
    entry = {"_path": path, "path_type": "softlink" if file.link is not None else "hardlink"}
    data = file.data
    if file.link is not None:
        target = files.get(os.path.normpath(os.path.join(os.path.dirname(path), file.link)))
        data = target.data if target else b""
    entry["sha256"] = hashlib.sha256(data).hexdigest()
    entry["size_in_bytes"] = len(data)
    if file.prefix:
        entry["file_mode"], entry["prefix_placeholder"] = file.prefix, file.placeholder
    return entry


def info_files(package, files):
    """The `info/` folder of a package."""
    names = sorted(files)
    info = {
        "info/index.json": package.index(),
        "info/paths.json": {"paths": [_paths_entry(n, files[n], files) for n in names], "paths_version": 1},
        "info/files": "".join(n + "\n" for n in names),
        "info/about.json": {"summary": package.summary, "license": package.license},
    }
    prefixed = [(n, files[n]) for n in names if files[n].prefix]
    if prefixed:
        info["info/has_prefix"] = "".join(f"{f.placeholder} {f.prefix} {n}\n" for n, f in prefixed)
    if package.noarch == "python":
        info["info/link.json"] = {
            "noarch": {"type": "python", "entry_points": list(package.entry_points)}, "package_metadata_version": 1,
        }
    return {
        name: text(body if isinstance(body, str) else json.dumps(body, indent=1, sort_keys=True))
        for name, body in info.items()
    }


def tar_bytes(files, extra=()):
    """An uncompressed tar of `files`, then the (TarInfo, bytes) pairs of `extra` as they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            file, entry = files[name], tarfile.TarInfo(name)
            entry.mtime, entry.mode = MTIME, file.mode
            if file.link is not None:
                entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, file.link, 0o777
                tar.addfile(entry)
            else:
                entry.size = len(file.data)
                tar.addfile(entry, io.BytesIO(file.data))
        for entry, data in extra:
            tar.addfile(entry, io.BytesIO(data) if entry.isreg() else None)
    return buffer.getvalue()


def _zstd(data, level):
    return subprocess.run(["zstd", "-q", f"-{level}", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def _stored(name):
    entry = zipfile.ZipInfo(name, (2023, 11, 14, 0, 0, 0))
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry


def write(channel, package, files, extra=(), info=None, extension=".conda", level=3):
    """Writes one package into `channel` and its record beside it; returns the path of the package.

    `extra` holds raw tar entries and `info` replaces files of the info folder: both for hostile packages.
    """
    all_info = {**info_files(package, files), **(info or {})}
    folder = os.path.join(channel, package.folder)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, package.stem + extension)
    if extension == ".conda":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_stored("metadata.json"), json.dumps({"conda_pkg_format_version": 2}))
            archive.writestr(_stored(f"pkg-{package.stem}.tar.zst"), _zstd(tar_bytes(files, extra), level))
            archive.writestr(_stored(f"info-{package.stem}.tar.zst"), _zstd(tar_bytes(all_info), level))
        data = buffer.getvalue()
    else:
        data = bz2.compress(tar_bytes({**files, **all_info}, extra))
    with open(path, "wb") as out:
        out.write(data)
    record(channel, package, package.stem + extension, data)
    return path


def record(channel, package, file_name, data, **override):
    """Notes the index record of one package file; `override` replaces fields (a wrong hash, say)."""
    entry = {
        **package.index(), "md5": hashlib.md5(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data), **override,
    }
    folder = os.path.join(channel, ".records", package.folder)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, file_name + ".json"), "w", encoding="utf-8") as out:
        json.dump(entry, out, sort_keys=True)


def index(channel, subdirs=("linux-64", "noarch")):
    """Writes `repodata.json` and `repodata.json.zst` of every subdir from the records; each is replaced in one step."""
    for subdir in subdirs:
        document = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": {}, "removed": [], "repodata_version": 1}
        records = os.path.join(channel, ".records", subdir)
        for name in sorted(os.listdir(records)) if os.path.isdir(records) else ():
            with open(os.path.join(records, name), encoding="utf-8") as source:
                key = "packages.conda" if name.endswith(".conda.json") else "packages"
                document[key][name.removesuffix(".json")] = json.load(source)
        data = json.dumps(document, indent=1, sort_keys=True).encode()
        os.makedirs(os.path.join(channel, subdir), exist_ok=True)
        for name, body in (("repodata.json", data), ("repodata.json.zst", _zstd(data, 3))):
            path = os.path.join(channel, subdir, name)
            with open(path + ".part", "wb") as out:
                out.write(body)
            os.rename(path + ".part", path)
