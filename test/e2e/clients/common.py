"""Tests of what pylibmc and pymemcache have in common. Values are bytes: the
libraries give those back as they were set, and texts each in its own way."""
from suite import key, raises, same, test


def tests_of(c):
    """Lists the tests, for a client that waits for answers."""

    @test
    def set_and_get():
        k = key('a')
        same(c.get(k), None)
        same(c.get(k, b'default'), b'default')
        same(c.set(k, b'one'), True)
        same(c.get(k), b'one')
        same(c.set(k, b''), True)
        same(c.get(k), b'')
        c[k] = b'item'
        same(c[k], b'item')
        del c[k]
        raises(KeyError, lambda: c[k])

    @test
    def append_prepend():
        k = key('append')
        same(c.append(k, b'no'), False)
        same(c.prepend(k, b'no'), False)
        same(c.get(k), None)
        c.set(k, b'm')
        same(c.append(k, b'r'), True)
        same(c.prepend(k, b'l'), True)
        same(c.get(k), b'lmr')

    @test
    def cas():
        k = key('cas')
        same(c.gets(k), (None, None))
        c.set(k, b'one')
        value, token = c.gets(k)
        same(value, b'one')
        same(c.cas(k, b'two', token), True)
        same(c.cas(k, b'three', token), False)
        same(c.get(k), b'two')

    @test
    def delete():
        k = key('delete')
        same(c.delete(k), False)
        c.set(k, b'x')
        same(c.delete(k), True)
        same(c.get(k), None)

    @test
    def large_values():
        k = key('large')
        for size in (1000, 4096, 65536, 300000, 1000000):
            value = bytes([size % 251]) * size
            same(c.set(k, value), True)
            same(c.get(k), value)
