"""Three Millrace brokers and three Apache Kafka nodes (KRaft), one cluster after the other, under the same client: replicated
produce, and how long things take when a broker goes away.

Replication factor 3, min.insync.replicas 2. Millrace syncs on every in-sync replica before it acknowledges, Kafka does not.
Recovery is seen by a client: from the signal to the first record acknowledged on the same partition, by a producer that
tries every 10 ms and refreshes its metadata every 100 ms (librdkafka). A steady run during which a leader or an ISR
changed is said so: its numbers do not count.
"""

import argparse
import base64
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

from common import RECORD_SIZE, free_port, machine, processor_s, produce, resident_mib, table
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

RATE = 20_000
NODES = 3
DEADLINE_S = 180
TOPIC = "recover"


def say(words):
    print(f"... {words}", file=sys.stderr, flush=True)


def wait_for(what, condition, within=DEADLINE_S):
    end = time.monotonic() + within
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    sys.exit(f"not within {within} s: {what}")


class Millrace:
    name = "Millrace (sync)"

    def __init__(self, arguments):
        self.binary = os.path.abspath(arguments.broker)
        self.shards = max(1, (os.cpu_count() or 1) // NODES)

    def prepare(self, folder):
        self.control = [free_port() for _ in range(NODES)]
        self.http = [free_port() for _ in range(NODES)]
        self.cluster_id = str(uuid.uuid4())

    def command(self, folder, node, port):
        voters = ",".join(f"{index}@127.0.0.1:{self.control[index]}" for index in range(NODES))
        properties = {
            "node.id": node,
            "cluster.id": self.cluster_id,
            "listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "log.dirs": f"{folder}/data-{node}",
            "http.listener": f"127.0.0.1:{self.http[node]}",
            "admin.listener": "127.0.0.1:0",
            "control.listener": f"127.0.0.1:{self.control[node]}",
            "replication.listener": "127.0.0.1:0",
            "controller.quorum.voters": voters,
            "shards": self.shards,
            "auto.create.topics.enable": "false",
            "min.insync.replicas": 2,
            "offsets.topic.replication.factor": 3,
        }
        flags = [part for name, value in properties.items() for part in ("--override", f"{name}={value}")]
        return [self.binary, *flags]

    def shrinks(self, cluster):
        """ISR shrinks that the brokers that run have counted since their start."""
        total = 0
        for node, process in enumerate(cluster.processes):
            if process is None:
                continue
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http[node]}/metrics", timeout=5) as answer:
                for line in answer.read().decode().splitlines():
                    if "isr_shrinks_total" in line and not line.startswith("#"):
                        total += float(line.rsplit(" ", 1)[1])
        return total


