"""Three processes of one kind, Millrace or Apache Kafka, and what is asked of them."""

import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

from common import Failed, OutOfTime, free_port, jars, kafka_version, peak_mib, processor_s
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from wire import Connection, NoAnswer

NODES = 3
DEADLINE_S = 180
# Partitions that one request makes: Kafka takes 10,000 metadata records for one, and the topic is a record too.
STEP = 5_000


def say(words):
    print(f"... {words}", file=sys.stderr, flush=True)


def patience_s(partitions):
    """How long something with so many partitions may take."""
    return DEADLINE_S + 0.06 * partitions


class Millrace:
    def __init__(self, arguments):
        self.name = "Millrace (sync)"
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

    def disturbances(self, cluster, without=None):
        """What the brokers that run have counted since their start, by name. A counter that is not there is an error: zero
        would be taken for quiet."""
        counters = {"ISR shrinks": "millrace_isr_shrinks_total", "ISR expands": "millrace_isr_expands_total", "leader elections": "millrace_leader_elections_total"}
        totals = dict.fromkeys(counters, 0.0)
        for node in cluster.running():
            if node == without:
                continue
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http[node]}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
            for what, metric in counters.items():
                found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == metric]
                if not found:
                    raise Failed(f"broker {node} has no metric {metric}: build a newer broker")
                totals[what] += sum(found)
        return totals


class Kafka:
    def __init__(self, arguments):
        self.name = f"Kafka {kafka_version(arguments.tools)} (no sync)"
        self.jars = jars(arguments.tools)

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
            format_it = ["java", "-cp", self.jars, "kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", path]
            done = subprocess.run(format_it, capture_output=True, text=True, timeout=DEADLINE_S)
            if done.returncode:
                raise Failed(f"Kafka's storage was not formatted: {(done.stdout + done.stderr)[-500:]}")
        return ["java", "-Xmx1G", "-Xms1G", "-XX:+UseG1GC", f"-Dlog4j2.configurationFile={self.logging}", "-cp", self.jars, "kafka.Kafka", path]

    def disturbances(self, cluster, without=None):
        """What the brokers wrote of it into their logs since they first started, by name: leaders of ISR changes that they asked
        for, the controller of what it changed when a broker left or came."""
        totals = {"ISR shrinks": 0, "ISR updates": 0, "changes by the controller": 0}
        for node in range(NODES):
            if node == without:
                continue
            with open(f"{cluster.folder}/log-{node}", errors="replace") as log:
                lines = log.readlines()
            if not any("Kafka Server started" in line for line in lines):
                raise Failed(f"Kafka {node} writes no log in which ISR changes could be seen")
            totals["ISR shrinks"] += sum("Shrinking ISR" in line for line in lines)
            totals["ISR updates"] += sum("ISR updated to" in line for line in lines)
            totals["changes by the controller"] += sum(": changing " in line and "partition(s)" in line for line in lines)
        return totals


