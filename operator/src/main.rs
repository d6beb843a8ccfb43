//! Entry point of `millrace-operator`: arguments, then the subcommand. Wiring only.

use anyhow::Context;
use clap::{Parser, Subcommand};
use operator::crd::kafka_cluster::PullPolicy;
use std::path::{Path, PathBuf};

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
    /// Looks after the KafkaClusters and KafkaTopics of a Kubernetes cluster.
    Run(RunArguments),
    /// Runs the clusters and topics of a manifest on this machine, without Kubernetes.
    Local {
        /// The manifest; it is watched while this runs.
        file: PathBuf,
        /// Where the brokers keep their data; $XDG_DATA_HOME/millrace or ./millrace-data when left out.
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// The broker's program; millrace-broker beside this program or on the PATH when left out.
        #[arg(long)]
        broker: Option<PathBuf>,
    },
    /// Becomes a broker that ends with its parent; for `local`.
    #[command(hide = true)]
    StartBroker {
        #[arg(long)]
        parent: u32,
        #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Copies seccomp profiles to a node; for the chart's installer.
    #[command(hide = true)]
    InstallProfiles {
        #[arg(long)]
        from: PathBuf,
        #[arg(long)]
        to: PathBuf,
        /// Stay until SIGTERM: a DaemonSet's pods must not end.
        #[arg(long)]
        wait: bool,
    },
    /// Prints the custom resource definitions, or writes one file each into folders.
    Crd {
        /// A folder to write to; may be given several times.
        #[arg(long)]
        output: Vec<PathBuf>,
    },
}

#[derive(clap::Args)]
struct RunArguments {
    /// Image of brokers whose KafkaCluster names none.
    #[arg(long, default_value = concat!("millrace/millrace-broker:", env!("CARGO_PKG_VERSION")))]
    broker_image: String,
    /// When to pull it: Always, IfNotPresent or Never.
    #[arg(long, default_value = "IfNotPresent", value_parser = pull_policy)]
    broker_image_pull_policy: PullPolicy,
    /// Secret to pull the broker's image with; may be given several times.
    #[arg(long)]
    image_pull_secret: Vec<String>,
    /// Namespace to look after; may be given several times. All when left out.
    #[arg(long)]
    watch_namespace: Vec<String>,
    /// How often everything is looked at when nothing happens.
    #[arg(long, default_value_t = 120)]
    full_reconciliation_seconds: u64,
    /// How long a silent leader keeps the Lease.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..))]
    lease_seconds: u64,
    /// There is never a second operator.
    #[arg(long)]
    no_leader_election: bool,
    /// Address of /metrics, /healthz and /readyz.
    #[arg(long, default_value = "0.0.0.0:8080")]
    http: String,
    /// Namespace of this process, for its Lease and the brokers' NetworkPolicy.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    namespace: String,
    /// Name of this process in the Lease and in Events.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
}

fn pull_policy(text: &str) -> Result<PullPolicy, String> {
    match text {
        "Always" => Ok(PullPolicy::Always),
        "IfNotPresent" => Ok(PullPolicy::IfNotPresent),
        "Never" => Ok(PullPolicy::Never),
        _ => Err("Always, IfNotPresent or Never".to_owned()),
    }
}

fn run(arguments: RunArguments) -> anyhow::Result<()> {
    use std::time::Duration;
    operator::telemetry::start_logs();
    let defaults = operator::cluster::validate::Defaults {
        image: arguments.broker_image,
        pull_policy: arguments.broker_image_pull_policy,
        pull_secrets: arguments.image_pull_secret,
        operator_namespace: arguments.namespace,
    };
    let lease = Duration::from_secs(arguments.lease_seconds);
    let options = operator::run::Options {
        defaults,
        watch_namespaces: arguments.watch_namespace,
        full_reconciliation: Duration::from_secs(arguments.full_reconciliation_seconds.max(1)),
        lease: (!arguments.no_leader_election).then_some(lease),
        identity: arguments
            .identity
            .unwrap_or_else(|| format!("millrace-operator-{}", std::process::id())),
        http: arguments.http,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async { operator::run::run(options, stopped()?).await })
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run(arguments) => run(arguments),
        Command::Crd { output } => crd(&output),
        Command::Local {
            file,
            data_dir,
            broker,
        } => local(file, data_dir, broker),
        Command::StartBroker { parent, command } => {
            let (program, arguments) = command.split_first().context("a program is needed")?;
            let error = operator::local::process::become_broker(parent, program.as_ref(), arguments);
            Err(error).with_context(|| format!("start {program}"))
        }
        Command::InstallProfiles { from, to, wait } => install_profiles(&from, &to, wait),
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

/// One thread: a broker's life ends with the thread that started it.
fn local(file: PathBuf, data_dir: Option<PathBuf>, broker: Option<PathBuf>) -> anyhow::Result<()> {
    let broker = match broker {
        Some(path) => path,
        None => operator::local::find_broker()
            .context("millrace-broker is neither beside this program nor on the PATH; build it or name it with --broker")?,
    };
    let options = operator::local::Options {
        file,
        data: data_dir.unwrap_or_else(operator::local::default_data),
        broker,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async { operator::local::run(options, stopped()?).await })
}

/// Ends at the first SIGINT, SIGTERM or SIGHUP.
fn stopped() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Files are put in place whole, under names that carry their version, and are never removed: a running pod may name one.
fn install_profiles(from: &Path, to: &Path, wait: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let path = entry?.path();
        let Some(name) = path
            .file_name()
            .filter(|_| path.extension().is_some_and(|ending| ending == "json"))
        else {
            continue;
        };
        let beside = to.join(format!(".{}.new", name.to_string_lossy()));
        std::fs::copy(&path, &beside).with_context(|| format!("write {}", beside.display()))?;
        std::fs::rename(&beside, to.join(name)).with_context(|| format!("rename {}", beside.display()))?;
        println!("installed {}", to.join(name).display());
    }
    if wait {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            stopped()?.await;
            anyhow::Ok(())
        })?;
    }
    Ok(())
}
