//! Boots a cluster of our own: a control plane and one to three nodes with real kubelets, containerd and pods.
//!
//! Owns the order of the boot, and what only such a cluster allows (run something on a node, read the audit log).
//! `e2e/down` takes everything away again; the list of folders made outside the run's own is kept for it in `made`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::config;
use super::keys::Keys;
use super::machine::Machine;
use super::network;
use crate::kubectl::{Kubectl, output_of};
use crate::wait::{self, seconds};

pub(crate) struct Own {
    run_dir: PathBuf,
    keys: Keys,
    _control_plane: Machine,
    nodes: Vec<Machine>,
    /// Files with the images that every node has: the pods' first container, and those of the stories.
    archives: Vec<String>,
    made: Made,
}

impl Own {
    /// With so many nodes.
    pub(super) fn boot(count: usize) -> Result<Own> {
        let run_dir = PathBuf::from(super::variable("MILLRACE_E2E_DIR")?);
        fs::create_dir_all(&run_dir).with_context(|| format!("make {}", run_dir.display()))?;
        // Links in the path would not match what the kernel shows of mounts and programs.
        let run_dir = fs::canonicalize(&run_dir)?;
        let mut archives: Vec<String> = super::variable("MILLRACE_E2E_ARCHIVES")?
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let keys = Keys::make(&run_dir.join("pki"), count)?;
        let made = Made(run_dir.join("made"));
        made.touch()?;
        network::lay(count)?;
        // A copy in the run's own folder: by that path `e2e/down` knows the machines of a run.
        let pause = run_dir.join("machine");
        fs::copy(program("pause")?, &pause).context("copy the machines' first program")?;
        let control_plane = Machine::start("cp", &run_dir, &pause)?;
        let nodes = (1..=count)
            .map(|node| Machine::start(&format!("n{node}"), &run_dir, &pause))
            .collect::<Result<Vec<_>>>()?;
        archives.insert(0, pause_archive(&run_dir, &pause)?);
        let own = Own {
            run_dir,
            keys,
            _control_plane: control_plane,
            nodes,
            archives,
            made,
        };

        own.start_api_server()?;
        // While the API server comes up, the nodes get their container runtimes and images.
        for (index, node) in own.nodes.iter().enumerate() {
            own.start_containerd(node, index + 1)?;
        }
        let kubectl = Kubectl::new(own.kubectl_words(), "default");
        wait::until("the API server", seconds(60), || {
            kubectl.run(&["get", "--raw", "/readyz"])
        })
        .with_context(|| {
            format!(
                "its log is {}",
                own._control_plane.log_of("kube-apiserver").display()
            )
        })?;
        own.start_controllers()?;
        for (index, node) in own.nodes.iter().enumerate() {
            own.import_images(node)?;
            own.start_node(node, index + 1)?;
        }
        kubectl.apply(config::STORAGE_CLASS)?;
        for node in &own.nodes {
            kubectl.wait_condition("node", &node.name, "Ready", "True", seconds(60))?;
        }
        // The last thing to appear; pods are refused before it.
        wait::until("the default service account", seconds(60), || {
            kubectl.get("serviceaccount", "default")
        })?;
        Ok(own)
    }

    /// Where the API server writes who asked for what, one JSON object a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.run_dir.join("audit.jsonl")
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Machine> {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .with_context(|| format!("there is no node {name}"))
    }

    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Pulls the plug of a node. The control plane learns of it by its silence.
    pub(crate) fn power_off(&self, name: &str) -> Result<()> {
        self.node(name)?.power_off()
    }

    /// Gives it power again: the same folders, and everything in it is started anew.
    pub(crate) fn power_on(&self, name: &str) -> Result<()> {
        let number = 1 + self
            .nodes
            .iter()
            .position(|node| node.name == name)
            .with_context(|| format!("there is no node {name}"))?;
        let node = self.node(name)?;
        node.power_on()?;
        self.start_containerd(node, number)?;
        self.import_images(node)?;
        self.start_node(node, number)
    }

