//! A machine of the cluster: one process in its own network, mount, PID, UTS and IPC namespaces.
//!
//! Owns the process and how programs are run in it. Killing that process is pulling the plug: every program and pod in
//! it dies and every mount is dropped. The parent-death signal ties all machines to the life of this program.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::network;
use crate::kubectl::output_of;
use crate::wait;

pub(crate) struct Machine {
    pub(super) name: String,
    /// Where the machine's folders and its programs' logs are.
    dir: PathBuf,
    /// Its first program.
    pause: PathBuf,
    running: RefCell<Running>,
}

/// From power on to power off.
struct Running {
    /// The first process, seen from this program's PID namespace.
    pid: u32,
    /// The `unshare` process that waits for the first one.
    holder: Child,
}

impl Machine {
    /// Starts the machine's first process, `pause`; its network namespace is there already.
    pub(super) fn start(name: &str, run_dir: &Path, pause: &Path) -> Result<Machine> {
        let dir = run_dir.join(name);
        fs::create_dir_all(dir.join("log")).with_context(|| format!("make {}", dir.display()))?;
        let running = Running::start(name, run_dir, &dir, pause)?;
        Ok(Machine {
            name: name.to_owned(),
            dir,
            pause: pause.to_owned(),
            running: RefCell::new(running),
        })
    }

    /// Pulls the plug: nothing in it gets a word of it. What its folders hold stays.
    pub(super) fn power_off(&self) -> Result<()> {
        let mut running = self.running.borrow_mut();
        output_of(
            Command::new("kill").args(["-9", &running.pid.to_string()]),
            &format!("power {} off", self.name),
        )?;
        running.holder.wait().context("wait for the machine's end")?;
        Ok(())
    }

    /// Starts its first process anew, after `power_off`; the rest is to be started in it as after `start`.
    pub(super) fn power_on(&self) -> Result<()> {
        let run_dir = self.dir.parent().context("its folder has no parent")?;
        *self.running.borrow_mut() = Running::start(&self.name, run_dir, &self.dir, &self.pause)?;
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that will run inside the machine. Its working folder is `/`, so paths must be absolute.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "-t",
                &self.running.borrow().pid.to_string(),
                "-m",
                "-p",
                "-n",
                "-u",
                "-i",
                "--",
                program,
            ])
            .stdin(Stdio::null());
        command
    }

    /// Runs a program in the machine to its end; it must succeed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output_of(
            self.command(program).args(arguments),
            &format!("{}: {program} {}", self.name, arguments.join(" ")),
        )
    }

    /// Starts a program that stays; what it prints goes to its own log.
    pub(super) fn daemon(&self, program: &str, arguments: &[String]) -> Result<()> {
        let log = self.log_of(program);
        // What it said before a power cut stays.
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let err = out.try_clone().context("share the log")?;
        let mut command = self.command(program);
        command.args(arguments).stdout(out).stderr(err);
        let child = command
            .spawn()
            .with_context(|| format!("start {program} in {}", self.name))?;
        // Nobody waits for it: it ends when the machine does.
        drop(child);
        Ok(())
    }

    pub(super) fn log_of(&self, program: &str) -> PathBuf {
        self.dir.join("log").join(format!("{program}.log"))
    }
}

impl Running {
    fn start(name: &str, run_dir: &Path, dir: &Path, pause: &Path) -> Result<Running> {
        let network = format!("--net=/run/netns/{}", network::namespace(name));
        let mut command = Command::new("setpriv");
        if std::env::var_os("KEEP").is_none_or(|keep| keep.is_empty()) {
            command.args(["--pdeathsig", "KILL"]);
        }
        let log = File::create(dir.join("log/machine.log"))?;
        let holder = command
            .args([
                "nsenter",
                &network,
                "unshare",
                "--mount",
                "--pid",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
            ])
            .args(["--mount-proc", "--propagation", "private"])
            .arg(pause)
            .stdin(Stdio::null())
            // With KEEP it outlives this program, and must not hold on to its pipes.
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start machine {name}"))?;
        fs::create_dir_all(run_dir.join("pids"))?;
        fs::write(run_dir.join("pids").join(name), format!("{}\n", holder.id()))?;
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let pid = wait::until("the machine's first process", wait::seconds(10), || {
            let pid = fs::read_to_string(&children)?.trim().parse()?;
            // Before exec it is still a copy of unshare, in a half-made set of namespaces.
            if fs::read_link(format!("/proc/{pid}/exe"))? != pause {
                anyhow::bail!("not yet started");
            }
            Ok(pid)
        })?;
        Ok(Running { pid, holder })
    }
}
