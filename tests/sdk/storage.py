"""The SDKs upload to a storage account by its name, at port 443: here all of its names lead to `KILN_TLS_PORT`
on this machine, as a line of a resolver's configuration would have it.
"""

import os
import socket

PORT = int(os.environ["KILN_TLS_PORT"])
found = socket.getaddrinfo


def to_kiln(host, port, *arguments, **named):
    name = host.decode() if isinstance(host, bytes) else host
    if name and ".blob." in name:
        host, port = "127.0.0.1", PORT
    return found(host, port, *arguments, **named)


socket.getaddrinfo = to_kiln