    /// Puts a seccomp profile where the kubelets of all nodes look for `localhostProfile: <name>`.
    pub(crate) fn install_seccomp_profile(&self, name: &str, profile: &str) -> Result<()> {
        for node in &self.nodes {
            let path = node.dir().join("kubelet/seccomp").join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, profile).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// The words that run a program outside the cluster, with the rights of its administrator.
    pub(super) fn outside(&self) -> Vec<String> {
        let mut words = network::enter(network::OUTSIDE);
        // A home of its own: kubectl and helm keep caches there.
        words.extend([
            "env".to_owned(),
            format!("HOME={}", self.run_dir.join("home").display()),
        ]);
        words.push(format!("KUBECONFIG={}", self.keys.kubeconfig("admin")));
        words
    }

    fn kubectl_words(&self) -> Vec<String> {
        let mut words = self.outside();
        words.push("kubectl".to_owned());
        words
    }

    fn start_api_server(&self) -> Result<()> {
        let cp = &self._control_plane;
        let policy = write(&cp.dir().join("audit.yaml"), config::AUDIT_POLICY)?;
        let pki = self.keys.file("");
        let pki = pki.trim_end_matches('/');
        in_memory(cp, "etcd")?;
        cp.daemon("etcd", &config::etcd(&file(cp.dir(), "etcd")))?;
        cp.daemon(
            "kube-apiserver",
            &config::api_server(pki, &policy, &self.audit_log().display().to_string()),
        )
    }

    fn start_controllers(&self) -> Result<()> {
        let cp = &self._control_plane;
        let pki = self.keys.file("");
        let pki = pki.trim_end_matches('/');
        let admin = self.keys.kubeconfig("admin");
        let manager = self.keys.kubeconfig("kube-controller-manager");
        cp.daemon(
            "kube-controller-manager",
            &config::controller_manager(pki, &manager, &file(cp.dir(), "volumeplugins")),
        )?;
        cp.daemon(
            "kube-scheduler",
            &config::scheduler(&self.keys.kubeconfig("kube-scheduler")),
        )?;
        let corefile = write(&cp.dir().join("Corefile"), &config::corefile(&admin))?;
        cp.daemon("coredns", &config::words(&format!("-conf {corefile}")))?;
        let volumes = file(&self.run_dir, "volumes");
        cp.daemon(
            "provisioner",
            &config::words(&format!("--kubeconfig {admin} --dir {volumes}")),
        )
    }

    fn start_node(&self, node: &Machine, number: usize) -> Result<()> {
        let kubelet = write(
            &node.dir().join("kubelet.yaml"),
            &config::kubelet(number, &self.keys.file("ca.crt")),
        )?;
        node.daemon(
            "kubelet",
            &config::kubelet_flags(number, &kubelet, &self.keys.kubeconfig(&node.name)),
        )?;
        let proxy = config::kube_proxy(number, &self.keys.kubeconfig("kube-proxy"));
        let proxy = write(&node.dir().join("proxy.yaml"), &proxy)?;
        node.daemon("kube-proxy", &config::words(&format!("--config={proxy}")))
    }

    fn start_containerd(&self, node: &Machine, number: usize) -> Result<()> {
        prepare_node(node, number, &self.made)?;
        let settings = file(node.dir(), "containerd.toml");
        node.daemon("containerd", &config::words(&format!("-c {settings}")))
    }

    fn import_images(&self, node: &Machine) -> Result<()> {
        wait::until("containerd", seconds(30), || node.run("ctr", &["version"]))?;
        for archive in &self.archives {
            node.run("ctr", &["-n", "k8s.io", "images", "import", archive])?;
        }
        Ok(())
    }
}

/// The image of every pod's first container: one static program.
fn pause_archive(run_dir: &Path, pause: &Path) -> Result<String> {
    let dir = run_dir.join("pause");
    fs::create_dir_all(dir.join("root"))?;
    fs::copy(pause, dir.join("root/pause"))?;
    let script = r#"set -e; cd "$1"
            tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C root -cf layer.tar .
            id=$(sha256sum layer.tar | cut -d' ' -f1)
            machine=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
            echo "{\"architecture\":\"$machine\",\"os\":\"linux\",\"config\":{\"Entrypoint\":[\"/pause\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$id\"]}}" >config.json
            echo '[{"Config":"config.json","RepoTags":["localhost/pause:1"],"Layers":["layer.tar"]}]' >manifest.json
            tar -cf pause.tar manifest.json config.json layer.tar"#;
    output_of(
        Command::new("bash").args(["-c", script, "bash"]).arg(&dir),
        "make the pause image",
    )?;
    Ok(file(&dir, "pause.tar"))
}

/// Mounts, kernel settings and cgroups of a node, before its container runtime starts.
fn prepare_node(node: &Machine, number: usize, made: &Made) -> Result<()> {
    let dir = node.dir();
    for (path, value) in config::KERNEL_SETTINGS {
        let wanted = write(
            &dir.join("kernel").join(path.replace('/', "_")),
            &format!("{value}\n"),
        )?;
        node.run("mount", &["--bind", &wanted, &format!("/proc/sys/{path}")])?;
    }
    node.run("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
    in_memory(node, "containerd")?;
    let folders = [
        ("kubelet", "/var/lib/kubelet"),
        ("containerd", "/var/lib/containerd"),
        ("cni", "/etc/cni"),
        ("var-log", "/var/log"),
    ];
    for (own, mount_point) in folders {
        made.folder(Path::new(mount_point))?;
        fs::create_dir_all(dir.join(own))?;
        node.run("mount", &["--bind", &file(dir, own), mount_point])?;
    }
    node.run("mount", &["--make-rshared", "/"])?;
    node.run(
        "sysctl",
        &[
            "-qw",
            "net.ipv4.ip_forward=1",
            "net.bridge.bridge-nf-call-iptables=1",
        ],
    )?;
    make_cgroups(&format!("n{number}"))?;
    write(
        &dir.join("cni/net.d/10-bridge.conflist"),
        &config::pod_network(number),
    )?;
    write(&dir.join("containerd.toml"), config::CONTAINERD)?;
    Ok(())
}

/// What is made anew in each run and read once is kept in memory, and goes with the machine: unpacked images are
/// thousands of files, which a slow disk takes a minute to remove.
fn in_memory(machine: &Machine, folder: &str) -> Result<()> {
    let path = machine.dir().join(folder);
    fs::create_dir_all(&path)?;
    machine
        .run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                "mode=0711",
                "tmpfs",
                &path.display().to_string(),
            ],
        )
        .map(drop)
}

