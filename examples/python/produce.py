"""Writes numbered records and prints where each one landed.

usage: produce.py BOOTSTRAP TOPIC COUNT
"""

import sys

from confluent_kafka import Producer


def landed(error, message):
    if error is not None:
        sys.exit(f"not written: {error}")
    print(f"written {message.topic()}-{message.partition()}@{message.offset()}", flush=True)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    bootstrap, topic, count = sys.argv[1:]
    # acks=all is the client's default; idempotence makes a retry write nothing twice.
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for number in range(int(count)):
        producer.produce(topic, key=f"key-{number}", value=f"value-{number}", on_delivery=landed)
        producer.poll(0)
    if producer.flush(30) != 0:
        sys.exit("not written: no answer within 30 s")


if __name__ == "__main__":
    main()
