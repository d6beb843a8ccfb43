"""Reads a topic in a group and shows the three ways to commit.

usage: consume.py BOOTSTRAP TOPIC GROUP auto|sync|async COUNT

auto: the client commits every second; sync: this program commits and waits; async: it commits and is told later.
When COUNT records are read and committed it stays in the group, idle, until it is ended.
"""

import sys

from confluent_kafka import Consumer, KafkaError


def show(partitions):
    for partition in partitions:
        if partition.offset >= 0:
            print(f"committed {partition.topic}-{partition.partition}@{partition.offset}", flush=True)


def told(error, partitions):
    if error is not None:
        print(f"not committed: {error}", file=sys.stderr, flush=True)
    else:
        show(partitions)


def main():
    if len(sys.argv) != 6 or sys.argv[4] not in ("auto", "sync", "async"):
        sys.exit(__doc__)
    bootstrap, topic, group, mode, count = sys.argv[1:]
    wanted = int(count)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": mode == "auto",
            "auto.commit.interval.ms": 1000,
            "session.timeout.ms": 6000,
            "on_commit": told if mode != "sync" else (lambda error, partitions: None),
        }
    )
    consumer.subscribe([topic])
    read = 0
    try:
        while True:
            if read >= wanted:
                consumer.pause(consumer.assignment())  # stay a member of the group, take nothing more
            message = consumer.poll(0.1)
            if message is None:
                continue
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:
                    print(f"not read: {message.error()}", file=sys.stderr, flush=True)
                continue
            print(f"read {message.topic()}-{message.partition()}@{message.offset()} {message.value().decode()}", flush=True)
            read += 1
            if mode == "sync":
                show(consumer.commit(message=message, asynchronous=False))
            elif mode == "async":
                consumer.commit(message=message, asynchronous=True)
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
