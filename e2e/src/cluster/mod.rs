//! The cluster that the stories run on: one of our own, booted in namespaces of this machine, or the user's.
//!
//! Owns what both have in common: how to call kubectl and kcat, which images to use, what the stories may expect of it.

mod config;
mod keys;
mod machine;
mod network;
mod own;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::kafka::Kcat;
use crate::kubectl::Kubectl;
use own::Own;

/// A running cluster.
pub(crate) struct Cluster {
    /// The clone, for charts and examples.
    pub(crate) repository: PathBuf,
    pub(crate) images: Images,
    kind: Kind,
}

enum Kind {
    Own(Box<Own>),
    Given,
}

/// The image names that the stories use.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    pub(crate) registry: String,
    pub(crate) tag: String,
    /// Holds kcat.
    pub(crate) client: String,
}

impl Images {
    pub(crate) fn broker(&self) -> String {
        format!("{}/millrace-broker:{}", self.registry, self.tag)
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: start this program by e2e/run"))
}

impl Cluster {
    /// The cluster of `KUBECONFIG`, or else a freshly booted one with so many nodes, if `NODES` does not say otherwise.
    pub(crate) fn start(nodes: usize) -> Result<Cluster> {
        let (registry, tag) = (variable("REGISTRY")?, variable("TAG")?);
        let given = std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
        let kind = if given {
            Kind::Given
        } else {
            let nodes = match std::env::var("NODES").unwrap_or_default().as_str() {
                "" => nodes,
                "1" => 1,
                "2" => 2,
                "3" => 3,
                other => bail!("NODES={other}: a cluster of our own has 1 to 3 nodes"),
            };
            Kind::Own(Box::new(Own::boot(nodes)?))
        };
        let client = match kind {
            Kind::Own(_) => "localhost/client:1".to_owned(),
            Kind::Given => format!("{registry}/millrace-client:{tag}"),
        };
        Ok(Cluster {
            repository: variable("MILLRACE_REPOSITORY")?.into(),
            images: Images {
                registry,
                tag,
                client,
            },
            kind,
        })
    }

    /// kubectl from outside the cluster, with all rights.
    pub(crate) fn kubectl(&self, namespace: &str) -> Kubectl {
        Kubectl::new(self.outside(&["kubectl"]), namespace)
    }

    /// kcat from outside the cluster: it reaches node addresses, and neither pods nor services.
    pub(crate) fn kcat_outside(&self) -> Kcat {
        Kcat::Outside {
            prefix: self.outside(&["env"]),
        }
    }

    /// The program and arguments that run something where a user outside the cluster would be.
    pub(crate) fn outside(&self, program: &[&str]) -> Vec<String> {
        let mut command = match &self.kind {
            Kind::Own(own) => own.outside(),
            Kind::Given => Vec::new(),
        };
        command.extend(program.iter().map(|&word| word.to_owned()));
        command
    }

    /// What only a cluster of our own allows: its nodes and the API server's files. The error is the reason to skip.
    pub(crate) fn own(&self) -> Result<&Own, &'static str> {
        match &self.kind {
            Kind::Own(own) => Ok(own),
            Kind::Given => Err("needs a cluster of our own (nodes and audit log), and KUBECONFIG is set"),
        }
    }
}
