"""What a benchmark found, and the table of it. A figure that does not count, or that there is none of, says why."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    value: float | None
    beside: str = ""  # a word beside the number
    doubt: str = ""  # why it does not count
    failed: str = ""  # why there is none
    is_count: bool = False  # of which a ratio says nothing

    def __str__(self):
        if self.value is None:
            return "failed: " + self.failed
        words = f"{self.value:,.1f}" + (f" ({self.beside})" if self.beside else "")
        return words + (f", does not count: {self.doubt}" if self.doubt else "")


def figure(value):
    return value if isinstance(value, Figure) else Figure(value)


def of_run(value, doubt=""):
    """What a run of a producer could not say when it ended too soon after its warm-up."""
    return Figure(None, failed="too short a run to see it without its warm-up") if value is None else Figure(value, doubt=doubt)


def spread(what, times, wanted):
    """The median and the worst of some milliseconds; how many there were is said where they are not as many as wanted."""
    beside = f"of {len(times)}" if len(times) != wanted else ""
    return {f"{what}, p50, ms": Figure(statistics.median(times), beside), f"{what}, worst, ms": Figure(max(times), beside)}


def table(columns, metrics):
    """Prints one column for each peer (name -> metric -> number or Figure) and its ratio to the first where both count; reasons
    below."""
    names, reasons = list(columns), []

    def noted(reason):
        if reason not in reasons:
            reasons.append(reason)
        return f"[{reasons.index(reason) + 1}]"

    def cell(found, first):
        if found is None:
            return "not measured"
        if found.value is None:
            return f"failed {noted(found.failed)}"
        words = f"{found.value:,.1f}" + (f" {found.beside}" if found.beside else "")
        if found.doubt:
            return f"{words} does not count {noted(found.doubt)}"
        counts = first is not None and first is not found and first.value and not first.doubt and not found.is_count
        return words + (f" ({found.value / first.value:.2f}x)" if counts else "")

    lines = [["", *names]]
    for metric in metrics:
        found = [columns[name].get(metric) for name in names]
        found = [None if value is None else figure(value) for value in found]
        lines.append([metric, *(cell(value, found[0]) for value in found)])
    widths = [max(len(line[at]) for line in lines) for at in range(len(names) + 1)]
    for line in lines:
        print(f"{line[0]:{widths[0]}}" + "".join(f"  {words:>{width}}" for words, width in zip(line[1:], widths[1:])))
    for number, reason in enumerate(reasons, 1):
        print(f"[{number}] {reason}")
