"""A real browser, Chromium, spoken to through two pipes by its own protocol. Needs nothing but Python's library."""

import base64
import json
import os
import select
import subprocess
import tempfile
import time

# Seconds: longer than anything takes on a slow machine.
PATIENCE = 120


class Browser:
    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory()
        reading, to_browser = os.pipe()
        from_browser, writing = os.pipe()
        # Chromium reads its descriptor 3 and writes to 4; a shell puts them there.
        command = [
            "bash", "-c", f'exec 13<&{reading} 14>&{writing} 3<&13 4>&14; exec "$@"', "-", program, "--headless=new",
            "--remote-debugging-pipe", f"--user-data-dir={self.folder.name}", "--no-first-run", "--disable-gpu",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
            "about:blank",
        ]
        if os.geteuid() == 0:
            # It refuses to run as root in its sandbox.
            command.insert(-1, "--no-sandbox")
        self.log = open(os.path.join(self.folder.name, "log"), "wb")
        self.process = subprocess.Popen(command, pass_fds=(reading, writing), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        os.close(reading)
        os.close(writing)
        self.to_browser, self.from_browser = to_browser, from_browser
        self.buffer, self.number, self.session = b"", 0, None
        # What the page asked for, and what it complained of.
        self.requests, self.complaints = [], []
        self.wait_for_load = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(domain + ".enable")

    def receive(self, deadline):
        while b"\0" not in self.buffer:
            if not select.select([self.from_browser], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            read = os.read(self.from_browser, 1 << 20)
            if not read:
                raise EOFError("the browser has ended")
            self.buffer += read
        message, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(message)
        method, params = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])
        elif method == "Page.loadEventFired":
            self.wait_for_load = False
        return message

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.receive(deadline)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def open(self, url):
        # A change behind the number sign alone would load nothing.
        for it in ("about:blank", url):
            self.wait_for_load = True
            self.call("Page.navigate", url=it)
            deadline = time.monotonic() + PATIENCE
            while self.wait_for_load:
                self.receive(deadline)
        self.settle()

    def size(self, width, height, dark=False, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)
        scheme = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script):
        """The value of a JavaScript expression, which may be a promise."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", script))
        return result["result"].get("value")

    def settle(self):
        """Until what has happened is drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")

    def key(self, key):
        text = key if len(key) == 1 else {"Enter": "\r"}.get(key, "")
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, code=key, windowsVirtualKeyCode={"Enter": 13, "Escape": 27}.get(key, 0))
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)
        self.settle()

    def type(self, text):
        for letter in text:
            self.key(letter)

    def wheel(self, x, y, by):
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=by)
        # It is scrolled smoothly, over some frames.
        for _ in range(4):
            self.settle()

    def click(self, selector):
        x, y = self.run(
            f"(() => {{ const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for event in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def shoot(self, file):
        image = self.call("Page.captureScreenshot", format="png")["data"]
        with open(file, "wb") as out:
            out.write(base64.b64decode(image))

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
        except (EOFError, OSError, TimeoutError):
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.folder.cleanup()
