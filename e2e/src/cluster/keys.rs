//! Certificates, tokens and kubeconfigs of a cluster of our own. They live as long as the cluster's folder does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::network::CONTROL_PLANE;
use crate::kubectl::output_of;

/// Files below the `pki` folder of a run.
pub(super) struct Keys {
    dir: PathBuf,
}

const NAMES: &str = "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
                     DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:172.30.0.10,IP:10.96.0.1";

impl Keys {
    pub(super) fn make(dir: &Path, nodes: usize) -> Result<Keys> {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        let keys = Keys { dir: dir.to_owned() };
        keys.authority("ca")?;
        keys.authority("front")?;
        keys.certificate(
            "apiserver",
            "ca",
            "/CN=kube-apiserver",
            &["extendedKeyUsage=serverAuth", &subject_names()],
        )?;
        let client = ["extendedKeyUsage=clientAuth"];
        keys.certificate(
            "kubelet-client",
            "ca",
            "/O=system:masters/CN=apiserver-kubelet-client",
            &client,
        )?;
        keys.certificate("front-proxy", "front", "/CN=front-proxy", &client)?;
        keys.openssl(&[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            &keys.file("sa.key"),
        ])?;
        keys.openssl(&[
            "ec",
            "-in",
            &keys.file("sa.key"),
            "-pubout",
            "-out",
            &keys.file("sa.pub"),
        ])?;
        keys.tokens(nodes)?;
        Ok(keys)
    }

    /// Path of a file, as text for a command line.
    pub(super) fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Path of a user's kubeconfig: `admin`, `kube-scheduler`, `n1`, ...
    pub(super) fn kubeconfig(&self, user: &str) -> String {
        self.file(&format!("{user}.kubeconfig"))
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        output_of(
            Command::new("openssl").args(arguments),
            &format!("openssl {}", arguments.join(" ")),
        )
        .map(drop)
    }

    fn authority(&self, name: &str) -> Result<()> {
        let (key, certificate) = (
            self.file(&format!("{name}.key")),
            self.file(&format!("{name}.crt")),
        );
        let mut arguments = REQUEST.to_vec();
        let subject = format!("/CN=e2e-{name}");
        arguments.extend([
            "-x509",
            "-days",
            "30",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &certificate,
        ]);
        self.openssl(&arguments)
    }

    fn certificate(&self, name: &str, authority: &str, subject: &str, extensions: &[&str]) -> Result<()> {
        let (key, certificate) = (
            self.file(&format!("{name}.key")),
            self.file(&format!("{name}.crt")),
        );
        let (signer, signer_key) = (
            self.file(&format!("{authority}.crt")),
            self.file(&format!("{authority}.key")),
        );
        let mut arguments = REQUEST.to_vec();
        arguments.extend([
            "-x509",
            "-days",
            "30",
            "-CA",
            &signer,
            "-CAkey",
            &signer_key,
            "-subj",
            subject,
        ]);
        // A certificate made by `req -x509` is an authority unless told otherwise.
        arguments.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
        for extension in extensions {
            arguments.extend(["-addext", extension]);
        }
        arguments.extend(["-keyout", &key, "-out", &certificate]);
        self.openssl(&arguments)
    }

    /// Everybody but the API server itself uses a token.
    fn tokens(&self, nodes: usize) -> Result<()> {
        let mut users = vec![
            ("admin".to_owned(), "admin".to_owned(), "system:masters"),
            (
                "kube-controller-manager".to_owned(),
                "system:kube-controller-manager".to_owned(),
                "",
            ),
            (
                "kube-scheduler".to_owned(),
                "system:kube-scheduler".to_owned(),
                "",
            ),
            ("kube-proxy".to_owned(), "system:kube-proxy".to_owned(), ""),
        ];
        users.extend(
            (1..=nodes).map(|node| (format!("n{node}"), format!("system:node:n{node}"), "system:nodes")),
        );
        let mut table = String::new();
        for (file, user, group) in &users {
            let random = fs::read_to_string("/proc/sys/kernel/random/uuid").context("read a random token")?;
            let token = random.trim();
            table += &format!("{token},{user},{user},\"{group}\"\n");
            write_private(Path::new(&self.kubeconfig(file)), &self.kubeconfig_text(token))?;
        }
        write_private(Path::new(&self.file("tokens.csv")), &table)
    }

    fn kubeconfig_text(&self, token: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: e2e\n\
             clusters: [{{name: e2e, cluster: {{server: 'https://{CONTROL_PLANE}:6443', certificate-authority: {}}}}}]\n\
             contexts: [{{name: e2e, context: {{cluster: e2e, user: e2e}}}}]\n\
             users: [{{name: e2e, user: {{token: {token}}}}}]\n",
            self.file("ca.crt"),
        )
    }
}

const REQUEST: [&str; 6] = [
    "req",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
];

fn subject_names() -> String {
    format!("subjectAltName={NAMES}")
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
