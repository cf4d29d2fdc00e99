# SPDX-License-Identifier: MIT
"""The E2B SDK itself, in a node of its own in the daemon's namespace, as a test tells it what to do."""

import json
import shutil
import subprocess

import pytest

from daemon import TENANT_KEY
from postern import BUILD, ROOT, Running
from wait import until

ENTRY = (ROOT / BUILD / "sdk" / "node_modules" / "e2b" / "dist" / "index.mjs").resolve()
REPLY_S = 60


class SdkError(Exception):
    """What the SDK threw: the names of its classes from its own up, its message, the statusCode it carries."""

    def __init__(self, error):
        self.classes, self.message = error["classes"], error["message"]
        self.status = error.get("statusCode")
        super().__init__(f"{self.classes[:1]} {self.message}")


class Sdk(Running):
    """run() takes the body of an async JavaScript function; `my` keeps what it wants to find again."""

    def __init__(self, daemon, key=TENANT_KEY):
        # `make test` fails before it comes here when the SDK cannot be installed; `make e2e` names what it leaves out.
        if not ENTRY.exists() or not shutil.which("node"):
            pytest.skip("the E2B SDK is not installed: tools/e2b-sdk.sh says why")
        env = {"E2B_API_URL": f"http://127.0.0.1:{daemon.port}", "E2B_API_KEY": key, "E2B_DEBUG": "",
               "E2B_SANDBOX_URL": f"http://127.0.0.1:{daemon.port}"}
        super().__init__(daemon.net, ["node", str(ROOT / "tests" / "sdk" / "client.mjs"), str(ENTRY)], env=env,
                         stdin=subprocess.PIPE)
        self.await_line(lambda line: line == '{"ready":true}', "the SDK is loaded", REPLY_S)
        self.done = 1

    def run(self, body):
        """What the body returns; SdkError with what it throws."""
        self.process.stdin.write(json.dumps(body) + "\n")
        self.process.stdin.flush()
        until(lambda: len(self.lines) > self.done or self.process.poll() is not None, f"an answer to {body}", REPLY_S)
        assert len(self.lines) > self.done, self.text()
        reply = json.loads(self.lines[self.done])
        self.done += 1
        if "error" in reply:
            raise SdkError(reply["error"])
        return reply["value"]

    def use(self, key):
        """What is called from now on is called with this key; instances keep the one that they were made with."""
        self.run(f"process.env.E2B_API_KEY = {json.dumps(key)}")

    def error(self, body):
        """The SdkError that the body must end with."""
        with pytest.raises(SdkError) as caught:
            self.run(body)
        return caught.value
