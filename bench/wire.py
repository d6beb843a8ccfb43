"""Questions that the cluster benchmark asks a broker itself, over a connection of its own: Metadata, DescribeQuorum, and by way of
ListOffsets whether it leads.

A librdkafka client asks whichever broker it likes once it knows them all, also one that has just come back and still tells
what it knew when it left; and it does not have DescribeQuorum or leader epochs. The tools that have take a JVM per question.
"""

import socket
import struct
from dataclasses import dataclass

LIST_OFFSETS, LIST_OFFSETS_VERSION = 2, 6
METADATA, METADATA_VERSION = 3, 12
DESCRIBE_QUORUM, DESCRIBE_QUORUM_VERSION = 55, 0
QUORUM_LOG = b"__cluster_metadata"
NO_TAGS = b"\0"


class NoAnswer(Exception):
    """The broker is not there, or says an error."""


@dataclass(frozen=True)
class Partition:
    leader: int
    epoch: int
    isr: tuple


@dataclass(frozen=True)
class Told:
    """What one broker says of the cluster and one topic."""

    brokers: frozenset
    partitions: dict


def compact(data):
    assert len(data) < 127
    return bytes([len(data) + 1]) + data


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, layout):
        found = struct.unpack_from(">" + layout, self.data, self.at)
        self.at += struct.calcsize(">" + layout)
        return found[0] if len(found) == 1 else found

    def varint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def length(self):
        return max(0, self.varint() - 1)

    def skip_string(self):
        length = self.length()  # which moves `at` itself
        self.at += length

    def skip_tags(self):
        for _ in range(self.varint()):
            self.varint()
            length = self.varint()
            self.at += length

    def numbers(self):
        count = self.length()
        found = struct.unpack_from(f">{count}i", self.data, self.at)
        self.at += 4 * count
        return found


class Connection:
    """To one broker; made when something is asked, and again after it broke."""

    def __init__(self, port):
        self.port, self.socket, self.sent = port, None, 0

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def ask(self, key, version, body, within_s):
        try:
            if self.socket is None:
                self.socket = socket.create_connection(("127.0.0.1", self.port), within_s)
            self.socket.settimeout(within_s)
            self.sent += 1
            frame = struct.pack(">hhih", key, version, self.sent, -1) + NO_TAGS + body
            self.socket.sendall(struct.pack(">i", len(frame)) + frame)
            answer = Reader(self.exactly(struct.unpack(">i", self.exactly(4))[0]))
            if answer.take("i") != self.sent:
                raise OSError("an answer to another question")
            answer.skip_tags()
            return answer
        except OSError as error:
            self.close()
            raise NoAnswer(f"the broker on port {self.port}: {error}") from error

    def exactly(self, count):
        parts = []
        while count:
            part = self.socket.recv(min(count, 1 << 20))
            if not part:
                raise OSError("the connection was closed")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def topic(self, name, within_s=5):
        """What the broker says of a topic; no partitions where it knows none of that name."""
        wanted = bytes(16) + compact(name.encode()) + NO_TAGS
        answer = self.ask(METADATA, METADATA_VERSION, b"\2" + wanted + b"\0\0" + NO_TAGS, within_s)
        answer.take("i")  # throttle time
        brokers = set()
        for _ in range(answer.length()):
            brokers.add(answer.take("i"))
            answer.skip_string()
            answer.take("i")
            answer.skip_string()
            answer.skip_tags()
        answer.skip_string()  # cluster id
        answer.take("i")  # controller
        partitions = {}
        for _ in range(answer.length()):
            answer.take("h")
            answer.skip_string()
            answer.take("16s?")
            for _ in range(answer.length()):
                _, number, leader, epoch = answer.take("hiii")
                answer.numbers()  # replicas
                isr = answer.numbers()
                answer.numbers()  # offline replicas
                answer.skip_tags()
                partitions[number] = Partition(leader, epoch, isr)
            answer.take("i")
            answer.skip_tags()
        return Told(frozenset(brokers), partitions)

    def leads(self, topic, number, epoch, within_s=5):
        """Whether the broker itself says that it leads a partition under this leader epoch. Cheap, however many partitions there are."""
        partition = b"\2" + struct.pack(">iiq", number, epoch, -1) + NO_TAGS
        body = struct.pack(">ib", -1, 0) + b"\2" + compact(topic.encode()) + partition + NO_TAGS + NO_TAGS
        answer = self.ask(LIST_OFFSETS, LIST_OFFSETS_VERSION, body, within_s)
        answer.take("i")  # throttle time
        if answer.length() != 1:
            raise NoAnswer(f"the broker on port {self.port} says nothing of {topic}")
        answer.skip_string()
        if answer.length() != 1:
            raise NoAnswer(f"the broker on port {self.port} says nothing of {topic}-{number}")
        _, error = answer.take("ih")
        return error == 0

    def quorum(self, within_s=5):
        """(leader, leader epoch) of the metadata quorum."""
        partition = b"\2" + struct.pack(">i", 0) + NO_TAGS
        body = b"\2" + compact(QUORUM_LOG) + partition + NO_TAGS + NO_TAGS
        answer = self.ask(DESCRIBE_QUORUM, DESCRIBE_QUORUM_VERSION, body, within_s)
        error = answer.take("h")
        if error or answer.length() != 1:
            raise NoAnswer(f"the broker on port {self.port} answers error {error} to DescribeQuorum")
        answer.skip_string()
        if answer.length() != 1:
            raise NoAnswer(f"the broker on port {self.port} knows no quorum")
        _, error, leader, epoch = answer.take("ihii")
        if error or leader < 0:
            raise NoAnswer(f"the broker on port {self.port} knows no leader of the quorum (error {error})")
        return leader, epoch
