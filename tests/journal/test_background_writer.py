"""One thread per process writes, whatever ends, hangs or forks."""

import threading

import pytest
from interwhen.journal._background_writer import BackgroundWriter


class Numbers(BackgroundWriter):
    """Notes which threads run at the same time. Each runs until it must end and *may_end* is set."""

    def __init__(self, *, can_be_told=True):
        super().__init__("numbers", 30.0)
        self.can_be_told, self.forgotten = can_be_told, 0
        self.may_end, self.running, self.most = threading.Event(), [], 0

    def _begin(self):
        self._told = threading.Event()
        return lambda told=self._told: self._write(told)

    def _write(self, told):
        self.running.append(threading.get_ident())
        self.most = max(self.most, len(self.running))
        told.wait(30)
        self.may_end.wait(30)
        self.running.remove(threading.get_ident())

    def _tell_to_end(self):
        if self.can_be_told:
            self._told.set()
        return self.can_be_told

    def _forget(self):
        self.forgotten += 1


@pytest.fixture
def numbers():
    made = Numbers()
    yield made
    made.can_be_told = True
    made.may_end.set()
    made.close()


def test_writer_starts_once_and_restarts_after_close(numbers):
    numbers.may_end.set()
    for _ in range(3):
        numbers.start()
        numbers.start()
        first = numbers._thread
        numbers.close()
        numbers.close()
        assert not first.is_alive()
    assert numbers.most == 1
    assert numbers.forgotten == 1  # in a process that has not written before


def test_new_writer_thread_waits_for_hanging_one(numbers):
    numbers.start()
    first, numbers.close_seconds = numbers._thread, 0.01
    numbers.close()
    numbers.start()
    second = numbers._thread
    assert first.is_alive()
    assert second is not first
    numbers.may_end.set()
    numbers.close_seconds = 30.0
    numbers.close()
    assert not first.is_alive()
    assert not second.is_alive()
    assert numbers.most == 1


def test_unwakeable_thread_keeps_writing(numbers):
    numbers.can_be_told = False
    numbers.start()
    first = numbers._thread
    numbers.close()
    numbers.start()
    assert numbers._thread is first
