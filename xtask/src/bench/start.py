"""The time from the start of kiln until /ready says yes.

start.py BUILDS DATA COMMAND...

The data folder is made by a first start and then given the builds: one in a hundred waits to be tried again, the rest
are over.
"""

import http.client
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time
from urllib.parse import urlsplit

BUILDS, DATA, COMMAND = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
RUNS = 7
FILL = """
CREATE TEMP TABLE numbers AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {builds})
    SELECT i, printf('%064x', i) AS hash FROM n;
INSERT OR IGNORE INTO workspaces (scope, created_ms) VALUES ('default', 0);
INSERT INTO definitions (scope, spec_hash, canonical, current_generation, created_ms)
    SELECT 'default', hash, '{{}}', 1, 0 FROM numbers;
INSERT INTO images (scope, spec_hash, generation, repository, digest, image_key, lock_hash, backend, size_bytes, created_ms,
    verified_ms)
    SELECT 'default', hash, 1, 'r', hash, hash, hash, 'docker', 1, 0, {now} FROM numbers;
INSERT INTO builds (id, scope, spec_hash, state, fence, attempt, repository, backend, refresh, actor, via, created_ms,
    due_boot, due_at)
    SELECT printf('%09d', i), 'default', hash, CASE WHEN i % 100 = 0 THEN 'QUEUED' ELSE 'READY' END, 1, 1, 'r', 'docker',
    0, 'a', 'v', 0, '{boot}', 1 << 60 FROM numbers;
ANALYZE;
"""


def start():
    """Starts kiln; how many seconds it took, and the process."""
    began = time.monotonic()
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if line.startswith("kiln listens on "):
            break
    host = urlsplit(line.split()[-1]).netloc
    while True:
        try:
            connection = http.client.HTTPConnection(host, timeout=5)
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return time.monotonic() - began, process
        except ConnectionError:
            pass
        time.sleep(0.002)


def stop(process):
    process.send_signal(signal.SIGTERM)
    if process.wait(60) != 0:
        sys.exit("kiln did not stop well")


stop(start()[1])
if BUILDS:
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    database = sqlite3.connect(DATA / "kiln.db")
    database.executescript(FILL.format(builds=BUILDS, now=int(time.time() * 1000), boot=boot))
    database.close()
times = []
for _ in range(RUNS):
    seconds, process = start()
    times.append(seconds)
    stop(process)
times.sort()
print(f"{BUILDS:>7} builds: ready after {times[0]:.3f} to {times[-1]:.3f} s, median {times[RUNS // 2]:.3f} s")
