#!/usr/bin/env python3
"""Repacks wheels as conda packages for CPython 3.11 on linux-64: pure ones as `noarch: python`, native ones as `py311` builds.

usage: repack_wheels.py CHANNEL WHEEL...        (needs `zstd`, and pip for its PEP 440 and 508 parsers)
"""
import concurrent.futures
import configparser
import email.parser
import os
import re
import sys
import zipfile

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.specifiers import SpecifierSet
from pip._vendor.packaging.utils import canonicalize_name

from conda_package import File, Package, script, text, write

MARKERS = {
    "python_version": "3.11", "python_full_version": "3.11.2", "os_name": "posix", "sys_platform": "linux",
    "platform_machine": "x86_64", "platform_system": "Linux", "platform_release": "", "platform_version": "",
    "implementation_name": "cpython", "implementation_version": "3.11.2", "platform_python_implementation": "CPython", "extra": "",
}
CONDA_NAMES = {"tzdata": "python-tzdata"}


def conda_name(name):
    name = canonicalize_name(name)
    return CONDA_NAMES.get(name, name)


def conda_version(specifiers):
    """A PEP 440 specifier set as a conda version constraint."""
    parts = []
    for specifier in specifiers:
        operator, version = specifier.operator, specifier.version
        if operator == "~=":
            release = version.split(".")[:-1]
            parts += [f">={version}", "<" + ".".join([*release[:-1], str(int(release[-1]) + 1)]) + ".0a0"]
        elif operator == "==" and version.endswith(".*"):
            parts.append(version)
        else:
            parts.append({"===": "=="}.get(operator, operator) + version)
    return ",".join(sorted(parts))


def constraint(name, specifiers):
    return f"{name} {conda_version(specifiers)}".strip()


def depends(meta, pure):
    if pure:
        found = [constraint("python", SpecifierSet(meta["Requires-Python"] or ""))]
    else:
        found = ["python >=3.11,<3.12.0a0", "python_abi 3.11.* *_cp311"]
    for line in meta.get_all("Requires-Dist") or ():
        requirement = Requirement(line)
        if not requirement.marker or requirement.marker.evaluate(MARKERS):
            found.append(constraint(conda_name(requirement.name), requirement.specifier))
    return tuple(found)


def entry_points(source):
    parser = configparser.ConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str
    parser.read_string(source)
    if not parser.has_section("console_scripts"):
        return ()
    return tuple(f"{name} = {target.split('[')[0].strip()}" for name, target in parser.items("console_scripts"))


def launcher(target):
    module, function = target.split(":")
    return script(f"#!/usr/bin/env python\nimport sys\n\nfrom {module} import {function.split('.')[0]}\n\nsys.exit({function}())\n")


def unpack(wheel, pure, data_folder):
    """The wheel's files at their place in a prefix (below `site-packages/` for noarch)."""
    site = "site-packages" if pure else "lib/python3.11/site-packages"
    schemes = {
        "purelib": site, "platlib": site, "data": "", "headers": "include/python3.11",
        "scripts": "python-scripts" if pure else "bin",
    }
    files = {}
    for entry in wheel.infolist():
        if entry.is_dir() or entry.filename.endswith(".dist-info/RECORD"):
            continue
        path, data = f"{site}/{entry.filename}", wheel.read(entry)
        executable = bool((entry.external_attr >> 16) & 0o111)
        if entry.filename.startswith(data_folder + "/"):
            scheme, inner = entry.filename[len(data_folder) + 1:].split("/", 1)
            path = f"{schemes[scheme]}/{inner}".lstrip("/")
            if scheme == "scripts":
                executable = True
                data = re.sub(rb"\A#!python[w]?\b", b"#!/usr/bin/env python", data)
        files[path] = File(data, 0o755 if executable else 0o644)
    return site, files


def repack(channel, path):
    with zipfile.ZipFile(path) as wheel:
        info = next(n.split("/")[0] for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        parse = email.parser.Parser().parsestr
        meta, about = parse(wheel.read(info + "/METADATA").decode()), parse(wheel.read(info + "/WHEEL").decode())
        pure = about["Root-Is-Purelib"].lower() == "true"
        site, files = unpack(wheel, pure, re.sub(r"\.dist-info$", ".data", info))
        points = entry_points(wheel.read(info + "/entry_points.txt").decode()) if info + "/entry_points.txt" in wheel.namelist() else ()
    files[f"{site}/{info}/INSTALLER"] = text("conda\n")
    names = sorted(n[len(site) + 1:] for n in files if n.startswith(site + "/"))
    files[f"{site}/{info}/RECORD"] = text("".join(f"{n},,\n" for n in [*names, info + "/RECORD"]))
    if not pure:
        files.update({"bin/" + p.split(" = ")[0]: launcher(p.split(" = ")[1]) for p in points})
    package = Package(
        conda_name(meta["Name"]), meta["Version"], "pyhd8ed1ab_0" if pure else "py311h0_0", depends=depends(meta, pure),
        noarch="python" if pure else None, entry_points=points if pure else (), summary=meta["Summary"] or "",
        license=(meta["License-Expression"] or (meta["License"] or "unknown").split("\n")[0])[:60],
    )
    write(channel, package, files, level=6)
    return package.stem


def main():
    channel, wheels = sys.argv[1], sys.argv[2:]
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(repack, [channel] * len(wheels), sorted(wheels, key=os.path.getsize, reverse=True)))


if __name__ == "__main__":
    main()
