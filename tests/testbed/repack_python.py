#!/usr/bin/env python3
"""Repacks CPython and its run-time libraries out of the Debian base's root file system as conda packages.

usage: repack_python.py ROOTFS_TAR CHANNEL        (needs `patchelf` and `zstd`)

Debian's two changes to where packages go (`dist-packages`, the `posix_local` scheme) are undone, so that the interpreter
behaves as conda's does at any prefix.
"""
import fnmatch
import os
import re
import struct
import subprocess
import sys
import tarfile
import tempfile

from conda_package import PLACEHOLDER, File, Package, text, write

MINOR = "3.11"
LIB = "usr/lib/x86_64-linux-gnu/"
LIBRARIES = {  # conda name: (Debian package that gives the version, library patterns, depends)
    "openssl": ("libssl3", ("libssl.so.*", "libcrypto.so.*"), ()),
    "libffi": ("libffi8", ("libffi.so.*",), ()),
    "zlib": ("zlib1g", ("libz.so.*",), ()),
    "xz": ("liblzma5", ("liblzma.so.*",), ()),
    "bzip2": ("libbz2-1.0", ("libbz2.so.*",), ()),
    "ncurses": ("libncursesw6", ("libncursesw.so.*", "libpanelw.so.*", "libtinfo.so.*"), ()),
    "readline": ("libreadline8", ("libreadline.so.*",), ("ncurses",)),
    "sqlite": ("libsqlite3-0", ("libsqlite3.so.*",), ("zlib",)),
    "libuuid": ("libuuid1", ("libuuid.so.*",), ()),
    "expat": ("libexpat1", ("libexpat.so.*",), ()),
}
LEFT_OUT = (
    "*/__pycache__/*", "*/ensurepip/*", "*/sitecustomize.py", "*/EXTERNALLY-MANAGED", "*/dist-packages/*",
    "*/_distutils_system_mod.py", "*/lib-dynload/_test*", "*/lib-dynload/*xx*", "*/lib-dynload/nis.*", "*/lib-dynload/_dbm.*",
)


def members(tar):
    """Every member of the root file system by its path without the leading `./`."""
    return {m.name.removeprefix("./"): m for m in tar.getmembers()}


def read(tar, member, rpath=None):
    """One member as a package file; `rpath` is set in ELF files."""
    if member.issym():
        return File(link=member.linkname)
    data = tar.extractfile(member).read()
    elf = data.startswith(b"\x7fELF")
    if elf and rpath:
        data = set_rpath(data, rpath)
    return File(data, 0o755 if elf or member.mode & 0o111 else 0o644)


def set_rpath(elf, rpath):
    with tempfile.NamedTemporaryFile() as file:
        file.write(elf)
        file.flush()
        subprocess.run(["patchelf", "--set-rpath", rpath, file.name], check=True)
        with open(file.name, "rb") as changed:
            return changed.read()


def versions(tar, tree):
    """The upstream version of every installed Debian package."""
    status = tar.extractfile(tree["var/lib/dpkg/status"]).read().decode()
    pairs = re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (?:\d+:)?([^\s~+-]+)", status, re.M)
    return {name: version.removesuffix(".dfsg") for name, version in pairs}


def replace_once(source, old, new):
    """Undoes one of Debian's changes; a source that no longer has it is an error, not a silent difference."""
    if old not in source:
        raise SystemExit(f"expected {old!r} in Debian's python")
    return source.replace(old, new)


def site(source):
    start = source.index("            if is_virtual_environment:")
    end = source.index("        else:\n            sitepackages.append(prefix)", start)
    loop = '            for libdir in libdirs:\n                sitepackages.append(os.path.join(prefix, libdir,\n' \
           '                    "python%d.%d" % sys.version_info[:2], "site-packages"))\n'
    return source[:start] + loop + source[end:]


def sysconfig(source):
    return replace_once(source, "            prefix_scheme = 'posix_local'", "            prefix_scheme = 'posix_prefix'")


