"""The program's end of a connection: frames in any pieces, full buffers, ends, and strangers."""

import socket
import threading

import anyio
import pytest
from interwhen._engine.worker_child import MOST, GarbledMessage, framed
from interwhen.integrations.ray._connection import HALF, Channel, EventLoop, dial, new_secret

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


class Ends:
    """A channel, the socket at its other end, and what the channel said."""

    def __init__(self):
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.received, self.lost = [], []
        self.channel = Channel(ours)
        self.channel.open(EventLoop(), self.received.append, self.lost.append)


@pytest.fixture
async def ends(anyio_backend):
    made = Ends()
    yield made
    made.channel.close()
    made.theirs.close()
    await anyio.sleep(0)  # a watching task of trio ends


async def until(condition):
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.002)


async def test_messages_arrive_whole_however_they_are_cut(ends):
    wanted = [b"", b"one", bytes(70_000), b"two"]
    data = b"".join(map(framed, wanted))
    for start, end in ((0, 3), (3, 9), (9, 20), (20, 40_000), (40_000, len(data))):
        ends.theirs.sendall(data[start:end])
        await anyio.sleep(0.002)
    await until(lambda: len(ends.received) == len(wanted))
    assert ends.received == wanted
    assert ends.lost == []


async def test_what_the_system_does_not_take_at_once_is_sent_later_and_in_order(ends):
    messages = [bytes([number]) * 300_000 for number in range(10)]
    for each in messages:
        ends.channel.send(each)
    wanted, found = b"".join(map(framed, messages)), bytearray()

    def read():
        while len(found) < len(wanted):
            found.extend(ends.theirs.recv(1 << 16))

    with anyio.fail_after(60):
        await anyio.to_thread.run_sync(read)
    assert found == wanted


async def test_the_end_of_the_other_side_is_told_once_after_its_messages(ends):
    ends.theirs.sendall(framed(b"last") + framed(b"torn")[:-1])
    ends.theirs.close()
    await until(lambda: ends.lost)
    ends.channel.send(b"too late")
    assert ends.received == [b"last"]
    assert ends.lost == ["its connection ended"]


async def test_a_failed_send_is_told_after_the_call(ends):
    ends.theirs.close()
    ends.channel.send(b"x")
    assert ends.lost == []
    await until(lambda: ends.lost)
    assert len(ends.lost) == 1


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request", b"iw1\n\xff\xff\xff\xff"])
async def test_garbage_ends_the_connection(ends, garbage):
    ends.theirs.sendall(framed(b"good") + garbage)
    await until(lambda: ends.lost)
    assert ends.received == [b"good"]
    assert "head of a message" in ends.lost[0]
    assert ends.theirs.recv(1) == b""


async def test_a_closed_channel_says_nothing(ends):
    ends.theirs.sendall(framed(b"x"))
    ends.channel.close()
    ends.channel.send(b"x")
    ends.theirs.close()
    for _ in range(5):
        await anyio.sleep(0.002)
    assert (ends.received, ends.lost) == ([], [])


async def test_a_message_that_is_too_large_is_refused(ends):
    with pytest.raises(GarbledMessage, match="must have at most"):
        ends.channel.send(bytes(MOST + 1))


@pytest.mark.parametrize(
    ("answer", "words"), [(b"", "closed it"), (bytes(HALF), "must know the secret"), (b"x", "closed it")]
)
def test_another_process_at_the_port_of_an_actor_is_refused(answer, words):
    secret, seen = new_secret(), []

    def answers():
        with listener.accept()[0] as sock:
            seen.append(sock.recv(1000))
            sock.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answers)
        thread.start()
        with pytest.raises(ConnectionError, match=words):
            dial(*listener.getsockname(), secret)
        thread.join()
    assert seen == [secret[:HALF]]  # never the half that the actor must know


def test_secrets_differ():
    assert len({new_secret() for _ in range(100)}) == 100
