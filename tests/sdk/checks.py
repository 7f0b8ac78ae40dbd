"""What the checks of the SDKs have in common: a list of functions that are run in order, and the errors they expect."""

import time

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


def run_checks():
    """Prints a line per check; the first failure ends it with a traceback."""
    for function in CHECKS:
        start = time.monotonic()
        function()
        print(f"python: {function.__name__} ok ({time.monotonic() - start:.1f} s)", flush=True)
    print("all checks passed", flush=True)
