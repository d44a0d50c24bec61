#!/usr/bin/env python3
"""Writes the synthetic channels: tiny conda packages for what real ones rarely show. No network, about a second.

usage: synthetic.py OUT            writes OUT/synthetic and OUT/synthetic-two
       synthetic.py --gain CHANNEL adds numlike 2.0 to an existing copy of `synthetic`: the channel has moved on
"""
import os
import shutil
import struct
import sys
import tarfile

from conda_package import MTIME, PLACEHOLDER, File, Package, index, record, script, text, write

SUBDIRS = ("linux-64", "linux-aarch64", "noarch")


def prefix_printer():
    """A static x86-64 ELF program that prints its prefix, which stands in it as a NUL-terminated string."""
    message = PLACEHOLDER.encode() + b"/share/binprefix\0" + bytes(7)
    code = bytes.fromhex(
        "488d3522000000"  # lea rsi, [rip + 34]   the message
        "31d2"            # xor edx, edx
        "803c1600"        # cmp byte [rsi + rdx], 0
        "7405"            # je +5
        "48ffc2"          # inc rdx
        "ebf5"            # jmp -11
        "b801000000bf010000000f05"  # write(1, rsi, rdx)
        "b83c00000031ff0f05"        # exit(0)
    )
    assert len(code) == 41
    base, headers = 0x400000, 64 + 56
    size = headers + len(code) + len(message)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return File(header + segment + code + message, 0o755, prefix="binary")


def python(version):
    """A stand-in for CPython: starts the system's interpreter of the same minor on the prefix's site-packages."""
    minor = ".".join(version.split(".")[:2])
    start = (
        "#!/bin/sh\n"
        f"PYTHONPATH={PLACEHOLDER}/lib/python{minor}/site-packages${{PYTHONPATH:+:$PYTHONPATH}}\n"
        f"export PYTHONPATH\nexec /usr/bin/python{minor} \"$@\"\n"
    )
    files = {
        f"bin/python{minor}": script(start, "text"),
        "bin/python": File(link=f"python{minor}"),
        "bin/python3": File(link=f"python{minor}"),
        f"lib/python{minor}/site-packages/README.txt": text("packages go here\n"),
    }
    return Package("python", version, "h0_0_cpython", license="PSF-2.0"), files


def module(name, version, body="", minor=None):
    """The files of one python module with its dist-info; below `site-packages/` when noarch."""
    root = f"lib/python{minor}/site-packages" if minor else "site-packages"
    info = f"{root}/{name}-{version}.dist-info"
    return {
        f"{root}/{name}/__init__.py": text(f'__version__ = "{version}"\n{body}'),
        f"{info}/METADATA": text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"),
        f"{info}/INSTALLER": text("conda\n"),
        f"{info}/RECORD": text(f"{name}/__init__.py,,\n"),
    }


def plain(name, version="1.0", depends=(), **more):
    """A package of one data file."""
    return Package(name, version, depends=tuple(depends), **more), {f"share/{name}.txt": text(f"{name} {version}\n")}


def numlike(version):
    """Stands for numpy: a python module with a native part, for one python minor."""
    files = module("numlike", version, minor="3.11")
    files["lib/python3.11/site-packages/numlike/core.so"] = File(b"\x7fELF-not-really" + version.encode() * 100)
    return Package("numlike", version, "py311_0", depends=("python >=3.11,<3.12.0a0",)), files


