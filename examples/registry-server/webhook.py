"""Standard Webhooks (https://www.standardwebhooks.com) with the standard library: signing, checking, receiving."""

import base64
import hashlib
import hmac
import http.server
import json
import queue
import threading
import time

TOLERANCE = 300  # seconds


def key(secret):
    """The bytes of a `whsec_...` secret."""
    return base64.b64decode(secret.strip().removeprefix("whsec_"))


def signature(secret, message_id, timestamp, body):
    """`v1,...` of one message."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key(secret), signed, hashlib.sha256)).decode()


def headers(secret, message_id, body):
    """The headers that make a signed message of a body."""
    now = int(time.time())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(secret, message_id, now, body),
    }


def is_genuine(secret, received, body):
    """Whether headers and body are signed with the secret, and fresh."""
    message_id, timestamp = received.get("webhook-id", ""), received.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    expected = signature(secret, message_id, int(timestamp), body)
    given = received.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(expected, one) for one in given)


class Inbox:
    """Receives signed events at `url`. Each event arrives once, also when kiln sends it again."""

    def __init__(self, secret, address="127.0.0.1"):
        self.events = queue.Queue()
        seen = set()
        events = self.events

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                genuine = is_genuine(secret, self.headers, body)
                self.send_response(204 if genuine else 401)
                self.end_headers()
                event = self.headers.get("webhook-id")
                if genuine and event not in seen:
                    seen.add(event)
                    events.put(json.loads(body))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
