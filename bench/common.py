"""What both benchmarks measure with: ports, memory and processor time of a process, Kafka's own ProducerPerformance."""

import glob
import os
import re
import resource
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass

RECORD_SIZE = 1024
PORTS = iter(range(12_000, 20_000))


class Failed(Exception):
    """Something did not happen; in words for the table."""


class OutOfTime(Failed):
    """The run's own time was over: nobody's fault."""


def free_port():
    """Below those that the kernel gives to outgoing connections: one of them could take the port of a broker that was killed."""
    for port in PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failed("no port is free")


def peak_mib(pid):
    """The most memory that a process ever had resident."""
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) / 1024


def processor_s(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def jars(tools):
    return f"{os.path.abspath(tools)}/*"


def kafka_version(tools):
    """Of the server that is measured: a label that is written down elsewhere would go stale."""
    found = glob.glob(f"{tools}/kafka_2.13-*.jar")
    if len(found) != 1:
        raise SystemExit(f"{tools} has {len(found)} jars kafka_2.13-*.jar, not one: run scripts/clients-setup bench")
    return re.search(r"kafka_2\.13-(.+)\.jar$", found[0]).group(1)


def allow_files():
    """As many open files as this user may have, for every broker alike: ten thousand partitions need tens of thousands."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def file_system(folder):
    """The kind of file system under a folder. A tmpfs is refused: a sync costs nothing there."""
    folder = folder or tempfile.gettempdir()
    kind = subprocess.run(["df", "--output=fstype", folder], check=True, capture_output=True, text=True).stdout.split()[-1]
    if kind in ("tmpfs", "ramfs"):
        raise SystemExit(f"{folder} is a {kind}, where a sync costs nothing: name a folder on a disk with --dir")
    return f"{kind} at {folder}"


def machine(folder):
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*:\s*(.*)", file.read())
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"machine: {os.cpu_count()} cores, {model.group(1) if model else 'unknown'}, Linux {os.uname().release}, load average {load}; "
        f"data on {file_system(folder)}"
    )


@dataclass(frozen=True)
class Run:
    """One run of a producer, without its warm-up."""

    rate: float  # records/s
    p50_ms: float
    p99_ms: float
    p999_ms: float
    brokers_us: float | None  # processor time per record of whatever `processor` counts
    client_us: float | None  # the same, of the producer


def produce(tools, bootstrap, topic, records, rate, warmup=0, processor=lambda: 0.0, within_s=600):
    """Kafka's ProducerPerformance with acks=all: `warmup` records, then `records` that count (KIP-1052: the first ones measure how
    the client's own JVM warms up). `rate` in records/s, -1 for as many as it can. `processor` gives the seconds that the
    brokers have used so far."""
    command = [
        "java", "-Xmx512m", "-Dlog4j2.level=OFF", "-cp", jars(tools), "org.apache.kafka.tools.ProducerPerformance", "--bootstrap-server", bootstrap,
        "--topic", topic, "--num-records", str(warmup + records), "--warmup-records", str(warmup), "--record-size", str(RECORD_SIZE),
        "--throughput", str(rate), "--reporting-interval", "500", "--command-property", "acks=all", "linger.ms=1",
    ]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        late = threading.Timer(within_s, process.kill)
        late.start()
        try:
            steady, warm, end, said = False, None, None, []
            for line in process.stdout:
                said.append(line)
                window = re.match(r"(\d+) records sent", line)
                if "In steady state" in line:
                    steady = True
                elif "99.9th" in line:
                    end = end or (time.monotonic(), processor())
                elif window and steady and warm is None:
                    # The first window of those that count: what still was queued of the warm-up came before its records.
                    warm = (int(window.group(1)), time.monotonic(), processor(), processor_s(process.pid))
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            late.cancel()
            if process.returncode is None:
                process.kill()
                process.wait()
        errors.seek(0)
        words = "".join(said) + errors.read()
    if process.returncode == -9:
        raise Failed(f"the producer did not write {warmup + records} records within {within_s:.0f} s")
    found = re.findall(r"([\d.]+) records/sec.*?(\d+) ms 50th, (\d+) ms 95th, (\d+) ms 99th, (\d+) ms 99.9th", "".join(said))
    if process.returncode or not found:
        raise Failed(f"ProducerPerformance ended with {process.returncode}: {words[-500:]}")
    rate, p50, _, p99, p999 = (float(number) for number in found[-1])
    brokers_us = client_us = None
    if warm and records > warm[0]:
        counted = records - warm[0]
        # The tool's own rate begins when the first record is sent that counts, and up to 32 MiB of the warm-up are queued then.
        rate = counted / (end[0] - warm[1])
        brokers_us = (end[1] - warm[2]) / counted * 1e6
        client_us = (used.ru_utime + used.ru_stime - warm[3]) / counted * 1e6
    return Run(rate, p50, p99, p999, brokers_us, client_us)