/// A cgroup per node in every hierarchy (cgroup v1), or in the one there is (v2).
fn make_cgroups(node: &str) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        let ours = root.join("millrace-e2e");
        fs::create_dir_all(&ours)?;
        let controllers = fs::read_to_string(root.join("cgroup.controllers"))?;
        let enable: Vec<String> = controllers
            .split_whitespace()
            .map(|name| format!("+{name}"))
            .collect();
        fs::write(root.join("cgroup.subtree_control"), enable.join(" "))?;
        fs::write(ours.join("cgroup.subtree_control"), enable.join(" "))?;
        return fs::create_dir_all(ours.join(node)).context("make the node's cgroup");
    }
    for controller in [
        "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd",
    ] {
        let ours = root.join(controller).join("millrace-e2e");
        fs::create_dir_all(ours.join(node))
            .with_context(|| format!("make a cgroup below {}", ours.display()))?;
        if controller == "cpuset" {
            // A new cpuset is empty, and nothing runs in an empty one.
            for name in ["cpuset.cpus", "cpuset.mems"] {
                let all = fs::read_to_string(root.join("cpuset").join(name))?;
                fs::write(ours.join(name), &all)?;
                fs::write(ours.join(node).join(name), &all)?;
            }
        }
    }
    Ok(())
}

/// The list of folders that had to be made outside the run's own folder.
struct Made(PathBuf);

impl Made {
    fn touch(&self) -> Result<()> {
        fs::write(&self.0, "").with_context(|| format!("write {}", self.0.display()))
    }

    /// Makes the folder if it is missing, and remembers it for `e2e/down`.
    fn folder(&self, path: &Path) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        let mut list = OpenOptions::new().append(true).open(&self.0)?;
        writeln!(list, "{}", path.display())?;
        fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))
    }
}

/// Finds a program on the path that `e2e/run` has set.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").context("PATH is not set")?;
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file());
    Ok(fs::canonicalize(found.with_context(|| {
        format!("{name} is not on the path: start this by e2e/run")
    })?)?)
}

/// Writes a file and gives its path as text.
fn write(path: &Path, text: &str) -> Result<String> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path.display().to_string())
}

fn file(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}
