//! The e2e program: gets a cluster, installs the chart, runs the stories one after the other, and says what happened.
//!
//! Owns the order of events and the exit code. What the stories need from outside (programs, images, a clean machine)
//! is the business of the scripts beside this package: start it by `e2e/run`, which also cleans up after it.

mod audit;
mod cluster;
mod kafka;
mod kubectl;
mod load;
mod operator;
mod report;
mod stories;
mod wait;

use std::cell::Cell;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::stories::{Outcome, STORIES, Story};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for story in STORIES {
            println!("{:<16} {}", story.name, story.about);
        }
        return ExitCode::SUCCESS;
    }
    let result = match arguments.split_first() {
        Some((first, names)) if first == "--check" => choose(names).map(|_| true),
        _ => run(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the named stories, or all; false if one failed.
fn run(names: &[String]) -> Result<bool> {
    let chosen = choose(names)?;
    let nodes = chosen.iter().map(|story| story.nodes).max().unwrap_or(1);
    let cluster = timed("cluster", || Cluster::start(nodes))?;
    let installed = Cell::new(false);
    let (mut passed, mut skipped, mut failures) = (0, 0, Vec::new());
    for story in chosen {
        let start = Instant::now();
        let outcome = stories::play(story, &cluster, &installed, passed + 1 == STORIES.len());
        let seconds = start.elapsed().as_secs_f32();
        match outcome {
            Outcome::Passed => {
                passed += 1;
                println!("story {} ... ok ({seconds:.1} s)", story.name);
            }
            Outcome::Skipped(reason) => {
                skipped += 1;
                println!("story {} ... skipped: {reason}", story.name);
            }
            Outcome::Failed(reason) => {
                println!("story {} ... FAILED ({seconds:.1} s)", story.name);
                failures.push(format!("{} failed: {reason}", story.name));
            }
        }
    }
    // Once more behind everything: of a long log one often sees the end only.
    for failure in &failures {
        println!("{failure}");
    }
    println!("{passed} passed, {} failed, {skipped} skipped", failures.len());
    Ok(failures.is_empty())
}

/// All stories in their order, or the named ones in the order of their naming.
fn choose(names: &[String]) -> Result<Vec<&'static Story>> {
    if names.is_empty() {
        return Ok(STORIES.iter().collect());
    }
    names
        .iter()
        .map(|name| match STORIES.iter().find(|story| story.name == name) {
            Some(story) => Ok(story),
            None => bail!("there is no story {name}; e2e/run --list prints them"),
        })
        .collect()
}

/// Prints how long a stage took, as the scripts do.
pub(crate) fn timed<T>(stage: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = work();
    let end = if result.is_ok() { "done" } else { "FAILED" };
    eprintln!("-- {stage}: {end} after {:.1} s", start.elapsed().as_secs_f32());
    result.with_context(|| format!("{stage} failed"))
}
