#!/usr/bin/env python3
"""Writes the layer tars of the base variants that tests need.

usage: base_variants.py OUT

foo.tar has the python package `foo` 1 among the system's packages; cuda.tar has what a CUDA image shows to a reader: the
toolkit's version file, its library folder, the entry point.
"""
import io
import json
import os
import sys
import tarfile

MTIME = 1_700_000_000
FOO = "usr/lib/python3/dist-packages"
CUDA = "usr/local/cuda-12.4"


def write_tar(path, entries):
    """Writes (name, content, mode) entries; content None is a folder, a (str,) a symbolic link."""
    with tarfile.open(path + ".part", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content, mode in entries:
            entry = tarfile.TarInfo(name)
            entry.mtime, entry.mode = MTIME, mode
            if content is None:
                entry.type = tarfile.DIRTYPE
            elif isinstance(content, tuple):
                entry.type, entry.linkname = tarfile.SYMTYPE, content[0]
            data = content.encode() if isinstance(content, str) else b""
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    os.rename(path + ".part", path)


def main():
    out = sys.argv[1]
    write_tar(os.path.join(out, "foo.tar"), [
        (f"{FOO}/foo", None, 0o755),
        (f"{FOO}/foo/__init__.py", '__version__ = "1"\n', 0o644),
        (f"{FOO}/foo-1.dist-info", None, 0o755),
        (f"{FOO}/foo-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: foo\nVersion: 1\n", 0o644),
        (f"{FOO}/foo-1.dist-info/INSTALLER", "debian\n", 0o644),
        (f"{FOO}/foo-1.dist-info/RECORD", "foo/__init__.py,,\nfoo-1.dist-info/METADATA,,\n", 0o644),
    ])
    version = {"cuda": {"name": "CUDA SDK", "version": "12.4.1"}, "cuda_cudart": {"name": "CUDA Runtime (cudart)", "version": "12.4.127"}}
    write_tar(os.path.join(out, "cuda.tar"), [
        ("opt/nvidia", None, 0o755),
        ("opt/nvidia/nvidia_entrypoint.sh", '#!/bin/bash\nexec "$@"\n', 0o755),
        (CUDA, None, 0o755),
        (f"{CUDA}/lib64", None, 0o755),
        (f"{CUDA}/version.json", json.dumps(version, indent=3) + "\n", 0o644),
        ("usr/local/cuda", ("cuda-12.4",), 0o777),
        ("etc/ld.so.conf.d/000_cuda.conf", "/usr/local/cuda/targets/x86_64-linux/lib\n", 0o644),
    ])


if __name__ == "__main__":
    main()
