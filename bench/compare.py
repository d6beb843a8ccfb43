"""Runs one Millrace broker and one Apache Kafka broker, one after the other, under the same client, and prints both.

Measured from outside: start of the process to the first acknowledged record (librdkafka), resident memory idle and after
load, latency of acks=all at a fixed rate and throughput unthrottled (Kafka's own ProducerPerformance), processor time of
the broker per record. Millrace syncs before it acknowledges; Kafka by default does not, so a second Kafka run with
flush.messages=1 shows what the same promise costs there.
"""

import argparse
import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid

from common import RECORD_SIZE, free_port, machine, processor_s, produce, resident_mib, table
from confluent_kafka import Producer

RATE = 20_000
DEADLINE_S = 120


class Millrace:
    name = "Millrace (sync)"

    def __init__(self, arguments):
        self.binary = os.path.abspath(arguments.broker)

    def prepare(self, folder, port):
        return [
            self.binary,
            "--override", f"listeners=PLAINTEXT://127.0.0.1:{port}",
            "--override", f"log.dirs={folder}/data",
            "--override", f"http.listener=127.0.0.1:{free_port()}",
            "--override", f"admin.listener=127.0.0.1:{free_port()}",
            "--override", "auto.create.topics.enable=true",
        ]


class Kafka:
    def __init__(self, arguments, flush):
        self.jars = f"{os.path.abspath(arguments.tools)}/*"
        self.flush = flush
        self.name = "Kafka 4.4 (flush.messages=1)" if flush else "Kafka 4.4 (default, no sync)"

    def prepare(self, folder, port):
        controller = free_port()
        properties = f"{folder}/server.properties"
        with open(properties, "w") as file:
            file.write(
                f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
{"log.flush.interval.messages=1" if self.flush else ""}
"""
            )
        cluster = uuid.uuid4()
        cluster_id = base64.urlsafe_b64encode(cluster.bytes).decode().rstrip("=")
        subprocess.run(
            ["java", "-cp", self.jars, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", properties],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        return ["java", "-Xmx1G", "-Xms1G", "-XX:+UseG1GC", "-cp", self.jars, "kafka.Kafka", properties]


def first_acknowledged(command, port, log):
    """Starts the broker and returns (process, seconds to the first acknowledged record)."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
            break
        except OSError:
            if process.poll() is not None or time.monotonic() - start > DEADLINE_S:
                log.flush()
                sys.exit(f"the broker did not start: {open(log.name).read()[-2000:]}")
            time.sleep(0.001)
    done = []
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "acks": "all", "linger.ms": 0, "retry.backoff.ms": 5,
                         "reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 10, "topic.metadata.refresh.fast.interval.ms": 5})
    producer.produce("first", b"record", on_delivery=lambda error, _: done.append(error))
    while not done and time.monotonic() - start < DEADLINE_S:
        producer.poll(0.001)
    if not done or done[0] is not None:
        sys.exit(f"the first record was not acknowledged: {done}")
    return process, time.monotonic() - start


def measure(peer, arguments):
    folder = tempfile.mkdtemp(prefix="millrace-bench-", dir=arguments.dir)
    port = free_port()
    command = peer.prepare(folder, port)
    process = None
    try:
        with open(f"{folder}/log", "w") as log:
            process, start_s = first_acknowledged(command, port, log)
            time.sleep(3)
            row = {"start to first acknowledged record, ms": start_s * 1000, "memory idle, MiB": resident_mib(process.pid)}
            produce(arguments.tools, f"127.0.0.1:{port}", "warm", RATE * 3, RATE)
            before = processor_s(process.pid)
            warmup = RATE * 5
            sent = warmup + arguments.records
            _, p50, _, p99, p999 = produce(arguments.tools, f"127.0.0.1:{port}", "steady", sent, RATE, warmup)
            used = processor_s(process.pid) - before
            row |= {
                f"acks=all at {RATE}/s p50, ms": p50,
                f"acks=all at {RATE}/s p99, ms": p99,
                f"acks=all at {RATE}/s p99.9, ms": p999,
                "broker CPU per record, us": used / sent * 1e6,
            }
            rate, *_ = produce(arguments.tools, f"127.0.0.1:{port}", "full", arguments.records, -1)
            row |= {"unthrottled, records/s": rate, "memory loaded, MiB": resident_mib(process.pid)}
            return row
    finally:
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--dir", default=None, help="where the data lies; a real disk, not a tmpfs")
    parser.add_argument("--only", choices=["millrace", "kafka"])
    arguments = parser.parse_args()
    peers = [Millrace(arguments)] if arguments.only != "kafka" else []
    peers += [Kafka(arguments, False), Kafka(arguments, True)] if arguments.only != "millrace" else []
    print(machine())
    print(f"client: Kafka's ProducerPerformance, {RECORD_SIZE}-byte records, acks=all, linger 1 ms; client and broker share the cores\n")
    rows = {}
    for peer in peers:
        print(f"... {peer.name}", file=sys.stderr, flush=True)
        rows[peer.name] = measure(peer, arguments)
    table(rows)


if __name__ == "__main__":
    main()
