"""What the checks of the SDKs have in common: a list of functions that are run in order, and the errors they expect."""

import time
from contextlib import contextmanager

import httpx
import openai

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PIXEL_URL = "data:image/png;base64," + PIXEL
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def user(content):
    return [{"role": "user", "content": content}]


def answered(call, limited=openai.RateLimitError):
    """The call's answer; a limit is slept off as the gateway says, which must be enough."""
    try:
        return call()
    except limited as limit:
        time.sleep(int(limit.response.headers["retry-after-ms"]) / 1000)
        return call()


def raises(kind, status, code, call):
    """The error of OpenAI's SDK that the call must end with."""
    try:
        call()
    except openai.APIStatusError as error:
        assert type(error) is kind, repr(error)
        assert (error.status_code, error.code) == (status, code), repr(error)
        assert error.request_id, "x-request-id is read by the SDK"
        return error
    raise AssertionError(f"no {kind.__name__}")


class Providers:
    """The simulated providers as their control API shows them."""

    def __init__(self, url):
        self.http = httpx.Client(base_url=url)

    @contextmanager
    def failing(self, model, fault, **more):
        """Every call to the model's provider meets this fault."""
        rule = {"provider": model.split("/")[0], "fault": fault, **more}
        self.http.post("/_control/faults", json=rule).raise_for_status()
        try:
            yield
        finally:
            self.http.delete("/_control/faults").raise_for_status()

    def calls(self, model):
        log = self.http.get("/_audit/log", params={"provider": model.split("/")[0]})
        return log.raise_for_status().json()["calls"]

    def see_leave(self, model, leave, within_ms):
        """The caller that makes a call, and has left it when `leave` returns, is seen to leave within the bound, at one of three
        times at least: a busy machine may come late."""
        late = []
        while not late or min(late) > within_ms:
            assert len(late) < 3, f"{model}: the provider sees it {late} ms after the caller has left"
            late.append(self.lateness(model, leave))

    def lateness(self, model, leave):
        before = len(self.calls(model))
        leave()
        left_ms = time.time() * 1000
        deadline = time.monotonic() + 5
        while not (calls := self.calls(model)[before:]) or calls[-1]["ended_ms"] is None:
            assert time.monotonic() < deadline, f"{model}: {calls} go on"
            time.sleep(0.01)
        assert len(calls) == 1 and calls[0]["cancelled"], (model, calls)
        return calls[0]["ended_ms"] - left_ms


def run_checks():
    """Prints a line per check; the first failure ends it with a traceback."""
    for function in CHECKS:
        start = time.monotonic()
        function()
        print(f"python: {function.__name__} ok ({time.monotonic() - start:.1f} s)", flush=True)
    print("all checks passed", flush=True)
