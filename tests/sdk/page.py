"""Runs the blocks of a page in their order: python in one process, sh in one folder, files into it.

usage: page.py PAGE FOLDER: `KILN_REPLACE` is a JSON object of texts that stand for those of the page. A comment
`<!-- check: EXPRESSION -->` after a block must hold; `out` is what the last sh block printed.
"""

import json
import os
import re
import subprocess
import sys

import storage  # noqa: F401  (its names lead to kiln)
from workspace import URL  # noqa: F401  (makes an old SDK importable)

with open(sys.argv[1]) as file:
    page = file.read()
for text, instead in json.loads(os.environ["KILN_REPLACE"]).items():
    page = page.replace(text, instead)
os.chdir(sys.argv[2])

BLOCK = re.compile(r"^```(\w+) ?([\w./]*)\n(.*?)^```$|^<!-- check: (.*?) -->$", re.M | re.S)
names = {"out": ""}
counts = {"python": 0, "sh": 0, "check": 0, "file": 0}
for language, name, text, check in (found.groups() for found in BLOCK.finditer(page)):
    print("== " + (check or name or text.split("\n")[0]), flush=True)
    if check:
        counts["check"] += 1
        assert eval(check, names), "{}\nout: {}".format(check, names["out"])
    elif name:
        counts["file"] += 1
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        with open(name, "w") as out:
            out.write(text)
    elif language == "python":
        counts["python"] += 1
        exec(compile(text, "page", "exec"), names)
    elif language == "sh":
        counts["sh"] += 1
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], stdout=subprocess.PIPE, text=True)
        print(done.stdout, flush=True)
        assert done.returncode == 0, text
        names["out"] = done.stdout
    else:
        raise ValueError("a block of the page is not run: " + text)
print("== seen")
print(json.dumps(counts))