class Cluster:
    """Three processes of one kind. `until` is when the time for them is over (monotonic)."""

    def __init__(self, peer, folder, until):
        self.peer, self.until = peer, until
        self.folder = tempfile.mkdtemp(prefix="millrace-bench-", dir=folder)
        self.ports = [free_port() for _ in range(NODES)]
        self.processes = [None] * NODES
        self.stopped = set()
        self.connections = [Connection(port) for port in self.ports]
        self.peak = 0.0
        self.recovery_topics = {}  # number of partitions -> topic
        peer.prepare(self.folder)

    def bring_up(self):
        for node in range(NODES):
            self.start(node)
        self.wait("three brokers", lambda: self.agreed_on("base", lambda told: len(told.brokers) == NODES))
        self.create("base", 3)

    def close(self):
        for connection in self.connections:
            connection.close()
        for process in self.processes:
            if process is not None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def bootstrap(self, without=None):
        return ",".join(f"127.0.0.1:{port}" for node, port in enumerate(self.ports) if node != without)

    def running(self):
        return [node for node, process in enumerate(self.processes) if process is not None and node not in self.stopped]

    # Processes

    def start(self, node):
        command = self.peer.command(self.folder, node, self.ports[node])
        with open(f"{self.folder}/log-{node}", "a") as log:
            self.processes[node] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def send(self, node, what):
        """`what` is SIGSTOP or SIGCONT."""
        (self.stopped.add if what == signal.SIGSTOP else self.stopped.discard)(node)
        self.processes[node].send_signal(what)

    def end(self, node, what=signal.SIGTERM, within_s=DEADLINE_S):
        """Ends a broker and waits for it; seconds that took."""
        self.note_memory()
        process, self.processes[node] = self.processes[node], None
        self.connections[node].close()
        at = time.monotonic()
        process.send_signal(what)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed(f"broker {node} did not end within {within_s:.0f} s of {what.name}") from None
        return time.monotonic() - at

    def look(self):
        """A broker that ended by itself is an error, and in its own words."""
        for node, process in enumerate(self.processes):
            if process is not None and process.poll() is not None:
                with open(f"{self.folder}/log-{node}", errors="replace") as log:
                    raise Failed(f"broker {node} ended with {process.returncode}: {log.read()[-500:]}")

    def note_memory(self):
        self.peak = max([self.peak, *(peak_mib(process.pid) for process in self.processes if process is not None)])
        return self.peak

    def processor(self):
        """Seconds of processor time that the brokers which run have used."""
        return sum(processor_s(process.pid) for process in self.processes if process is not None)

    # Waiting

    def left_s(self):
        left = self.until - time.monotonic()
        if left <= 0:
            raise OutOfTime("the time for this side was over (--minutes)")
        return left

    def wait(self, what, condition, within_s=DEADLINE_S):
        """Asks again and again, and is busy with that at most a tenth of the time: an answer about ten thousand partitions is not
        free, and the brokers have the same cores."""
        end = time.monotonic() + within_s
        while True:
            self.left_s()
            self.look()
            at = time.monotonic()
            if condition():
                return
            now = time.monotonic()
            if now > end:
                raise Failed(f"not within {within_s:.0f} s: {what}")
            time.sleep(max(0.02, min(1.0, 9 * (now - at))))

    # What brokers say

    def told(self, topic, without=None):
        """What each of the brokers that run says of a topic, those that were away left out: who comes back may still tell what it
        knew when it left. None if one does not answer."""
        try:
            return [self.connections[node].topic(topic) for node in self.running() if node != without]
        except NoAnswer:
            return None

    def agreed_on(self, topic, condition, without=None):
        told = self.told(topic, without)
        return bool(told) and all(condition(one) for one in told)

    def is_whole(self, topic, without=None):
        """Everybody says: every partition has a leader, and every replica is in sync."""
        whole = lambda told: told.partitions and all(one.leader >= 0 and len(one.isr) == NODES for one in told.partitions.values())
        return self.agreed_on(topic, whole, without)

    def leader(self, topic, number):
        """The partition as all three know it, its leader too at the very end."""
        seen = []

        def agree():
            told = self.told(topic)
            seen[:] = [{one.partitions.get(number) for one in told}] if told and len(told) == NODES else [{None}]
            if len(seen[0]) > 1 or None in seen[0]:
                return False
            (one,) = seen[0]
            try:
                return one.leader >= 0 and self.connections[one.leader].leads(topic, number, one.epoch)
            except NoAnswer:
                return False

        self.wait(f"all brokers agree who leads {topic}-{number}", agree)
        return seen[0].pop()

    def quorum(self, without=None):
        """(leader, leader epoch) of the metadata quorum, by the first that knows."""
        found = []

        def ask():
            for node in self.running():
                if node == without:
                    continue
                try:
                    found.append(self.connections[node].quorum())
                    return True
                except NoAnswer:
                    continue
            return False

        self.wait("the quorum has a leader", ask)
        return found[0]

    # Topics

    def admin(self, without=None, patience_ms=60_000):
        return AdminClient({
            "bootstrap.servers": self.bootstrap(without), "socket.timeout.ms": patience_ms, "reconnect.backoff.max.ms": 200,
            "topic.metadata.refresh.interval.ms": 100, "log_level": 0,
        })

    def create(self, topic, partitions):
        """Made in steps, on both sides alike."""
        limit_s = patience_s(partitions)
        admin = self.admin(patience_ms=300_000)
        asked = {"operation_timeout": limit_s, "request_timeout": limit_s}
        try:
            new = NewTopic(topic, num_partitions=min(partitions, STEP), replication_factor=NODES)
            admin.create_topics([new], **asked)[topic].result(limit_s)
            for so_far in range(STEP, partitions, STEP):
                self.wait(f"{topic} has {so_far} partitions", lambda: self.is_whole(topic), limit_s)
                more = NewPartitions(topic, min(partitions, so_far + STEP))
                admin.create_partitions([more], **asked)[topic].result(limit_s)
        except KafkaException as error:
            raise Failed(f"{topic} with {partitions} partitions was not made: {error}") from error
        all_there = lambda: self.is_whole(topic) and self.agreed_on(topic, lambda told: len(told.partitions) == partitions)
        self.wait(f"{topic} has {partitions} partitions in sync", all_there, limit_s)

    def delete(self, topics):
        if not topics:
            return
        limit_s = patience_s(STEP)
        admin = self.admin()
        try:
            for answer in admin.delete_topics(list(topics), operation_timeout=limit_s, request_timeout=limit_s).values():
                answer.result(limit_s)
        except KafkaException as error:
            raise Failed(f"{', '.join(topics)} not deleted: {error}") from error
        for topic in topics:
            self.wait(f"{topic} is gone", lambda: self.agreed_on(topic, lambda told: not told.partitions), limit_s)


class Watch:
    """What must not change while something is measured: in-sync sets, leaders, the leader of the quorum."""

    def __init__(self, cluster, topic):
        self.cluster, self.topic = cluster, topic
        self.before = self.state()

    def state(self):
        told = self.cluster.told(self.topic)
        if not told:
            raise Failed(f"a broker does not say who leads {self.topic}")
        epochs = {number: max((one.partitions[number].epoch, one.partitions[number].leader) for one in told) for number in told[0].partitions}
        return self.cluster.peer.disturbances(self.cluster), epochs, self.cluster.quorum()

    def changes(self):
        """Name -> how many since the start."""
        now = self.state()
        changes = {what: now[0][what] - count for what, count in self.before[0].items()}
        changes["new leader epochs of partitions"] = sum(epoch - self.before[1][number][0] for number, (epoch, _) in now[1].items())
        changes["new leader epochs of the quorum"] = now[2][1] - self.before[2][1]
        return changes

    def doubt(self):
        return ", ".join(f"{count:.0f} {what}" for what, count in self.changes().items() if count)
