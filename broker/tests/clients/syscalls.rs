//! On the engine `uring` no write-family system call touches a log file: appends go through the ring.

use std::process::Command;

use crate::broker::Broker;
use crate::kcat::{create_topic, kcat, numbered};
use crate::program::{Running, run};

#[test]
fn under_load_no_write_system_call_touches_a_log_file() {
    let broker = Broker::start(&["io.engine=auto"]);
    let metrics = broker.http_get("/metrics").expect("the HTTP port answers");
    if !metrics
        .lines()
        .any(|line| line.starts_with("millrace_io_engine_info") && line.contains("uring"))
    {
        println!("skipped: this machine does not allow io_uring");
        return;
    }
    create_topic(&broker, "orders", 2);
    let trace = tempfile::NamedTempFile::new().expect("a file for the trace");
    let mut strace = Running::start(Command::new("strace").args([
        "-f",
        "-y",
        "-e",
        "trace=write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,io_uring_enter",
        "-o",
        &trace.path().display().to_string(),
        "-p",
        &broker.pid().to_string(),
    ]));
    strace.until("strace is attached", |lines| {
        lines.iter().any(|line| line.contains("attached"))
    });
    let records = numbered(20_000);
    run(
        kcat(&broker.bootstrap()).args(["-P", "-t", "orders", "-X", "acks=all", "-X", "linger.ms=1"]),
        &(records.join("\n") + "\n"),
    )
    .success();
    strace.kill();
    let calls = std::fs::read_to_string(trace.path()).expect("strace wrote its file");
    assert!(
        calls.lines().any(|line| line.contains("io_uring_enter")),
        "the trace saw the load"
    );
    let writes: Vec<&str> = calls
        .lines()
        .filter(|line| !line.contains("io_uring_enter") && line.contains(".log>"))
        .take(5)
        .collect();
    assert!(
        writes.is_empty(),
        "log files were written outside the ring:\n{}",
        writes.join("\n")
    );
}
