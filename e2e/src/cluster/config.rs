//! The configuration files of the cluster's programs, as text. What is in here worked; the comments say what for.

use super::network::{node_address, pod_range};

/// Every write of anybody, with the request's path and user; for the operator's service account every request, so that
/// the granted rights can be compared with the used ones.
pub(super) const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ['system:serviceaccounts:millrace-system']
- level: None
  verbs: [get, list, watch]
- level: Metadata
  resources:
  - group: millrace.dev
- level: None
";

pub(super) fn corefile(kubeconfig: &str) -> String {
    format!(
        "\
.:53 {{
  errors
  health
  ready
  kubernetes cluster.local in-addr.arpa ip6.arpa {{
    kubeconfig {kubeconfig} e2e
    ttl 5
  }}
  cache 5
}}
"
    )
}

/// The limits of the disk are those of a run, not shares of a disk whose size nobody knows (`need_disk` of `env.sh` asks for more).
pub(super) fn kubelet(node: usize, authority: &str) -> String {
    format!(
        "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {authority}}}}}
authorization: {{mode: Webhook}}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /millrace-e2e/n{node}
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDNS: [{dns}]
clusterDomain: cluster.local
resolvConf: ''
volumePluginDir: /var/lib/kubelet/volumeplugins
evictionHard: {{memory.available: 100Mi, nodefs.available: 100Mi, imagefs.available: 100Mi, nodefs.inodesFree: '1%'}}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 4s
nodeLeaseDurationSeconds: 16
",
        dns = super::network::CONTROL_PLANE,
    )
}

/// The zeros leave the machine's connection tracking alone.
pub(super) fn kube_proxy(node: usize, kubeconfig: &str) -> String {
    format!(
        "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: n{node}
clientConnection: {{kubeconfig: {kubeconfig}}}
clusterCIDR: 10.244.0.0/16
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
oomScoreAdj: 0
"
    )
}

pub(super) fn pod_network(node: usize) -> String {
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{range}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}], "dataDir": "/run/cni-ipam"}}}},
 {{"type": "portmap", "capabilities": {{"portMappings": true}}}}]}}
"#,
        range = pod_range(node),
    )
}

/// For Debian's containerd 1.6. `restrict_oom_score_adj`: root may lack CAP_SYS_RESOURCE in a container.
pub(super) const CONTAINERD: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"#;

pub(super) const STORAGE_CLASS: &str = "\
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: folder, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}
provisioner: e2e.local/dir
reclaimPolicy: Delete
allowVolumeExpansion: true
volumeBindingMode: WaitForFirstConsumer
";

/// What kubelet sets when it differs. A file with the wanted value is bound over each, so the machine keeps its own.
pub(super) const KERNEL_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

pub(super) fn etcd(dir: &str) -> Vec<String> {
    words(&format!(
        "--name e2e --data-dir {dir} --unsafe-no-fsync --log-level warn \
         --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
         --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
         --initial-cluster e2e=http://127.0.0.1:2380"
    ))
}

/// Without the request-header flags controller-manager and scheduler log an error every few seconds.
pub(super) fn api_server(pki: &str, audit_policy: &str, audit_log: &str) -> Vec<String> {
    words(&format!(
        "--etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=6443 --advertise-address=172.30.0.10 \
         --tls-cert-file={pki}/apiserver.crt --tls-private-key-file={pki}/apiserver.key --client-ca-file={pki}/ca.crt \
         --token-auth-file={pki}/tokens.csv --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
         --allow-privileged=true --service-account-issuer=https://kubernetes.default.svc \
         --service-account-key-file={pki}/sa.pub --service-account-signing-key-file={pki}/sa.key \
         --service-cluster-ip-range=10.96.0.0/16 --kubelet-client-certificate={pki}/kubelet-client.crt \
         --kubelet-client-key={pki}/kubelet-client.key --requestheader-client-ca-file={pki}/front.crt \
         --requestheader-allowed-names=front-proxy --requestheader-username-headers=X-Remote-User \
         --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \
         --proxy-client-cert-file={pki}/front-proxy.crt --proxy-client-key-file={pki}/front-proxy.key \
         --kubelet-preferred-address-types=InternalIP --enable-aggregator-routing=true \
         --audit-policy-file={audit_policy} --audit-log-path={audit_log}"
    ))
}

pub(super) fn controller_manager(pki: &str, kubeconfig: &str, plugins: &str) -> Vec<String> {
    words(&format!(
        "--kubeconfig={kubeconfig} --authentication-kubeconfig={kubeconfig} --authorization-kubeconfig={kubeconfig} \
         --use-service-account-credentials=true --service-account-private-key-file={pki}/sa.key \
         --root-ca-file={pki}/ca.crt --cluster-signing-cert-file={pki}/ca.crt --cluster-signing-key-file={pki}/ca.key \
         --leader-elect=false --flex-volume-plugin-dir={plugins} --node-monitor-period=2s \
         --node-monitor-grace-period=16s"
    ))
}

pub(super) fn scheduler(kubeconfig: &str) -> Vec<String> {
    words(&format!(
        "--kubeconfig={kubeconfig} --authentication-kubeconfig={kubeconfig} --authorization-kubeconfig={kubeconfig} \
         --leader-elect=false"
    ))
}

pub(super) fn kubelet_flags(node: usize, config: &str, kubeconfig: &str) -> Vec<String> {
    words(&format!(
        "--config={config} --kubeconfig={kubeconfig} --hostname-override=n{node} --node-ip={} --root-dir=/var/lib/kubelet",
        node_address(node)
    ))
}

pub(super) fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}
