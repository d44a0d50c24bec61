#!/usr/bin/env python3
"""Serves the test bed's channels and package index over http.

usage: serve.py ROOT LISTEN...        (LISTEN = ADDRESS:PORT)

GET and HEAD of files, `index.html` for folders. An ETag is made of size and modification time in nanoseconds, so that a
channel that gains a package within the same second is seen; there are no ranges. Below `/private/` the user `kiln` and the
password `s3cret` are needed (Basic); `/t/<token>/PATH` serves `/PATH` for the token `tk-0123456789`, otherwise 403.
"""
import base64
import http.server
import os
import posixpath
import sys
import threading
import urllib.parse

LOGIN = "Basic " + base64.b64encode(b"kiln:s3cret").decode()
TOKEN = "tk-0123456789"
TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8"}


class Handler(http.server.BaseHTTPRequestHandler):
    """One request: a file below `root`, or an error without a body worth reading."""

    protocol_version = "HTTP/1.1"
    server_version = "kiln-testbed"
    root = "."

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def answer(self, body):
        path = posixpath.normpath(urllib.parse.unquote(self.path.split("?")[0]))
        folder = self.path.split("?")[0].endswith("/")
        if path.startswith("/t/"):
            _, _, token, rest = path.split("/", 3) if path.count("/") > 2 else ("", "", "", "")
            if token != TOKEN:
                return self.refuse(403)
            path = "/" + rest
        elif (path + "/").startswith("/private/") and self.headers.get("Authorization") != LOGIN:
            return self.refuse(401, [("WWW-Authenticate", 'Basic realm="kiln"')])
        file = os.path.join(self.root, path.lstrip("/"))
        if os.path.isdir(file):
            if not folder:
                return self.refuse(301, [("Location", urllib.parse.quote(path) + "/")])
            file = os.path.join(file, "index.html")
        try:
            with open(file, "rb") as source:
                status = os.fstat(source.fileno())
                etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
                if self.headers.get("If-None-Match") == etag:
                    return self.refuse(304, [("ETag", etag)])
                self.send_response(200)
                self.send_header("Content-Type", TYPES.get(os.path.splitext(file)[1], "application/octet-stream"))
                self.send_header("Content-Length", str(status.st_size))
                self.send_header("ETag", etag)
                self.send_header("Cache-Control", "no-cache")
                self.end_headers()
                if body:
                    self.copy(source, status.st_size)
        except (FileNotFoundError, NotADirectoryError):
            self.refuse(404)

    def copy(self, source, size):
        while size > 0:
            chunk = source.read(min(size, 1 << 20))
            if not chunk:
                self.close_connection = True
                return
            self.wfile.write(chunk)
            size -= len(chunk)

    def refuse(self, status, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    Handler.root = os.path.abspath(sys.argv[1])
    servers = []
    for listen in sys.argv[2:]:
        host, _, port = listen.rpartition(":")
        servers.append(http.server.ThreadingHTTPServer((host, int(port)), Handler))
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    servers[0].serve_forever()


if __name__ == "__main__":
    main()
