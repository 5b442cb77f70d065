"""Calls of a client, run one after the other: each is a test, and prints PASS or FAIL with a reason in one line."""

import re
import signal

CALLS = []
SECONDS = 60


def call(function):
    """Marks a function as a test; its name is the test's."""
    CALLS.append((function.__name__, function))
    return function


def refused(kind, function, *words):
    """The call must raise an error of this kind, with these words in it."""
    try:
        function()
    except kind as error:
        for word in words:
            assert word in str(error), f"no {word!r} in {error}"
        return
    raise AssertionError(f"expected {getattr(kind, '__name__', kind)}")


def late(*_):
    raise TimeoutError(f"no answer within {SECONDS} s")


def one_line(error):
    """An error's kind and text."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    return f"{type(error).__name__}: {text}"[:600]


def run():
    """Runs all calls; a failure does not stop those after it."""
    signal.signal(signal.SIGALRM, late)
    for name, function in CALLS:
        signal.alarm(SECONDS)
        try:
            function()
            print("PASS", name, flush=True)
        except Exception as error:  # whatever a client raises is its verdict
            print("FAIL", f"{name}: {one_line(error)}", flush=True)
        finally:
            signal.alarm(0)
