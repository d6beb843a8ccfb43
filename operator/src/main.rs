//! Entry point of `millrace-operator`: arguments, then the subcommand. Wiring only.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Kafka on Kubernetes: makes KafkaCluster and KafkaTopic resources true.
#[derive(Parser)]
#[command(name = "millrace-operator", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the custom resource definitions, or writes one file each into folders.
    Crd {
        /// A folder to write to; may be given several times.
        #[arg(long)]
        output: Vec<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Crd { output } => crd(&output),
    }
}

fn crd(folders: &[PathBuf]) -> anyhow::Result<()> {
    let files = operator::crd::files();
    if folders.is_empty() {
        let documents: Vec<String> = files.into_iter().map(|(_, yaml)| yaml).collect();
        print!("{}", documents.join("---\n"));
        return Ok(());
    }
    for folder in folders {
        std::fs::create_dir_all(folder)?;
        for (name, yaml) in &files {
            std::fs::write(folder.join(name), yaml)?;
        }
    }
    Ok(())
}
