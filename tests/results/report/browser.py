"""Headless Chromium over its debugging pipe: opens a page at a width and in a colour scheme,
clicks, and takes pictures.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

BINARY = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--remote-debugging-pipe",
         "--no-first-run", "--hide-scrollbars", "--disable-dev-shm-usage")  # fmt: skip


class Browser:
    """One process with one page. ``errors`` collects what the page's console reports."""

    def __init__(self, home: Path, patience: float = 60.0) -> None:
        assert BINARY is not None
        self.errors: list[str] = []
        self._patience, self._sent, self._buffer, self._session = patience, 0, b"", ""
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        flags = " ".join(FLAGS)
        shell = f'exec "$0" {flags} --user-data-dir="$1" about:blank 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, BINARY, str(home / "profile")],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)

    def __enter__(self) -> Browser:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(self._patience)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its result."""
        self._sent += 1
        command = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._out, json.dumps(command).encode() + b"\0")
        while (answer := self._next()).get("id") != self._sent:
            pass
        assert "error" not in answer, answer
        return dict(answer["result"])

    def open(self, page: Path, width: int, dark: bool = False) -> float:
        """Opens the page and returns the milliseconds until everything on it was drawn and could be
        used.
        """
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.errors.clear()
        # or the page before would still be found ready
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=page.resolve().as_uri())
        until = time.monotonic() + self._patience
        while time.monotonic() < until:
            if ready := self.run(
                "location.protocol === 'file:' && document.documentElement?.dataset.ready"
            ):
                return float(ready)
            time.sleep(0.02)
        raise AssertionError(f"the page was not ready in {self._patience} s: {self.errors}")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression on the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, x: float, y: float) -> None:
        """A click at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path: Path) -> None:
        """The whole page, as far down as it goes."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], self._patience)
            more = os.read(self._in, 1 << 20) if ready else b""
            assert more, "Chromium does not answer"
            self._buffer += more
        text, self._buffer = self._buffer.split(b"\0", 1)
        message = dict(json.loads(text))
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        given = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(given["exceptionDetails"])[:500])
        if message.get("method") == "Runtime.consoleAPICalled" and given.get("type") in (
            "error",
            "warning",
            "assert",
        ):
            self.errors.append(json.dumps(given["args"])[:500])
        if message.get("method") == "Log.entryAdded" and given["entry"].get("level") in (
            "error",
            "warning",
        ):
            self.errors.append(given["entry"]["text"])
        if message.get("method") == "Network.requestWillBeSent" and not given["request"][
            "url"
        ].startswith(("file:", "data:")):
            self.errors.append("asked for " + given["request"]["url"])