def linking(out):
    """Prefix replacement, links, scripts: what installing a package has to do."""
    write(out, *python("3.11.9"))
    write(out, *python("3.12.4"))
    write(out, Package("binprefix", "1.0"), {"bin/binprefix": prefix_printer()})
    write(out, Package("textprefix", "1.0"), {
        "bin/textprefix": script(f"#!/bin/sh\necho {PLACEHOLDER}/share/textprefix\n", "text"),
        "etc/textprefix.conf": text(f"root = {PLACEHOLDER}\nlib = {PLACEHOLDER}/lib:{PLACEHOLDER}/lib64\n", prefix="text"),
        "bin/longshebang": script(f"#!{PLACEHOLDER}/bin/python\nprint('shebang')\n", "text"),
    })
    write(out, Package("hello", "1.0", "pyh0_0", noarch="python", depends=("python >=3.9",),
                       entry_points=("hello = hello:main", "hello-nested = hello:Greeter.run")), {
        **module("hello", "1.0", "\ndef main():\n    print('hello')\n\n\nclass Greeter:\n    @staticmethod\n    def run():\n        print('nested')\n"),
        "python-scripts/hello-script": script("#!/usr/bin/env python\nprint('script')\n"),
    })
    write(out, Package("links", "1.0"), {
        "lib/libx.so.1.0": File(b"\x7fELF" + b"x" * 60, 0o755),
        "lib/libx.so.1": File(link="libx.so.1.0"),
        "lib/libx.so": File(link="libx.so.1"),
        "share/links-1.0/data.txt": text("data\n"),
        "share/links": File(link="links-1.0"),
        "share/links-1.0/up": File(link="../../lib/libx.so"),
        "share/links-1.0/dangling": File(link="not-there"),
    })
    write(out, Package("postlink", "1.0"), {
        "share/postlink.txt": text("postlink\n"),
        "bin/.postlink-post-link.sh": script('#!/bin/sh\necho ran > "$PREFIX/postlink-ran"\n'),
        "bin/.postlink-pre-unlink.sh": script('#!/bin/sh\nrm -f "$PREFIX/postlink-ran"\n'),
    })
    write(out, Package("activated", "1.0"), {
        "etc/conda/activate.d/activated.sh": text('export ACTIVATED="$CONDA_PREFIX"\n'),
        "etc/conda/env_vars.d/activated.json": text('{"ACTIVATED_VAR": "yes"}\n'),
    })
    write(out, *plain("oldformat"), extension=".tar.bz2")
    write(out, *plain("generic", noarch="generic"))
    write(out, Package("empty", "1.0"), {})
    write(out, Package("modes", "1.0"), {
        "bin/executable": script("#!/bin/sh\necho executable\n"), "share/readonly": text("r\n", 0o444), "share/secret": text("s\n", 0o600),
        "share/unicode-é中.txt": text("u\n"), "share/" + "long/" * 30 + "path.txt": text("l\n"),
    })


def solving(out):
    """Versions, builds and constraints: what the solver has to decide."""
    write(out, *numlike("1.0"))
    write(out, *plain("numlike", "1.0", subdir="linux-aarch64"))
    write(out, Package("scilike", "1.0", "py311_0", depends=("python >=3.11,<3.12.0a0", "numlike >=1.0")), module("scilike", "1.0", "import numlike\n", "3.11"))
    for version in ("1.0", "1.5", "2.0"):
        write(out, *plain("bar", version))
    write(out, *plain("foo", depends=["bar <2"]))
    write(out, *plain("baz", depends=["bar >=2"]))
    write(out, *plain("needs-missing", depends=["does-not-exist >=3"]))
    write(out, *plain("needs-old-python", depends=["python <3.0"]))
    write(out, *plain("needs-new-glibc", depends=["__glibc >=99"]))
    write(out, *plain("needs-glibc", depends=["__glibc >=2.17"]))
    write(out, *plain("constrainer", constrains=("bar <1.2",)))
    write(out, *plain("gpulib", build="cpu_0"))
    write(out, *plain("gpulib", build="cuda124_0", build_number=200, depends=["__cuda >=12", "cudart"]))
    write(out, *plain("cudart", "12.4"))
    write(out, *plain("gpuonly", depends=["__cuda"]))
    write(out, *plain("blas", build="openblas"))
    write(out, *plain("blas", build="mkl", build_number=1))
    write(out, *plain("tracked", "1.0", track_features="tracked"))
    write(out, *plain("epoch", "1!0.5"))
    write(out, *plain("epoch", "2.0"))
    write(out, *plain("local", "1.0+cu118"))
    write(out, *plain("pre", "1.0rc1"))
    write(out, *plain("pre", "0.9"))


