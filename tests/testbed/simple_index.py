#!/usr/bin/env python3
"""Writes a package index (PEP 503, PEP 658 metadata files) of tiny wheels and source distributions. No network.

usage: simple_index.py OUT         writes OUT/simple and OUT/private/simple (the latter has only `secretpkg`)

A source distribution's setup.py creates the file named by KILN_CANARY, or /tmp/kiln-canary-setup-py: it must never run on
the host.
"""
import base64
import dataclasses
import gzip
import hashlib
import html
import io
import os
import shutil
import sys
import tarfile
import zipfile

MTIME = 1_700_000_000
SETUP = '''import os
open(os.environ.get("KILN_CANARY", "/tmp/kiln-canary-setup-py"), "a").write("setup.py of {name} {version} ran\\n")
from setuptools import setup
setup(name="{name}", version="{version}", py_modules=["{module}"], install_requires={requires!r})
'''


@dataclasses.dataclass
class Release:
    """One file of the index with the attributes of its link."""

    name: str
    file_name: str
    data: bytes
    metadata: bytes | None = None
    requires_python: str | None = None
    yanked: str | None = None


def metadata(name, version, requires=(), requires_python=None, extras=()):
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    if requires_python:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    return ("\n".join(lines) + "\n").encode()


def record_line(path, data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"


def wheel(name, version, files=None, requires=(), tag="py3-none-any", entry_points="", requires_python=None, extras=(),
          yanked=None, pure=True, bad_record=False):
    """A wheel; without `files` it holds one module that knows its version."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    meta = metadata(name, version, requires, requires_python, extras)
    files = dict(files or {f"{module}/__init__.py": f'__version__ = "{version}"\n'.encode()})
    files[f"{info}/METADATA"] = meta
    tags = "".join(f"Tag: {part}\n" for part in expand(tag))
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: kiln-testbed\nRoot-Is-Purelib: {str(pure).lower()}\n{tags}".encode()
    if entry_points:
        files[f"{info}/entry_points.txt"] = entry_points.encode()
    lines = "".join(record_line(p, b"other bytes" if bad_record and p.endswith(".py") else d) for p, d in files.items())
    files[f"{info}/RECORD"] = (lines + f"{info}/RECORD,,\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, (2023, 11, 14, 22, 13, 20))
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return Release(name, f"{module}-{version}-{tag}.whl", buffer.getvalue(), meta, requires_python, yanked)


def expand(tag):
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    return [f"{p}-{a}-{t}" for p in pythons for a in abis for t in platforms]


def sdist(name, version, requires=()):
    """A source distribution whose setup.py leaves a trace when it runs."""
    module, stem = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}"
    files = {
        f"{stem}/PKG-INFO": metadata(name, version),
        f"{stem}/setup.py": SETUP.format(name=name, version=version, module=module, requires=list(requires)).encode(),
        f"{stem}/{module}.py": f'__version__ = "{version}"\n'.encode(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime = len(data), MTIME
            tar.addfile(entry, io.BytesIO(data))
    return Release(name, f"{stem}.tar.gz", gzip.compress(buffer.getvalue(), mtime=0))


def releases():
    """Every file of the public index."""
    linux = "manylinux_2_17_x86_64.manylinux2014_x86_64"
    every = {
        "everything/__init__.py": b"from importlib.resources import files\n",
        "everything/data.txt": b"package data\n",
        "everything-1.0.data/scripts/everything-script": b"#!python\nprint('script')\n",
        "everything-1.0.data/data/share/everything.txt": b"data\n",
        "everything-1.0.data/headers/everything.h": b"#define EVERYTHING 1\n",
        "everything-1.0.data/purelib/everything_pure.py": b"PURE = True\n",
        "everything-1.0.data/platlib/everything_plat.py": b"PLAT = True\n",
    }
    evil = b"written by a hostile wheel\n"
    return [
        wheel("foo", "1.0"), wheel("foo", "2.0"),
        sdist("only-sdist", "1.0"),
        wheel("newer-sdist", "1.0"), sdist("newer-sdist", "2.0"),
        wheel("with-deps", "1.0", requires=["foo>=2", 'fancy>=1; extra == "fancy"', 'never; python_version < "3"'], extras=["fancy"]),
        wheel("fancy", "1.0"),
        wheel("wants-foo-1", "1.0", requires=["foo<2"]), wheel("wants-foo-2", "1.0", requires=["foo>=2"]),
        wheel("commands", "1.0", {"commands.py": b"def main():\n    print('commands')\n"},
              entry_points="[console_scripts]\ncommands = commands:main\n[gui_scripts]\ncommands-gui = commands:main\n"),
        wheel("everything", "1.0", every, tag=f"cp311-cp311-{linux}", pure=False),
        wheel("native", "1.0", {"native.py": b"ABI = 'cp311'\n", "native_core.so": b"\x7fELF311"}, tag=f"cp311-cp311-{linux}", pure=False),
        wheel("native", "1.0", {"native.py": b"ABI = 'cp312'\n", "native_core.so": b"\x7fELF312"}, tag=f"cp312-cp312-{linux}", pure=False),
        wheel("native", "1.0", {"native.py": b"ABI = 'abi3'\n", "native_core.so": b"\x7fELFabi"}, tag=f"cp39-abi3-{linux}", pure=False),
        wheel("new-glibc", "1.0", tag="cp311-cp311-manylinux_2_99_x86_64", pure=False),
        wheel("yanked", "1.0"), wheel("yanked", "1.1", yanked="broken release"),
        wheel("future", "1.0"), wheel("future", "2.0", requires_python=">=3.99"),
        wheel("pre", "1.0"), wheel("pre", "2.0rc1"),
        wheel("ns-one", "1.0", {"ns/one.py": b"ONE = 1\n"}), wheel("ns-two", "1.0", {"ns/two.py": b"TWO = 2\n"}),
        wheel("clash-one", "1.0", {"clash.py": b"ONE = 1\n"}), wheel("clash-two", "1.0", {"clash.py": b"TWO = 2\n"}),
        wheel("Mixed.Case_Name", "1.0", {"mixed_case.py": b""}),
        wheel("hostile-dotdot", "1.0", {"hostile.py": b"", "../../kiln-canary": evil}),
        wheel("hostile-absolute", "1.0", {"hostile.py": b"", "/tmp/kiln-canary": evil}),
        wheel("hostile-data", "1.0", {"hostile.py": b"", "hostile_data-1.0.data/data/../../kiln-canary": evil}),
        wheel("hostile-entry", "1.0", {"hostile.py": b""}, entry_points="[console_scripts]\n../../kiln-canary = hostile:x\n"),
        wheel("hostile-pth", "1.0", {"hostile.py": b"", "hostile.pth": b"import os; open('/tmp/kiln-canary-pth', 'a').close()\n"}),
        wheel("bad-record", "1.0", bad_record=True),
    ]


def normal(name):
    """PEP 503."""
    return "-".join(part for part in name.lower().replace("_", "-").replace(".", "-").split("-") if part)


def page(title, links):
    body = "".join(f"    <a {attributes}>{html.escape(label)}</a><br>\n" for label, attributes in links)
    return f"<!DOCTYPE html>\n<html>\n  <head><title>{title}</title></head>\n  <body>\n{body}  </body>\n</html>\n"


def link(release):
    digest = hashlib.sha256(release.data).hexdigest()
    attributes = [f'href="{release.file_name}#sha256={digest}"']
    if release.metadata is not None:
        digest = "sha256=" + hashlib.sha256(release.metadata).hexdigest()
        attributes += [f'data-core-metadata="{digest}"', f'data-dist-info-metadata="{digest}"']
    if release.requires_python:
        attributes.append(f'data-requires-python="{html.escape(release.requires_python)}"')
    if release.yanked is not None:
        attributes.append(f'data-yanked="{html.escape(release.yanked)}"')
    return release.file_name, " ".join(attributes)


def write_index(out, files):
    """Writes the pages and the files of one index, replacing what was there."""
    part = out + ".part"
    shutil.rmtree(part, ignore_errors=True)
    projects = {}
    for release in files:
        projects.setdefault(normal(release.name), []).append(release)
    for project, members in projects.items():
        folder = os.path.join(part, project)
        os.makedirs(folder)
        for release in members:
            store(os.path.join(folder, release.file_name), release.data)
            if release.metadata is not None:
                store(os.path.join(folder, release.file_name + ".metadata"), release.metadata)
        store(os.path.join(folder, "index.html"), page(project, [link(r) for r in members]).encode())
    store(os.path.join(part, "index.html"), page("Simple index", [(p, f'href="{p}/"') for p in sorted(projects)]).encode())
    shutil.rmtree(out, ignore_errors=True)
    os.rename(part, out)


def store(path, data):
    with open(path, "wb") as out:
        out.write(data)


def main():
    out = sys.argv[1]
    os.makedirs(os.path.join(out, "private"), exist_ok=True)
    write_index(os.path.join(out, "simple"), releases())
    write_index(os.path.join(out, "private/simple"), [wheel("secretpkg", "1.0"), wheel("foo", "3.0")])


if __name__ == "__main__":
    main()