class Kafka:
    name = "Kafka 4.4 (no sync)"

    def __init__(self, arguments):
        self.jars = f"{os.path.abspath(arguments.tools)}/*"

    def prepare(self, folder):
        self.controllers = [free_port() for _ in range(NODES)]
        self.cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.logging = f"{folder}/log4j2.properties"
        with open(self.logging, "w") as file:
            file.write(
                "rootLogger.level=INFO\nrootLogger.appenderRefs=out\nrootLogger.appenderRef.out.ref=out\n"
                "appender.out.type=Console\nappender.out.name=out\nappender.out.layout.type=PatternLayout\n"
                "appender.out.layout.pattern=%d %p %m%n\n"
            )

    def command(self, folder, node, port):
        path = f"{folder}/server-{node}.properties"
        if not os.path.exists(path):
            voters = ",".join(f"{index}@127.0.0.1:{self.controllers[index]}" for index in range(NODES))
            with open(path, "w") as file:
                file.write(
                    f"""process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{self.controllers[node]}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data-{node}
auto.create.topics.enable=false
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
"""
                )
            subprocess.run(
                ["java", "-cp", self.jars, "kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", path],
                check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        return ["java", "-Xmx1G", "-Xms1G", "-XX:+UseG1GC", f"-Dlog4j2.configurationFile={self.logging}", "-cp", self.jars, "kafka.Kafka", path]

    def shrinks(self, cluster):
        """What the brokers wrote of it into their logs."""
        total = 0
        for node in range(NODES):
            with open(f"{cluster.folder}/log-{node}", errors="replace") as log:
                total += sum("Shrinking ISR" in line for line in log)
        return total


class Cluster:
    """Three processes of one kind."""

    def __init__(self, peer, arguments):
        self.peer = peer
        self.tools = arguments.tools
        self.folder = tempfile.mkdtemp(prefix="millrace-bench-", dir=arguments.dir)
        self.ports = [free_port() for _ in range(NODES)]
        self.processes = [None] * NODES
        peer.prepare(self.folder)

    def bootstrap(self, without=None):
        return ",".join(f"127.0.0.1:{port}" for node, port in enumerate(self.ports) if node != without)

    def start(self, node):
        command = self.peer.command(self.folder, node, self.ports[node])
        log = open(f"{self.folder}/log-{node}", "a")
        self.processes[node] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        log.close()

    def start_all(self):
        for node in range(NODES):
            self.start(node)
        wait_for("three brokers", lambda: len(self.brokers()) == NODES)

    def admin(self, without=None, patience_ms=5000):
        return AdminClient({"bootstrap.servers": self.bootstrap(without), "socket.timeout.ms": patience_ms, "topic.metadata.refresh.interval.ms": 100, "log_level": 0})

    def brokers(self):
        for node, process in enumerate(self.processes):
            if process is not None and process.poll() is not None:
                with open(f"{self.folder}/log-{node}", errors="replace") as log:
                    sys.exit(f"broker {node} ended: {log.read()[-2000:]}")
        try:
            return self.admin().list_topics("steady", timeout=2).brokers
        except KafkaException:
            return {}

    def create(self, topic, partitions):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=NODES)
        admin = self.admin(patience_ms=120_000)  # kept until the answer is there
        admin.create_topics([new], operation_timeout=60, request_timeout=120)[topic].result()
        wait_for(f"{topic} has leaders", lambda: self.is_whole(topic))

    def partition(self, topic, number=0, without=None):
        try:
            found = self.admin(without).list_topics(topic, timeout=5).topics.get(topic)
        except KafkaException:
            return None
        return found.partitions.get(number) if found else None

    def is_whole(self, topic, without=None):
        """Every partition has a leader, and every replica is in sync; asked of those that were not away, if somebody was: who
        comes back may still tell what it knew when it left."""
        try:
            found = self.admin(without).list_topics(topic, timeout=10).topics.get(topic)
        except KafkaException:
            return False
        if not found or not found.partitions:
            return False
        return all(one.leader >= 0 and len(one.isrs) == NODES for one in found.partitions.values())

    def quorum_leader(self):
        out = subprocess.run(
            ["java", "-cp", f"{os.path.abspath(self.tools)}/*", "org.apache.kafka.tools.MetadataQuorumCommand", "--bootstrap-server", self.bootstrap(), "describe", "--status"],
            check=True, capture_output=True, text=True,
        ).stdout
        return next(int(line.split()[-1]) for line in out.splitlines() if line.startswith("LeaderId"))

    def memory(self):
        return max(resident_mib(process.pid) for process in self.processes)

    def processor(self):
        return sum(processor_s(process.pid) for process in self.processes)

    def send(self, node, what):
        self.processes[node].send_signal(what)

    def end(self, node, what=signal.SIGTERM):
        process, self.processes[node] = self.processes[node], None
        process.send_signal(what)
        process.wait(60)

    def close(self):
        for process in self.processes:
            if process is not None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Prober:
    """A producer that tries one partition all the time and knows when each record was acknowledged."""

    def __init__(self, cluster, topic, number):
        self.topic, self.number = topic, number
        self.acknowledged = []
        self.producer = Producer({
            "bootstrap.servers": cluster.bootstrap(), "acks": "all", "linger.ms": 0, "max.in.flight": 1, "retry.backoff.ms": 10,
            "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 50, "topic.metadata.refresh.interval.ms": 100,
            "topic.metadata.refresh.fast.interval.ms": 50, "socket.timeout.ms": 1000, "message.timeout.ms": 60_000, "log_level": 0,
        })

    def step(self):
        sent = time.monotonic()

        def delivered(error, _message):
            if error is None:
                self.acknowledged.append((sent, time.monotonic()))

        self.producer.produce(self.topic, b"x" * 64, partition=self.number, on_delivery=delivered)
        self.producer.poll(0.01)

    def until(self, condition, what):
        end = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > end:
                sys.exit(f"not within {DEADLINE_S} s: {what}")
            self.step()


