//! Running third-party programs: with a deadline, with their output kept, and ended by id when a test is done.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest that any single program may take; a JVM on a busy machine needs tens of seconds.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// What a finished program left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The output of a program that had to succeed.
    pub(crate) fn success(self) -> String {
        assert!(
            self.ok,
            "the program failed\nstdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self.stdout
    }
}

/// Where `scripts/clients-setup` put a library.
pub(crate) fn prepared(name: &str) -> PathBuf {
    let cache = std::env::var_os("MILLRACE_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let home = std::env::var_os("HOME").map(PathBuf::from).expect("HOME is set");
            std::env::var_os("XDG_CACHE_HOME")
                .map_or_else(|| home.join(".cache"), PathBuf::from)
                .join("millrace")
        });
    let path = cache.join("clients").join(name);
    assert!(path.exists(), "{} is missing: run `make clients`", path.display());
    path
}

/// A Java program with every jar of a prepared folder on its class path; 64 MiB of heap keeps many of them small.
pub(crate) fn java(folder: &str, class: &str) -> Command {
    let mut command = Command::new("java");
    let path = match folder {
        "java-example" => {
            let target = prepared(folder).join("target");
            format!("{}/classes:{}/lib/*", target.display(), target.display())
        }
        _ => format!("{}/*", prepared(folder).display()),
    };
    command.args([
        "-Xmx128m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        &path,
        class,
    ]);
    command
}

/// Runs to its end, feeding `input`; a program over the deadline is killed and fails the test.
pub(crate) fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_string();
    let feeder = std::thread::spawn(move || {
        // A program may close its input early; that shows in what it prints, not here.
        let _ = stdin.write_all(input.as_bytes());
    });
    let stdout = collect(child.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.stderr.take().expect("stderr is piped"));
    let ok = wait(&mut child, DEADLINE).unwrap_or_else(|| {
        let _ = child.kill();
        panic!(
            "{command:?} did not end within {DEADLINE:?}\n{}",
            stderr.recv().unwrap_or_default()
        );
    });
    feeder.join().expect("the feeder only writes");
    Output {
        ok,
        stdout: stdout.recv().unwrap_or_default(),
        stderr: stderr.recv().unwrap_or_default(),
    }
}

/// Whether this test may mount file systems and make network namespaces.
pub(crate) fn is_root() -> bool {
    run(Command::new("id").arg("-u"), "").success().trim() == "0"
}

fn collect(mut from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// Whether the program ended well, or `None` if it is still there at the deadline.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<bool> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().expect("wait for a child of this test") {
            return Some(status.success());
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    None
}

/// A program that goes on in the background while the test reads what it prints, line by line.
pub(crate) struct Running {
    child: Child,
    /// Of a program that ends when its input does.
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        Running::with_input(command, Stdio::null())
    }

    /// A program that ends by itself when its input ends, which is when [`Running::finish`] says so.
    pub(crate) fn until_told(command: &mut Command) -> Running {
        Running::with_input(command, Stdio::piped())
    }

    fn with_input(command: &mut Command, input: Stdio) -> Running {
        let mut child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let (sender, lines) = channel();
        let out = child.stdout.take().expect("stdout is piped");
        let err = child.stderr.take().expect("stderr is piped");
        let errors = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                let _ = errors.send(format!("stderr: {line}"));
            }
        });
        Running {
            input: child.stdin.take(),
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Reads on until `enough` says so of all lines so far; fails at the deadline or when the program ends first.
    pub(crate) fn until(&mut self, what: &str, enough: impl Fn(&[String]) -> bool) -> &[String] {
        let end = Instant::now() + DEADLINE;
        while !enough(&self.seen) {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("waited for {what}; it printed:\n{}", self.seen.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended before {what}; it printed:\n{}", self.seen.join("\n"))
                }
            }
        }
        &self.seen
    }

    /// All lines so far.
    pub(crate) fn so_far(&self) -> &[String] {
        &self.seen
    }

    /// Takes what it printed since, waiting a little when there is nothing.
    pub(crate) fn take_lines(&mut self) {
        if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(20)) {
            self.seen.push(line);
            self.seen.extend(self.lines.try_iter());
        }
    }

    /// SIGKILL, then whatever it had printed.
    pub(crate) fn kill(mut self) -> Vec<String> {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.rest()
    }

    /// Its input ends, and it has to end well by itself; everything it printed.
    pub(crate) fn finish(mut self) -> Vec<String> {
        drop(
            self.input
                .take()
                .expect("a program that waits for the end of its input"),
        );
        let ended = wait(&mut self.child, DEADLINE);
        let printed = self.rest();
        assert_eq!(
            ended,
            Some(true),
            "it had to end well within {DEADLINE:?} of the end of its input; it printed last:\n{}",
            last_of(&printed)
        );
        printed
    }

    /// SIGTERM, and it has to end, with whatever code; everything it printed.
    pub(crate) fn terminate(mut self) -> Vec<String> {
        let sent = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(
            sent.expect("kill runs").success(),
            "SIGTERM to a program of this test"
        );
        let ended = wait(&mut self.child, DEADLINE);
        let printed = self.rest();
        assert!(
            ended.is_some(),
            "it had to end within {DEADLINE:?} of SIGTERM; it printed last:\n{}",
            last_of(&printed)
        );
        printed
    }

    fn rest(&mut self) -> Vec<String> {
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.seen.push(line);
        }
        std::mem::take(&mut self.seen)
    }
}

fn last_of(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(20)..].join("\n")
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
