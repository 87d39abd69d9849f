"""A browser that a test drives through two pipes: any width of page, keys, colour schemes, what is read aloud.

The protocol is that of Chrome's developer tools (https://chromedevtools.github.io/devtools-protocol/): JSON objects,
each ended by a zero byte, written to the browser's file descriptor 3 and read from 4.
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

CHROMIUM = shutil.which("chromium")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    "--remote-debugging-pipe",
)


class Browser:
    """One page in a headless browser; use it in a ``with`` statement."""

    def __init__(self, profile: Path):
        command_read, self._out = os.pipe()
        self._in, answer_write = os.pipe()
        # Dup'ed above 4 first, so that putting them at 3 and 4 overwrites neither.
        fds = [os.dup2(fd, 100 + index) for index, fd in enumerate((command_read, answer_write))]
        command = f'exec "$0" "$@" 3<&{fds[0]} 4>&{fds[1]}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, CHROMIUM or "chromium", *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=fds,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (command_read, answer_write, *fds):
            os.close(fd)
        self._buffer, self._number, self._session = b"", 0, ""
        self.errors: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; RuntimeError with the browser's words if it fails."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                found: dict[str, Any] = answer["result"]
                return found
            self._note(answer)

    def open(self, page: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Open a file at a width in CSS pixels and wait until its charts are drawn."""
        self.size(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=page.resolve().as_uri())
        self.wait("document.documentElement?.dataset.ready === 'yes'")

    def size(self, width: int, height: int) -> None:
        """Give the page that width and height."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)

    def run(self, script: str) -> Any:
        """Evaluate JavaScript and return its value; RuntimeError with the message when it throws."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 60.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            if time.monotonic() > end:
                raise TimeoutError(script)
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press and let go a key, such as "Tab", "ArrowDown" or "Enter"."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "End": 35, "Home": 36}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        words = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": codes[key]}
        if key in (" ", "Enter"):
            words["text"] = "\r" if key == "Enter" else " "
        self.send("Input.dispatchKeyEvent", type="keyDown", **words)
        self.send("Input.dispatchKeyEvent", type="keyUp", **words)

    def picture(self, path: Path, selector: str | None = None) -> None:
        """Write a PNG of the whole page, or of the first element that a selector finds."""
        box = self.run(
            f"(() => {{ const box = document.querySelector({json.dumps(selector or 'body')}).getBoundingClientRect();"
            " return [box.left + scrollX, box.top + scrollY, box.width, box.height]; })()"
        )
        clip = dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1}
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], 60)
            chunk = os.read(self._in, 1 << 16) if ready else b""
            if not chunk:
                raise RuntimeError("the browser does not answer")
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what the console and the browser's log complain of."""
        method, words = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown" or (
            method == "Runtime.consoleAPICalled" and words.get("type") in ("error", "assert")
        ):
            self.errors.append(json.dumps(words))
        if method == "Log.entryAdded" and words.get("entry", {}).get("level") == "error":
            self.errors.append(words["entry"].get("text", ""))