def recovery(cluster, topic, number, how):
    """Milliseconds from `how` done to the partition's leader to the first record sent after it and acknowledged; the broker is
    back and in sync when it returns."""
    prober = Prober(cluster, topic, number)
    prober.until(lambda: len(prober.acknowledged) > 20, "records before the fault")
    leader = cluster.partition(topic, number).leader
    at = time.monotonic()
    if how == signal.SIGKILL:
        cluster.end(leader, how)
    else:
        cluster.send(leader, how)
    stopped = time.monotonic()
    # Sent once the old leader is surely silent, timed from the signal: waiting for the process to end is part of the outage.
    after = lambda: [done for sent, done in prober.acknowledged if sent > stopped]
    prober.until(after, "a record acknowledged after the fault")
    took = (min(after()) - at) * 1000
    prober.producer.purge()
    if how == signal.SIGKILL:
        cluster.start(leader)
    else:
        cluster.send(leader, signal.SIGCONT)
    wait_for("the broker is back in sync", lambda: cluster.is_whole(topic, without=leader))
    return took


def steady(cluster, arguments):
    """Replicated produce at a fixed rate, then as fast as it goes."""
    cluster.create("steady", 3)
    produce(arguments.tools, cluster.bootstrap(), "steady", RATE * 3, RATE)
    shrinks = cluster.peer.shrinks(cluster)
    leaders = [cluster.partition("steady", number).leader for number in range(3)]
    before = cluster.processor()
    warmup = RATE * 5
    sent = warmup + arguments.records
    _, p50, _, p99, p999 = produce(arguments.tools, cluster.bootstrap(), "steady", sent, RATE, warmup)
    used = cluster.processor() - before
    rate, *_ = produce(arguments.tools, cluster.bootstrap(), "steady", arguments.records, -1)
    shrunk = cluster.peer.shrinks(cluster) - shrinks
    moved = sum(cluster.partition("steady", number).leader != leader for number, leader in enumerate(leaders))
    if shrunk or moved:
        say(f"{cluster.peer.name}: {shrunk:.0f} ISR shrinks, {moved} other leaders after the steady runs: these numbers do not count")
    return {
        f"RF 3, acks=all at {RATE}/s p50, ms": p50,
        f"RF 3, acks=all at {RATE}/s p99, ms": p99,
        f"RF 3, acks=all at {RATE}/s p99.9, ms": p999,
        "CPU of all brokers per record, us": used / sent * 1e6,
        "unthrottled, records/s": rate,
        "memory of the largest broker, MiB": cluster.memory(),
        "ISR shrinks during these": shrunk,
        "partitions led by another after these": moved,
    }


def catch_up(cluster, arguments):
    """MiB/s at which a broker that was away fills its log again."""
    cluster.create("away", 3)
    cluster.end(2)
    records = arguments.records
    produce(arguments.tools, cluster.bootstrap(without=2), "away", records, -1)
    start = time.monotonic()
    cluster.start(2)
    wait_for("the broker has caught up", lambda: cluster.is_whole("away", without=2))
    return {"catch-up of a follower, start included, MiB/s": records * RECORD_SIZE / 2**20 / (time.monotonic() - start)}


