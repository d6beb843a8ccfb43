"""Three Millrace brokers and three Apache Kafka nodes (KRaft), one cluster after the other, under the same client: replicated
produce, and how long things take when a broker goes away.

Replication factor 3, min.insync.replicas 2. Millrace syncs on every in-sync replica before it acknowledges, Kafka does not.
Recovery is seen by a client: from the signal to the first record acknowledged on the same partition, by a producer that
tries every 10 ms and refreshes its metadata every 100 ms (librdkafka).

A number does not count, and the table says so, where an in-sync set, a leader or the quorum's leader changed under a produce
run, and latencies do not count where less than 99 % of the asked rate was reached. What fails leaves its reason in its cells and costs
a new cluster, not the run. A default run takes about an hour, and never more than --minutes for each side and 10 for the
second look at Millrace.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import TimeoutError as NotInTime

from brokers import DEADLINE_S, NODES, Cluster, Kafka, Millrace, Watch, patience_s, say
from common import RECORD_SIZE, Failed, OutOfTime, allow_files, machine, produce
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import NewTopic
from figures import Figure, figure, of_run, spread, table

# Records/s. The lower one is there because latencies count only where the rate is reached.
RATES = [5_000, 20_000]
AT_RATE_S = 15
WARMUP_S = 45
REACHED = 0.99  # of the asked rate, below which a latency is that of a queue in the client
SATURATED_RUNS = 3
RESTARTS = 3
AGAIN_S = 600
PHASES = ["produce", "catch-up", "quorum", "recovery"]
FAULTS = {signal.SIGKILL: "kill -9", signal.SIGSTOP: "SIGSTOP"}


# Produce

SATURATED = [
    "memory idle of the largest broker (peak), MiB", "saturated, records/s", "saturated: CPU of all brokers per record, us",
    "saturated: CPU of the client per record, us",
]
AFTER = ["ISR and leader changes during the produce runs", "memory loaded of the largest broker (peak), MiB"]


def at_rate(rate):
    name = f"RF 3, acks=all at {rate}/s"
    quantiles = [f"{name} {quantile}, ms" for quantile in ("p50", "p99", "p99.9")]
    return [f"{name}: achieved, records/s", *quantiles, f"{name}: CPU of all brokers per record, us", f"{name}: CPU of the client per record, us"]


def steady(cluster, arguments, keep):
    keep({SATURATED[0]: cluster.note_memory()})
    cluster.create("steady", 3)
    changes = []

    def run(records, rate, warmup):
        watch = Watch(cluster, "steady")
        within_s = min(600, cluster.left_s())
        found = produce(arguments.tools, cluster.bootstrap(), "steady", records, rate, warmup, cluster.processor, within_s)
        doubt = watch.doubt()
        changes.extend([doubt] if doubt else [])
        return found, doubt

    # First: it is the brokers' own warm-up too, a JVM's takes minutes.
    run(arguments.records // 2, -1, arguments.records // 2)
    changes.clear()
    runs = sorted((run(arguments.records, -1, arguments.records // 4) for _ in range(SATURATED_RUNS)), key=lambda one: one[0].rate)
    say(f"{cluster.peer.name}: saturated runs, records/s: " + ", ".join(f"{one.rate:,.0f}" for one, _ in runs))
    middle, doubt = runs[len(runs) // 2][0], ", ".join(doubt for _, doubt in runs if doubt)
    keep({
        SATURATED[1]: Figure(middle.rate, doubt=doubt),
        SATURATED[2]: of_run(middle.brokers_us, doubt),
        SATURATED[3]: of_run(middle.client_us, doubt),
    })
    for rate in RATES:
        rows = at_rate(rate)
        # The client catches up with what it could not send while it was cold, and that queue is not the brokers'.
        found, doubt = run(max(arguments.records // 2, rate * AT_RATE_S), rate, rate * WARMUP_S)
        slow = f"{found.rate:,.0f} records/s of {rate:,} were reached" if found.rate < REACHED * rate else ""
        of_latency = ", ".join(filter(None, [slow, doubt]))
        keep({rows[0]: Figure(found.rate, doubt=doubt)})
        keep({name: Figure(value, doubt=of_latency) for name, value in zip(rows[1:4], (found.p50_ms, found.p99_ms, found.p999_ms))})
        keep({rows[4]: of_run(found.brokers_us, doubt), rows[5]: of_run(found.client_us, doubt)})
    keep({AFTER[0]: Figure(len(changes), doubt="; ".join(changes), is_count=True), AFTER[1]: cluster.note_memory()})


STEADY = [*SATURATED, *(row for rate in RATES for row in at_rate(rate)), *AFTER]


# Catch-up

CATCH_UP = [
    "follower with nothing new to do: start to registered, ms", "follower: start to registered, ms", "catch-up of a follower, registered to in sync, MiB/s",
    "catch-up of a follower, start included, MiB/s",
]


def leave(cluster, node, topic, how=signal.SIGTERM, limit_s=DEADLINE_S):
    """Ends a broker and waits until the others have it in no in-sync set; seconds until its process was gone."""
    took = cluster.end(node, how, limit_s)
    without_it = lambda told: node not in told.brokers and all(node not in one.isr for one in told.partitions.values())
    cluster.wait(f"broker {node} has left the ISR of {topic}", lambda: cluster.agreed_on(topic, without_it), limit_s)
    return took


def come_back(cluster, node, topic, limit_s=DEADLINE_S):
    """Starts a broker; seconds until the others have it registered, and until it is in sync everywhere."""
    start = time.monotonic()
    cluster.start(node)
    cluster.wait(f"broker {node} is registered", lambda: cluster.agreed_on(topic, lambda told: node in told.brokers, without=node), limit_s)
    registered = time.monotonic()
    cluster.wait(f"broker {node} is in sync", lambda: cluster.is_whole(topic, without=node), limit_s)
    return registered - start, time.monotonic() - start


def catch_up(cluster, arguments, keep):
    node = NODES - 1
    cluster.create("away", 3)
    before = cluster.peer.disturbances(cluster, without=node)
    leave(cluster, node, "away")
    if cluster.peer.disturbances(cluster, without=node) == before:
        raise Failed(f"a broker left, and what counts ISR and leader changes saw nothing: {before}")
    idle_s, _ = come_back(cluster, node, "away")
    keep({CATCH_UP[0]: idle_s * 1000})
    leave(cluster, node, "away")
    produce(arguments.tools, cluster.bootstrap(without=node), "away", arguments.records, -1, within_s=min(600, cluster.left_s()))
    registered_s, whole_s = come_back(cluster, node, "away")
    size = arguments.records * RECORD_SIZE / 2**20
    # Who fetches before it is registered may be in sync as soon as it is; the last line is then the honest one.
    keep({CATCH_UP[1]: registered_s * 1000, CATCH_UP[2]: size / (whole_s - registered_s), CATCH_UP[3]: size / whole_s})


# The quorum's leader

def rounds_of(cluster, wanted, one, keep):
    """Makes rounds (turn -> name -> milliseconds) while there is time, and keeps what they say also where a later one fails: that
    one would have been the worst."""
    times = {}

    def kept(with_worst):
        for what, found in times.items():
            rows = spread(what, found, wanted)
            keep(rows if with_worst else dict(list(rows.items())[:1]))

    try:
        for turn in range(wanted):
            if times and time.monotonic() > cluster.until:
                break
            for what, took in one(turn).items():
                times.setdefault(what, []).append(took)
    except OutOfTime:
        kept(with_worst=True)
        raise
    except BaseException:
        kept(with_worst=False)
        raise
    kept(with_worst=True)


QUORUM = "quorum leader killed to first CreateTopics"


def quorum_loss(cluster, arguments, keep):
    def one(turn):
        topic = f"quorum-{turn}"
        leader, _ = cluster.quorum()
        admin = cluster.admin(without=leader)
        admin.list_topics("base", timeout=DEADLINE_S)
        if cluster.quorum()[0] != leader:
            return one(turn)
        at = time.monotonic()
        cluster.end(leader, signal.SIGKILL)
        while True:
            try:
                admin.list_topics("base", timeout=1)  # who is to be asked now
                new = NewTopic(topic, num_partitions=1, replication_factor=2)
                admin.create_topics([new], operation_timeout=5, request_timeout=2)[topic].result(10)
                break
            except (KafkaException, NotInTime) as error:
                if isinstance(error, KafkaException) and error.args[0].name() == "TOPIC_ALREADY_EXISTS":
                    break
                if time.monotonic() - at > DEADLINE_S:
                    raise Failed(f"no topic was made after the quorum's leader was killed: {error}") from error
        took = (time.monotonic() - at) * 1000
        say(f"{cluster.peer.name}: {QUORUM}, round {turn + 1}: {took:,.0f} ms")
        come_back(cluster, leader, "base")
        cluster.delete([topic])
        return {QUORUM: took}

    rounds_of(cluster, arguments.rounds, one, keep)


# Recovery

class Prober:
    """A producer that tries one partition all the time and knows when each record was acknowledged."""

    def __init__(self, cluster, topic, number):
        self.cluster, self.topic, self.number = cluster, topic, number
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
            self.cluster.left_s()
            if time.monotonic() > end:
                raise Failed(f"not within {DEADLINE_S} s: {what}")
            self.step()


class Moved(Exception):
    """The leader was another one before the signal: the round shows nothing."""


def recovery(cluster, topic, number, how, limit_s):
    """(milliseconds from the signal to the partition's leader to the first record sent after it and acknowledged, whether that
    broker also led the quorum). It is back and in sync when this returns."""
    prober = Prober(cluster, topic, number)
    prober.until(lambda: len(prober.acknowledged) > 20, "records acknowledged before the fault")
    quorum, _ = cluster.quorum()
    before = cluster.leader(topic, number)
    victim = before.leader
    at = time.monotonic()
    if how == signal.SIGKILL:
        cluster.end(victim, how)
    else:
        cluster.send(victim, how)
    silent = time.monotonic()
    # Sent once the old leader is surely silent, timed from the signal: waiting for the process to end is part of the outage.
    after = lambda: [done for sent, done in prober.acknowledged if sent > silent]
    prober.until(after, "a record acknowledged after the fault")
    took = (min(after()) - at) * 1000
    prober.producer.purge()
    prober.producer.poll(0)

    def another_leads(told):
        now = told.partitions.get(number)
        return now is not None and now.leader not in (-1, victim) and now.epoch > before.epoch

    try:
        cluster.wait("another leads", lambda: cluster.agreed_on(topic, another_leads), 10)
        moved = False
    except Failed:
        cluster.look()
        moved = True
    if how == signal.SIGKILL:
        cluster.start(victim)
    else:
        cluster.send(victim, signal.SIGCONT)
    cluster.wait("the broker is back in sync", lambda: cluster.is_whole(topic, without=victim), limit_s)
    if moved:
        raise Moved(f"records were acknowledged, and nobody says that another leads {topic}-{number} since broker {victim} got {how.name}")
    return took, victim == quorum


def of_faults(how, partitions):
    return f"{FAULTS[how]} to first ack, {partitions:,} partitions"


def ensure(cluster, topic, partitions):
    """The topic of this step, and none of the earlier steps: their partitions would be moved and recovered too."""
    if partitions in cluster.recovery_topics:
        return
    cluster.delete(cluster.recovery_topics.values())
    cluster.recovery_topics.clear()
    cluster.recovery_topics[partitions] = topic
    cluster.create(topic, partitions)


def faults(how, partitions):
    topic = f"recover-{partitions}"

    def measure_it(cluster, arguments, keep):
        ensure(cluster, topic, partitions)
        led = 0

        def one(turn):
            nonlocal led
            for _ in range(3):
                try:
                    took, led_quorum = recovery(cluster, topic, turn % partitions, how, patience_s(partitions))
                    break
                except Moved as why:
                    say(f"{cluster.peer.name}: a round is repeated: {why}")
            else:
                raise Failed("the leader had moved before the signal three times")
            led += led_quorum
            words = ", its broker led the quorum too" if led_quorum else ""
            say(f"{cluster.peer.name}: {of_faults(how, partitions)}, round {turn + 1}: {took:,.0f} ms{words}")
            return {of_faults(how, partitions): took}

        rounds_of(cluster, arguments.rounds, one, keep)
        keep({f"{of_faults(how, partitions)}: rounds that hit the quorum's leader": Figure(led, is_count=True)})

    rows = [f"{of_faults(how, partitions)}, {which}, ms" for which in ("p50", "worst")]
    return [*rows, f"{of_faults(how, partitions)}: rounds that hit the quorum's leader"], measure_it


def restarts(partitions):
    topic = f"recover-{partitions}"
    shutdown = f"clean shutdown, {partitions:,} partitions"
    start = f"clean start to registered, {partitions:,} partitions"
    sync = f"clean start to in sync, {partitions:,} partitions"
    memory = f"memory of the largest broker (peak), {partitions:,} partitions, MiB"

    def measure_it(cluster, arguments, keep):
        ensure(cluster, topic, partitions)

        def one(turn):
            node = (NODES - 1 - turn) % NODES
            down_s = leave(cluster, node, topic, limit_s=patience_s(partitions))
            registered_s, whole_s = come_back(cluster, node, topic, patience_s(partitions))
            return {shutdown: down_s * 1000, start: registered_s * 1000, sync: whole_s * 1000}

        rounds_of(cluster, RESTARTS, one, keep)
        keep({memory: cluster.note_memory()})

    rows = [f"{what}, {which}, ms" for what in (shutdown, start, sync) for which in ("p50", "worst")]
    return [*rows, memory], measure_it


def steps(arguments):
    """(name, rows, what fills them) of the chosen phases, in order. A step that fails costs the next a new cluster."""
    found = []
    if "produce" in arguments.phases:
        found.append(("produce", STEADY, steady))
    if "catch-up" in arguments.phases:
        found.append(("catch-up", CATCH_UP, catch_up))
    if "quorum" in arguments.phases:
        found.append(("loss of the quorum's leader", [f"{QUORUM}, p50, ms", f"{QUORUM}, worst, ms"], quorum_loss))
    if "recovery" in arguments.phases:
        for partitions in arguments.partitions:
            for how, word in FAULTS.items():
                found.append((f"{word} of a leader, {partitions:,} partitions", *faults(how, partitions)))
            found.append((f"clean restart, {partitions:,} partitions", *restarts(partitions)))
    return found


def measure(peer, chosen, arguments, limit_s, rows):
    """Fills `rows` step by step, so that what was measured is there whatever comes."""
    until = time.monotonic() + limit_s
    cluster = None

    def keep(new):
        for metric, value in new.items():
            rows[metric] = figure(value)
            say(f"{peer.name}: {metric}: {rows[metric]}")

    try:
        for name, metrics, step in chosen:
            try:
                say(f"{peer.name}: {name} (load average {os.getloadavg()[0]:.1f})")
                if cluster is None:
                    cluster = Cluster(peer, arguments.dir, until)
                    cluster.bring_up()
                step(cluster, arguments, keep)
                missing = "the step did not say it"
            except (Failed, KafkaException, NotInTime, OSError, subprocess.SubprocessError, ValueError) as error:
                missing = " ".join(f"{error or type(error).__name__}".split())
                say(f"{peer.name}: {name} failed: {missing}")
                if cluster is not None:
                    cluster.close()
                    cluster = None
            for metric in metrics:
                rows.setdefault(metric, Figure(None, failed=f"{name}: {missing}"))
    finally:
        if cluster is not None:
            cluster.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=10, help="how often each fault is made")
    parser.add_argument("--partitions", type=int, nargs="+", default=[1, 1_000, 10_000], help="of the topic whose leader is lost")
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=PHASES, metavar="PHASE", help=f"which of {', '.join(PHASES)}; default: all")
    parser.add_argument("--minutes", type=float, default=60, help="most that each side may take; what has no time fails in its cells")
    parser.add_argument("--dir", default=None, help="where the data lies; a real disk, a tmpfs is refused")
    parser.add_argument("--only", choices=["millrace", "kafka"])
    parser.add_argument(
        "--again", action=argparse.BooleanOptionalAction, default=True, help="measure produce for Millrace once more after Kafka, so that a drift of the machine shows"
    )
    arguments = parser.parse_args()
    allow_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the brokers are ended and the table is printed
    chosen = steps(arguments)
    runs = [(peer, peer.name, chosen, arguments.minutes * 60) for peer in (
        make(arguments) for name, make in {"millrace": Millrace, "kafka": Kafka}.items() if arguments.only in (None, name)
    )]
    if arguments.again and arguments.only is None and "produce" in arguments.phases:
        runs.append((runs[0][0], f"{runs[0][1]}, again", chosen[:1], AGAIN_S))
    print(machine(arguments.dir))
    print(
        f"three brokers, RF 3, min.insync.replicas 2; client: Kafka's ProducerPerformance, {RECORD_SIZE}-byte records, acks=all, linger 1 ms, "
        f"and librdkafka; clients and brokers share the cores. {arguments.records:,} records (median of {SATURATED_RUNS} runs; at a rate: {AT_RATE_S} s after {WARMUP_S} s "
        f"that do not count), "
        f"{arguments.rounds} rounds of each fault, {RESTARTS} restarts\n", flush=True,
    )
    columns = {}
    try:
        for peer, column, of_it, limit_s in runs:
            measure(peer, of_it, arguments, limit_s, columns.setdefault(column, {}))
    finally:
        table(columns, [metric for _, metrics, _ in chosen for metric in metrics])


if __name__ == "__main__":
    main()
