"""Runs LocalStack bound to loopback; it listens on every interface whatever GATEWAY_LISTEN says.

LocalStack's own environment runs this file, so it imports nothing of ours.
"""

from __future__ import annotations

import functools
import importlib
import runpy
from typing import Any

# Only that environment has Twisted.
endpoints: Any = importlib.import_module("twisted.internet.endpoints")
endpoints.TCP4ServerEndpoint = functools.partial(endpoints.TCP4ServerEndpoint, interface="127.0.0.1")
runpy.run_module("localstack.runtime.main", run_name="__main__")
