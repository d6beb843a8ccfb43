//! The cluster as its user sees it: kubectl, called as a program.
//!
//! Owns how kubectl is called and how its refusals are told. Which cluster it talks to, and from where, is `cluster`'s.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::wait;

/// kubectl bound to one cluster and one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    /// The program and the arguments that every call starts with.
    prefix: Vec<String>,
    namespace: String,
}

impl Kubectl {
    pub(crate) fn new(prefix: Vec<String>, namespace: &str) -> Kubectl {
        Kubectl {
            prefix,
            namespace: namespace.to_owned(),
        }
    }

    /// A command that is not started yet: for long-running ones and for pipes.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.prefix[0]);
        command
            .args(&self.prefix[1..])
            .args(["--namespace", &self.namespace])
            .args(arguments);
        command
    }

    /// Standard output of a call that must succeed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        output_of(self.command(arguments).stdin(Stdio::null()), &arguments.join(" "))
    }

    /// The same with text on standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = with_input(&mut self.command(arguments), input)?;
        checked(output, &arguments.join(" "))
    }

    /// Server-side apply, which refuses misspelt fields and does not need the last applied state.
    pub(crate) fn apply(&self, yaml: &str) -> Result<String> {
        self.run_with_input(&["apply", "--server-side", "--force-conflicts", "-f", "-"], yaml)
    }

    /// Applies what the API server must refuse, and gives its words.
    pub(crate) fn refused(&self, yaml: &str) -> Result<String> {
        self.refusal(&["apply", "-f", "-"], yaml)
    }

    /// Calls with what the API server must refuse, and gives its words.
    pub(crate) fn refusal(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = with_input(&mut self.command(arguments), input)?;
        if output.status.success() {
            bail!(
                "kubectl {} was accepted, but must be refused:\n{input}",
                arguments.join(" ")
            );
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Result<Value> {
        json(&self.run(&["get", kind, name, "-o", "json"])?)
    }

    /// The objects of one kind, by an optional label selector.
    pub(crate) fn list(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let list = json(&self.run(&["get", kind, "-l", selector, "-o", "json"])?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    pub(crate) fn exists(&self, kind: &str, name: &str) -> Result<bool> {
        Ok(!self
            .run(&["get", kind, name, "--ignore-not-found", "-o", "name"])?
            .trim()
            .is_empty())
    }

    /// A merge patch.
    pub(crate) fn patch(&self, kind: &str, name: &str, patch: &Value) -> Result<String> {
        self.run(&["patch", kind, name, "--type=merge", "-p", &patch.to_string()])
    }

    pub(crate) fn delete(&self, kind: &str, name: &str) -> Result<String> {
        self.run(&["delete", kind, name, "--wait=false"])
    }

    /// Waits until the object looks right; `look` tells what is still wrong.
    pub(crate) fn wait_until(
        &self,
        kind: &str,
        name: &str,
        deadline: Duration,
        look: impl Fn(&Value) -> Result<()>,
    ) -> Result<Value> {
        wait::until(&format!("{kind}/{name}"), deadline, || {
            let object = self.get(kind, name)?;
            look(&object)?;
            Ok(object)
        })
    }

    /// Waits until the condition has this status in the status of the current generation.
    pub(crate) fn wait_condition(
        &self,
        kind: &str,
        name: &str,
        condition: &str,
        status: &str,
        deadline: Duration,
    ) -> Result<Value> {
        self.wait_until(kind, name, deadline, |object| {
            let found =
                condition_of(object, condition).with_context(|| format!("no condition {condition} yet"))?;
            let current = found["observedGeneration"].is_null()
                || found["observedGeneration"] == object["metadata"]["generation"];
            if found["status"] != *status || !current {
                bail!("condition {condition} is {found}");
            }
            Ok(())
        })
    }

    pub(crate) fn wait_gone(&self, kind: &str, name: &str, deadline: Duration) -> Result<()> {
        wait::until(&format!("{kind}/{name} gone"), deadline, || {
            if self.exists(kind, name)? {
                bail!("{kind}/{name} is still there")
            } else {
                Ok(())
            }
        })
    }

    /// Waits for a pod to be Ready.
    pub(crate) fn wait_ready(&self, pod: &str, deadline: Duration) -> Result<Value> {
        self.wait_until("pod", pod, deadline, |object| {
            match condition_of(object, "Ready") {
                Some(ready)
                    if ready["status"] == "True" && object["metadata"]["deletionTimestamp"].is_null() =>
                {
                    Ok(())
                }
                _ => bail!(
                    "pod {pod} is not ready: {}",
                    object["status"]["containerStatuses"]
                ),
            }
        })
    }
}

/// One condition out of an object's status.
pub(crate) fn condition_of<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == name)
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("kubectl's answer is not JSON")
}

fn with_input(command: &mut Command, input: &str) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    // Dropping the pipe ends the input. A program that stops reading early says why on its standard error.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().context("wait for the program")
}

/// Runs a command that must succeed and gives its standard output; `what` names it in the error.
pub(crate) fn output_of(command: &mut Command, what: &str) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    checked(output, what)
}

/// The same with text on standard input.
pub(crate) fn output_with_input(command: &mut Command, input: &str, what: &str) -> Result<String> {
    checked(with_input(command, input)?, what)
}

fn checked(output: Output, what: &str) -> Result<String> {
    if !output.status.success() {
        bail!(
            "{what}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
