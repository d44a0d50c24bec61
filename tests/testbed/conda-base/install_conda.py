#!/usr/bin/env python3
"""Installs a genuine conda at ROOT from wheels alone.

usage: install_conda.py ROOT WHEELS      (runs in the image; WHEELS is a folder with the files of wheels.txt)

The wheel of conda-lock carries the whole of conda under another module name. It is taken out under its own name; conda-lock
itself is not installed, since it would register itself as a conda plugin and pull its own dependencies.
"""
import glob
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
VENDORED = "conda_lock/_vendor/conda/"
ENTRY = """#!{root}/bin/python
import sys

from conda.cli import main

if __name__ == "__main__":
    sys.exit(main())
"""
ACTIVATE = '. "{root}/etc/profile.d/conda.sh" || return $?\nconda activate "$@"\n'


def write(root, path, content, executable=False):
    path = os.path.join(root, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.write(content)
    os.chmod(path, 0o755 if executable else 0o644)


def unpack_conda(wheel, target):
    """Extracts the vendored conda and gives its imports their own name back."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if not entry.filename.startswith(VENDORED) or entry.is_dir():
                continue
            data = archive.read(entry)
            if entry.filename.endswith(".py"):
                data = re.sub(rb"\bconda_lock\.(?:_vendor|vendor)\.conda\b", b"conda", data)
            path = os.path.join(target, entry.filename[len(VENDORED):])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as out:
                out.write(data)


def main():
    root, wheels = sys.argv[1:]
    python = os.path.join(root, "bin/python")
    subprocess.run([sys.executable, "-m", "venv", "--copies", root], check=True)
    conda_lock, = glob.glob(os.path.join(wheels, "conda_lock-*.whl"))
    others = [w for w in sorted(glob.glob(os.path.join(wheels, "*.whl"))) if w != conda_lock]
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", *others], check=True)

    version = ".".join(map(str, sys.version_info[:2]))
    site = os.path.join(root, f"lib/python{version}/site-packages")
    unpack_conda(conda_lock, os.path.join(site, "conda"))
    with open(os.path.join(HERE, "conda.sh"), encoding="utf-8") as source:
        functions = source.read()
    exports = f"export CONDA_EXE='{root}/bin/conda'\nexport CONDA_PYTHON_EXE='{root}/bin/python'\n"
    write(root, "etc/profile.d/conda.sh", exports + functions)
    write(os.path.join(site, "conda/shell"), "etc/profile.d/conda.sh", functions)
    write(root, "bin/conda", ENTRY.format(root=root), executable=True)
    write(root, "bin/activate", ACTIVATE.format(root=root))
    write(root, "conda-meta/history", "")
    shutil.copy(os.path.join(HERE, "condarc"), os.path.join(root, ".condarc"))
    for folder in ("pkgs", "envs", "condabin"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    os.symlink("../bin/conda", os.path.join(root, "condabin/conda"))
    for leftover in ("activate.csh", "activate.fish", "Activate.ps1"):
        os.remove(os.path.join(root, "bin", leftover))
    subprocess.run([python, "-m", "compileall", "-q", os.path.join(site, "conda")], check=False)
    os.chmod(root, os.stat(root).st_mode | stat.S_IRGRP | stat.S_IROTH)
    subprocess.run([os.path.join(root, "bin/conda"), "info"], check=True)


if __name__ == "__main__":
    main()
