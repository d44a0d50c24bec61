"""A workspace of kiln's, for the SDKs: `KILN_URL` is the server, `KILN_TOKEN` the token."""

import collections
import collections.abc
import os
import urllib.parse

import urllib3

# azureml-core 1.0.57 looks for these where Python had them until 3.9.
for name in ("Callable", "Iterable", "Mapping", "MutableMapping", "Sequence"):
    setattr(collections, name, getattr(collections.abc, name))

# And for this in a module of urllib3 that is a function now.
urllib3.request.urlencode = urllib.parse.urlencode

from azureml.core import Workspace  # noqa: E402
from azureml.core.authentication import AbstractAuthentication  # noqa: E402

URL = os.environ["KILN_URL"]


class Token(AbstractAuthentication):
    """Sends kiln's token with every request."""

    def _get_arm_token(self):
        return os.environ.get("KILN_TOKEN", "none")

    def _get_arm_end_point(self):
        return URL

    def _get_graph_token(self):
        return self._get_arm_token()

    def _get_all_subscription_ids(self):
        return [], "tenant"

    def _check_if_subscription_exists(self, *_args, **_kwargs):
        return True


def workspace(name="ws"):
    """`sub/rg/NAME` of the server."""
    try:
        token = Token(cloud="AzureCloud")
    except TypeError:
        token = Token()
    found = Workspace("sub", "rg", name, auth=token, _location="local", _disable_service_check=True, _workspace_id=name)
    found._discovery_url_internal = URL + "/discovery"
    return found