def distutils_sysconfig(source):
    return replace_once(source, '"python3", "dist-packages"', '"python" + get_python_version(), "site-packages"')


def sysconfigdata(source):
    """Build-time paths below Debian's prefix become the placeholder, as in conda's python."""
    return re.sub(r"(?<=')/usr(?=/|')", PLACEHOLDER, source)


def unfreeze(elf, name, after):
    """Takes module `name` out of the interpreter's table of frozen modules, so that it is read from the library.

    CPython 3.11 keeps `site` frozen in the executable, which hides the library's copy. An entry of the table
    (Include/cpython/import.h, struct _frozen) is 32 bytes and starts with the address of the name; the one that is followed by
    `after` is changed to the address of the name's second character, which no import asks for.
    """
    offset, = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    segments = [struct.unpack_from("<IIQQQQ", elf, offset + i * size) for i in range(count)]

    def addresses(text):
        for match in re.finditer(re.escape(text) + b"\0", elf):
            for kind, _, start, address, _, length in segments:
                if kind == 1 and start <= match.start() < start + length:
                    yield struct.pack("<Q", address + match.start() - start)

    following = set(addresses(after))
    for address in set(addresses(name)):
        for match in re.finditer(re.escape(address), elf):
            entry = match.start()
            if entry % 8 == 0 and elf[entry + 32:entry + 40] in following:
                changed = struct.pack("<Q", struct.unpack("<Q", address)[0] + 1)
                return elf[:entry] + changed + elf[entry + 8:]
    raise SystemExit(f"no frozen module {name!r} in the interpreter")


def python_files(tar, tree):
    stdlib = f"usr/lib/python{MINOR}/"
    changes = {"site.py": site, "sysconfig.py": sysconfig, "distutils/sysconfig.py": distutils_sysconfig}
    interpreter = read(tar, tree[f"usr/bin/python{MINOR}"])
    data = set_rpath(unfreeze(interpreter.data, b"site", b"stat"), "$ORIGIN/../lib")
    files = {f"bin/python{MINOR}": File(data, 0o755)}
    for alias in ("python", "python3"):
        files["bin/" + alias] = File(link=f"python{MINOR}")
    for path, member in tree.items():
        if not path.startswith(stdlib) or member.isdir() or any(fnmatch.fnmatch(path, p) for p in LEFT_OUT):
            continue
        if member.issym() and member.linkname.startswith("/"):
            continue
        inner = path.removeprefix(stdlib)
        file = read(tar, member, "$ORIGIN/../..")
        if inner in changes:
            file = text(changes[inner](file.data.decode()))
        elif inner.startswith("_sysconfigdata"):
            file = text(sysconfigdata(file.data.decode()), prefix="text")
        files[path.removeprefix("usr/")] = file
    files[f"lib/python{MINOR}/site-packages/README.txt"] = text("Packages are installed here.\n")
    return files


def main():
    rootfs, channel = sys.argv[1:]
    with tarfile.open(rootfs) as tar:
        tree = members(tar)
        version = versions(tar, tree)
        depends = []
        for name, (debian, patterns, needs) in LIBRARIES.items():
            found = [p for p in tree if p.startswith(LIB) and any(fnmatch.fnmatch(p[len(LIB):], x) for x in patterns)]
            files = {"lib/" + p[len(LIB):]: read(tar, tree[p], "$ORIGIN") for p in found}
            write(channel, Package(name, version[debian], "hdeb12_0", depends=needs), files, level=10)
            depends.append(f"{name} >={version[debian]}")
        write(channel, Package("python_abi", MINOR, "5_cp311", constrains=(f"python {MINOR}.* *_cpython",)), {})
        package = Package(
            "python", version[f"python{MINOR}"], "hdeb12_0_cpython", license="PSF-2.0", summary="CPython as Debian builds it",
            depends=tuple(depends) + (f"python_abi {MINOR}.* *_cp311", "__glibc >=2.36"),
        )
        print(os.path.basename(write(channel, package, python_files(tar, tree), level=10)))


if __name__ == "__main__":
    main()
