"""A mixed load on a kiln, and what its process holds meanwhile.

soak.py URL BASE BODIES PROC MINUTES RATE

Of a hundred requests 60 are hits of the same bytes, 20 hits of bytes that never come again, 10 look at a build, 5 follow
a log and hang up, 4 are faulty, and one builds something new. Prints a line every half minute; fails when answers are
wrong, or when memory or open files grow after the first third.
"""

import collections
import concurrent.futures
import http.client
import itertools
import json
import os
import pathlib
import random
import sys
import time
from urllib.parse import urlsplit

URL, BASE, BODIES, PROC = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
MINUTES, RATE = float(sys.argv[5]), int(sys.argv[6])
HOST = urlsplit(URL).netloc
KNOWN = BODIES.read_text().splitlines()
GROWTH = 1.10

numbers = itertools.count()
builds = collections.deque(["01900000-0000-7000-8000-000000000000"], maxlen=100)
answers = collections.Counter()
chance = random.Random(1)


def send(method, path, body=None, read=None):
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(HOST, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read(read)
    finally:
        connection.close()


def expect(kind, status, allowed):
    answers[kind if status in allowed else f"{kind}: {status}"] += 1


def same():
    status, body = send("POST", "/v1/builds", chance.choice(KNOWN))
    expect("same bytes", status if json.loads(body)["cached"] else "no hit", (200,))


def fresh():
    body = chance.choice(KNOWN) + "".join(" \t"[int(bit)] for bit in f"{next(numbers):b}")
    status, body = send("POST", "/v1/builds", body)
    expect("fresh bytes", status if json.loads(body)["cached"] else "no hit", (200,))


def look():
    expect("look", send("GET", f"/v1/builds/{chance.choice(builds)}")[0], (200, 404))


def follow():
    expect("follow", send("GET", f"/v1/builds/{chance.choice(builds)}/logs", read=64)[0], (200, 404))


def faulty():
    body = chance.choice(["{", "{}", '{"requirements": "-e /etc"}', '{"conda": "dependencies: [python=3.11"}'])
    expect("faulty", send("POST", "/v1/builds", body)[0], (400,))


def build():
    environment = {
        "python": {"userManagedDependencies": True},
        "docker": {"baseImage": BASE},
        "environmentVariables": {"NUMBER": f"{os.getpid()}-{next(numbers)}"},
    }
    status, body = send("POST", "/v1/builds", json.dumps({"environment": environment}))
    if status == 202:
        builds.append(json.loads(body)["build_id"])
    expect("build", status, (202,))


MIX = [same] * 60 + [fresh] * 20 + [look] * 10 + [follow] * 5 + [faulty] * 4 + [build]


def held():
    """Resident memory in KiB and open files of the process."""
    status = (PROC / "status").read_text()
    memory = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(memory.split()[1]), len(list((PROC / "fd").iterdir()))


def main():
    start = time.monotonic()
    samples = []
    print(f"{'seconds':>8} {'requests':>9} {'MiB':>8} {'files':>6}")
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        pending = set()
        for number in range(int(MINUTES * 60 * RATE)):
            due = start + number / RATE
            time.sleep(max(0.0, due - time.monotonic()))
            pending.add(pool.submit(chance.choice(MIX)))
            if number % RATE == 0:
                done, pending = concurrent.futures.wait(pending, 0)
                for future in done:
                    future.result()
                samples.append((time.monotonic() - start, *held()))
            if number % (30 * RATE) == 0:
                seconds, memory, files = samples[-1]
                print(f"{seconds:>8.0f} {number:>9} {memory / 1024:>8.1f} {files:>6}", flush=True)
        for future in pending:
            future.result()
    print(dict(sorted(answers.items())))
    third = len(samples) // 3
    first, last = samples[third : 2 * third], samples[2 * third :]
    faults = [f"{number} wrong answers: {kind}" for kind, number in answers.items() if ":" in kind]
    for name, column in (("memory", 1), ("open files", 2)):
        before, after = (sorted(sample[column] for sample in part)[len(part) // 2] for part in (first, last))
        print(f"{name}: median of the second third {before}, of the last {after}, ratio {after / before:.3f}")
        if after > GROWTH * before:
            faults.append(f"{name} grows")
    sys.exit("; ".join(faults) or None)


main()
