"""What both benchmarks measure with: ports, memory and processor time of a process, Kafka's own ProducerPerformance."""

import os
import re
import socket
import subprocess
import sys

RECORD_SIZE = 1024


PORTS = iter(range(12_000, 20_000))


def free_port():
    """Below those that the kernel gives to outgoing connections: one of them could take the port of a broker that was killed."""
    for port in PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    sys.exit("no port is free")


def resident_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024


def processor_s(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def produce(tools, bootstrap, topic, records, rate, warmup=0):
    """One run of Kafka's ProducerPerformance with acks=all; returns (records/s, p50, p95, p99, p99.9 in ms) of its last summary:
    without the first `warmup` records if there are any, which measure how the client's own JVM warms up (KIP-1052)."""
    out = subprocess.run(
        ["java", "-Xmx512m", "-cp", f"{os.path.abspath(tools)}/*", "org.apache.kafka.tools.ProducerPerformance", "--topic", topic,
         "--num-records", str(records), "--warmup-records", str(warmup), "--record-size", str(RECORD_SIZE), "--throughput", str(rate), "--producer-props",
         f"bootstrap.servers={bootstrap}", "acks=all", "linger.ms=1"],
        check=True, capture_output=True, text=True,
    ).stdout
    summary = out.strip().splitlines()[-1]
    found = re.search(r"([\d.]+) records/sec.*?(\d+) ms 50th, (\d+) ms 95th, (\d+) ms 99th, (\d+) ms 99.9th", summary)
    if not found:
        sys.exit(f"ProducerPerformance said: {out}")
    return [float(number) for number in found.groups()]


def machine():
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*:\s*(.*)", file.read())
    return f"machine: {os.cpu_count()} cores, {model.group(1) if model else 'unknown'}, Linux {os.uname().release}"


def table(rows):
    """Prints one column per peer and the ratio of each to the first."""
    names = list(rows)
    print(f"{'':58}" + "".join(f"{name:>32}" for name in names))
    for metric in rows[names[0]]:
        first = rows[names[0]][metric]
        cells = f"{metric:58}"
        for name in names:
            value = rows[name].get(metric)
            if value is None:
                cells += f"{'not measured':>32}"
                continue
            ratio = f" ({value / first:.2f}x)" if name != names[0] and first else ""
            cells += f"{value:>22,.1f}{ratio:>10}"
        print(cells)
