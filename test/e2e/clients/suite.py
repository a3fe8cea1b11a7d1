"""What the suites of Python clients share: a list of tests, run one by one.

A suite is called with HOST and PORT of a server that is its own for the time,
and flushes it. It prints a line for each test and "N passed, N failed" at last.
"""
import sys
import time
import traceback

HOST = sys.argv[1]
PORT = int(sys.argv[2])

_tests = []
# Keys of a run of their own: what an earlier one left is not found.
_run = '%x' % (time.time_ns() & 0xffffffffff)


def test(function):
    """Lists a test; they run in the order in which they are written."""
    _tests.append(function)
    return function


def key(name):
    return '%s:%s' % (_run, name)


def raises(kinds, function, *args, **kwargs):
    """Calls function, which must raise one of kinds, and gives the exception."""
    try:
        result = function(*args, **kwargs)
    except kinds as e:
        return e
    raise AssertionError('no exception but %r' % (result,))


def same(got, want):
    assert got == want, 'got %.200r, want %.200r' % (got, want)


def eventually(seconds, ask):
    """Waits until ask() is true."""
    end = time.time() + seconds
    while not ask():
        assert time.time() < end, 'not within %d seconds' % seconds
        time.sleep(0.1)


def run():
    """Runs the tests and ends the process."""
    failed = 0
    for t in _tests:
        try:
            t()
            print('ok      ' + t.__name__, flush=True)
        except Exception:
            failed += 1
            print('FAILED  ' + t.__name__ + '\n' + traceback.format_exc(), flush=True)
    print('%d passed, %d failed' % (len(_tests) - failed, failed))
    sys.exit(1 if failed or not _tests else 0)
