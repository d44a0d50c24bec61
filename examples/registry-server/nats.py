"""As much of the NATS client protocol as asking kiln takes, with the standard library.

A platform uses its language's NATS client instead; the subjects and messages are the same.
"""

import json
import secrets
import socket
from urllib.parse import urlsplit


class Connection:
    """A connection to one broker, without TLS."""

    def __init__(self, address, timeout=660):
        parts = urlsplit(address)
        self.socket = socket.create_connection((parts.hostname, parts.port or 4222), timeout)
        self.stream = self.socket.makefile("rb")
        self.subscriptions = 0
        self.line()  # INFO
        options = {"verbose": False, "pedantic": False, "headers": True, "name": "registry-server"}
        if parts.username:
            options |= {"user": parts.username, "pass": parts.password or ""}
        self.send(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
        while self.line() != "PONG":
            pass

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        line = self.stream.readline().decode().rstrip("\r\n")
        if not line:
            raise ConnectionError("the broker closed the connection")
        if line.startswith("-ERR"):
            raise ConnectionError(line)
        return line

    def subscribe(self, subject):
        self.subscriptions += 1
        self.send(f"SUB {subject} {self.subscriptions}\r\n".encode())

    def message(self):
        """The next message of any subscription: its subject and body."""
        while True:
            words = self.line().split(" ")
            if words[0] == "PING":
                self.send(b"PONG\r\n")
            elif words[0] in ("MSG", "HMSG"):
                head = int(words[-2]) if words[0] == "HMSG" else 0
                data = self.stream.read(int(words[-1]) + 2)[:-2]
                return words[1], data[head:]

    def store(self, subject, body, message_id):
        """Publishes to a stream and waits until the broker has stored the message."""
        inbox = "_INBOX." + secrets.token_hex(12)
        self.subscribe(inbox)
        head = f"NATS/1.0\r\ncontent-type: application/cloudevents+json\r\nNats-Msg-Id: {message_id}\r\n\r\n".encode()
        self.send(b"HPUB %s %s %d %d\r\n" % (subject.encode(), inbox.encode(), len(head), len(head) + len(body)))
        self.send(head + body + b"\r\n")
        while True:
            to, answer = self.message()
            if to == inbox:
                break
        answer = json.loads(answer or b'{"error": {"description": "no stream stores this subject"}}')
        if error := answer.get("error"):
            raise ConnectionError(error["description"])

    def close(self):
        self.socket.close()
