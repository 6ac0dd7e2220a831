"""A headless browser that tests drive as a user does: with a mouse and a keyboard, and no network."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_DEADLINE_S = 60
# The browser reads commands from its descriptor 3 and writes answers to 4.
_START = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """A page of a running browser, driven by the DevTools protocol.

    Attributes:
        requests: Addresses asked for by the page, that of itself and embedded data left out.
        errors: What it logged, and exceptions of its scripts.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._number, self._unread, self._session = 0, b"", ""
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Give a command; what happens meanwhile is noted."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": values}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, page: Path, width: int = 1400, height: int = 1000, *, dark: bool = False) -> float:
        """Open a page; return after how many seconds it was ready."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        began = time.monotonic()
        self.call("Page.navigate", url=page.as_uri())
        self.wait("window.pochi && pochi.ready")
        return time.monotonic() - began

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _DEADLINE_S
        while not self.value(condition):
            assert self.errors == []
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.01)

    def select(self, control: str, value: object) -> None:
        """Choose a value of a selector as a user's choice does."""
        code = f"const c = document.getElementById({control!r}); c.value = {str(value)!r};"
        self.value(f"(() => {{ {code} c.dispatchEvent(new Event('change', {{bubbles: true}})); }})()")
        self.wait("pochi.ready")

    def view(self, name: str) -> None:
        """Click the button of a view."""
        self.click(f"[name=view][value={name}]")
        self.wait("pochi.ready")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Scroll to an element; return left, top, width and height within the window."""
        code = """((e) => {
          e.scrollIntoView({ block: "center" });
          const { x, y, width, height } = e.getBoundingClientRect();
          return [x, y, width, height];
        })"""
        left, top, width, height = self.value(f"{code}(document.querySelector({selector!r}))")
        return left, top, width, height

    def point(self, selector: str, across: float = 0.5, down: float = 0.5, *, click: bool = False) -> None:
        """Move the mouse to a place in an element, as shares of its width and height; perhaps click there."""
        left, top, width, height = self.box(selector)
        place = {"x": left + across * width, "y": top + down * height}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def click(self, selector: str, across: float = 0.5, down: float = 0.5) -> None:
        """Click a place in an element."""
        self.point(selector, across, down, click=True)

    def press(self, key: str) -> None:
        """Press a key that writes no character, such as `ArrowDown`."""
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}
        for kind in ("rawKeyDown", "keyUp"):
            code = codes[key]
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, file: Path) -> None:
        """Write a picture of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            read = os.read(self._answers, 1 << 20)
            assert read, "the browser ended"
            self._unread += read
        message, _, self._unread = self._unread.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        values = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                address = values["request"]["url"]
                if not address.startswith(("data:", "file:")):
                    self.requests.append(address)
            case "Log.entryAdded":
                self.errors.append(values["entry"]["text"])
            case "Runtime.consoleAPICalled":
                self.errors.append(str([part.get("value") for part in values["args"]]))
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(values["exceptionDetails"]))


@contextmanager
def headless(profile: Path) -> Iterator[Browser]:
    """Run a browser without a network."""
    assert CHROMIUM is not None
    (reads, commands), (answers, writes) = os.pipe(), os.pipe()
    options = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", _START, str(reads), str(writes), CHROMIUM, *options],
        pass_fds=(reads, writes), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    os.close(reads)
    os.close(writes)
    try:
        yield Browser(commands, answers)
    finally:
        os.close(commands)
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        os.close(answers)