def sees_brokers(admin):
    try:
        return bool(admin.list_topics("steady", timeout=5).brokers)
    except KafkaException:
        return False


def quorum_loss(cluster, arguments):
    times = []
    for turn in range(arguments.rounds):
        leader = cluster.quorum_leader()
        admin = cluster.admin(without=leader)
        wait_for("the others answer", lambda: sees_brokers(admin))
        at = time.monotonic()
        cluster.end(leader, signal.SIGKILL)
        topic = f"quorum-{turn}"
        while True:
            try:
                admin.list_topics("steady", timeout=1)  # who is to be asked now
                new = NewTopic(topic, num_partitions=1, replication_factor=2)
                admin.create_topics([new], operation_timeout=5, request_timeout=2)[topic].result()
                break
            except KafkaException as error:
                if error.args[0].name() == "TOPIC_ALREADY_EXISTS":
                    break
                if time.monotonic() - at > DEADLINE_S:
                    sys.exit(f"no topic was created after the quorum's leader was killed: {error}")
        times.append((time.monotonic() - at) * 1000)
        cluster.start(leader)
        wait_for("the broker is back", lambda: len(cluster.brokers()) == NODES and cluster.is_whole("steady"))
    return spread("quorum leader killed to first CreateTopics", times)


def spread(what, times):
    return {f"{what}, p50, ms": statistics.median(times), f"{what}, worst of {len(times)}, ms": max(times)}


def clean_restart(cluster, topic):
    cluster.end(2)
    start = time.monotonic()
    cluster.start(2)
    wait_for("the restarted broker is in sync", lambda: cluster.is_whole(topic, without=2))
    return (time.monotonic() - start) * 1000


def measure(peer, arguments):
    cluster = Cluster(peer, arguments)
    rows = {}

    def keep(new):
        """Figures are shown when they are there: a run of an hour may end before its table."""
        rows.update(new)
        for metric, value in new.items():
            say(f"{peer.name}: {metric}: {value:,.1f}")

    try:
        cluster.start_all()
        keep({"memory idle of the largest broker, MiB": cluster.memory()})
        say(f"{peer.name}: produce")
        keep(steady(cluster, arguments))
        say(f"{peer.name}: catch-up")
        keep(catch_up(cluster, arguments))
        say(f"{peer.name}: loss of the quorum's leader")
        keep(quorum_loss(cluster, arguments))
        for partitions in arguments.partitions:
            topic = f"{TOPIC}-{partitions}"
            cluster.create(topic, partitions)
            for how, word in ((signal.SIGKILL, "kill -9"), (signal.SIGSTOP, "SIGSTOP")):
                say(f"{peer.name}: {word} of a leader, {partitions} partitions")
                times = [recovery(cluster, topic, turn % partitions, how) for turn in range(arguments.rounds)]
                keep(spread(f"{word} to first ack, {partitions:,} partitions", times))
            keep({f"clean restart to in sync, {partitions:,} partitions, ms": clean_restart(cluster, topic)})
        keep({"memory of the largest broker at the end, MiB": cluster.memory()})
        return rows
    finally:
        cluster.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=10, help="how often each fault is made")
    parser.add_argument("--partitions", type=int, nargs="+", default=[1, 1_000, 10_000])
    parser.add_argument("--dir", default=None, help="where the data lies; a real disk, not a tmpfs")
    parser.add_argument("--only", choices=["millrace", "kafka"])
    arguments = parser.parse_args()
    peers = {"millrace": Millrace, "kafka": Kafka}
    chosen = [make(arguments) for name, make in peers.items() if arguments.only in (None, name)]
    print(machine())
    print(
        f"three brokers, RF 3, min.insync.replicas 2; client: Kafka's ProducerPerformance, {RECORD_SIZE}-byte records, acks=all, linger 1 ms, "
        "and librdkafka; clients and brokers share the cores\n"
    )
    table({peer.name: measure(peer, arguments) for peer in chosen})


if __name__ == "__main__":
    main()
