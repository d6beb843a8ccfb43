"""Runs one Millrace broker and one Apache Kafka broker, one after the other, under the same client, and prints both.

Measured from outside: start of the process to the first acknowledged record (librdkafka), peak of resident memory idle and after
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

from common import RECORD_SIZE, Failed, allow_files, free_port, jars, kafka_version, machine, peak_mib, processor_s, produce
from confluent_kafka import Producer
from figures import Figure, of_run, table

RATE = 20_000
REACHED = 0.99  # of the asked rate, below which a latency is that of a queue in the client
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
        self.jars = jars(arguments.tools)
        self.flush = flush
        self.name = f"Kafka {kafka_version(arguments.tools)} ({'flush.messages=1' if flush else 'default, no sync'})"

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
            row = {"start to first acknowledged record, ms": start_s * 1000, "memory idle (peak), MiB": peak_mib(process.pid)}
            run = lambda topic, records, rate, warmup: produce(
                arguments.tools, f"127.0.0.1:{port}", topic, records, rate, warmup, lambda: processor_s(process.pid)
            )
            run("warm", RATE * 3, RATE, 1)
            found = run("steady", arguments.records, RATE, RATE * 5)
            slow = f"{found.rate:,.0f} records/s of {RATE:,} were reached" if found.rate < REACHED * RATE else ""
            row |= {
                f"acks=all at {RATE}/s: achieved, records/s": found.rate,
                f"acks=all at {RATE}/s p50, ms": Figure(found.p50_ms, doubt=slow),
                f"acks=all at {RATE}/s p99, ms": Figure(found.p99_ms, doubt=slow),
                f"acks=all at {RATE}/s p99.9, ms": Figure(found.p999_ms, doubt=slow),
                "broker CPU per record, us": of_run(found.brokers_us),
            }
            found = run("full", arguments.records, -1, arguments.records // 4)
            row |= {"unthrottled, records/s": found.rate, "memory loaded (peak), MiB": peak_mib(process.pid)}
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
    allow_files()
    print(machine(arguments.dir))
    print(f"client: Kafka's ProducerPerformance, {RECORD_SIZE}-byte records, acks=all, linger 1 ms; client and broker share the cores\n")
    rows = {}
    for peer in peers:
        print(f"... {peer.name}", file=sys.stderr, flush=True)
        try:
            rows[peer.name] = measure(peer, arguments)
        except Failed as error:
            sys.exit(f"{peer.name}: {error}")
    table(rows, next(iter(rows.values())))


if __name__ == "__main__":
    main()