def clashing(out):
    """Packages that write the same path."""
    write(out, Package("clash-a", "1.0"), {"share/clash.txt": text("a\n"), "share/clash-a.txt": text("a\n")})
    write(out, Package("clash-b", "1.0"), {"share/clash.txt": text("b\n"), "share/clash-b.txt": text("b\n")})
    write(out, Package("same-a", "1.0"), {"share/same.txt": text("same\n")})
    write(out, Package("same-b", "1.0"), {"share/same.txt": text("same\n")})
    write(out, Package("clash-file", "1.0"), {"share/thing": text("a file\n")})
    write(out, Package("clash-folder", "1.0"), {"share/thing/inner.txt": text("in a folder\n")})
    write(out, Package("clash-link", "1.0"), {"share/thing": File(link="elsewhere")})
    write(out, Package("case-upper", "1.0"), {"share/Case.txt": text("upper\n")})
    write(out, Package("case-lower", "1.0"), {"share/case.txt": text("lower\n")})


def entry(name, kind=tarfile.REGTYPE, link="", data=b""):
    """One raw tar entry with its bytes."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mtime, info.size = kind, link, MTIME, len(data)
    return info, data


def hostile(out):
    """Packages that try to write outside the prefix, or that are not what the index says."""
    evil = b"written by a hostile package\n"
    cases = {
        "dotdot": [entry("../../kiln-canary", data=evil)],
        "absolute": [entry("/tmp/kiln-canary", data=evil)],
        "symlink": [entry("share/out", tarfile.SYMTYPE, "/tmp"), entry("share/out/kiln-canary", data=evil)],
        "linkabove": [entry("share/up", tarfile.SYMTYPE, "../../../../tmp"), entry("share/up/kiln-canary", data=evil)],
        "hardlink": [entry("share/passwd", tarfile.LNKTYPE, "../../../etc/passwd")],
        "device": [entry("dev/null", tarfile.CHRTYPE)],
        "fifo": [entry("share/fifo", tarfile.FIFOTYPE)],
        "overwrite": [entry("share/twice", tarfile.SYMTYPE, "/tmp/kiln-canary"), entry("share/twice", data=evil)],
    }
    for name, extra in cases.items():
        write(out, *plain("hostile-" + name), extra=extra)
    paths = '{"paths": [{"_path": "../../kiln-canary", "path_type": "hardlink", "sha256": "%s", "size_in_bytes": 0}], "paths_version": 1}'
    write(out, *plain("hostile-pathsjson"), info={"info/paths.json": text(paths % ("0" * 64))})
    write(out, Package("hostile-entrypoint", "1.0", "pyh0_0", noarch="python", depends=("python",), entry_points=("../../kiln-canary = os:getcwd",)),
          module("hostile_entrypoint", "1.0"))
    write(out, Package("hostile-condameta", "1.0"), {"conda-meta/python-3.11.9-h0_0_cpython.json": text("{}\n")})
    package, files = plain("wrong-hash")
    data = open(write(out, package, files), "rb").read()
    record(out, package, package.stem + ".conda", data, sha256="0" * 64, md5="0" * 32)
    record(out, plain("absent")[0], "absent-1.0-0.conda", b"")
    package, files = plain("truncated")
    path = write(out, package, files)
    data = open(path, "rb").read()[:-40]
    with open(path, "wb") as cut:
        cut.write(data)
    record(out, package, package.stem + ".conda", data)


def main():
    if sys.argv[1] == "--gain":
        write(sys.argv[2], *numlike("2.0"))
        index(sys.argv[2], SUBDIRS)
        return
    for name, parts in (("synthetic", (linking, solving, clashing, hostile)), ("synthetic-two", (second,))):
        out, part = os.path.join(sys.argv[1], name), os.path.join(sys.argv[1], name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        for fill in parts:
            fill(part)
        index(part, SUBDIRS)
        shutil.rmtree(out, ignore_errors=True)
        os.rename(part, out)


def second(out):
    """A second channel, for channel priority: a newer numlike, an older bar, and a package of its own."""
    write(out, *numlike("9.0"))
    write(out, *plain("bar", "0.5"))
    write(out, *plain("onlytwo", depends=["numlike"]))


if __name__ == "__main__":
    main()
