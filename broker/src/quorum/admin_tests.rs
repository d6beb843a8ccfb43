//! Scenarios of the admin service over a real port, with the client the operator uses, and of the watched file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::admin::v1;
use protocol::ids::NodeId;
use tonic::Code;
use tonic::transport::Channel;

use super::admin::{BrokerState, BrokerView, serve};
use super::tests::{SOON, World, options};
use super::{Handle, advertised};
use crate::rt::control::http::Server;
use crate::rt::file::Disk;
use crate::rt::now;

type Client = v1::admin_client::AdminClient<Channel>;

fn view() -> BrokerView {
    BrokerView {
        cluster_id: "test-cluster".into(),
        node: NodeId(0),
        incarnation_id: [5; 16],
        engine: "posix",
        engine_reason: "SeccompDenied".into(),
        engine_detail: "io_uring_setup is forbidden; use the shipped profile".into(),
        shards: 2,
        static_config_hash: "abc".into(),
        min_insync_replicas: 1,
        state: Box::new(|| BrokerState::Running),
        not_ready: Box::new(|| vec!["listeners".into()]),
        metadata_lost: Box::new(|| false),
        memory_bytes: Box::new(|| 42),
        uptime: Box::new(|| Duration::from_millis(1500)),
    }
}

/// A broker's control plane with its admin service, and a client of it.
struct Served {
    world: World,
    server: Server,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Served {
    fn start() -> Served {
        let dir = tempfile::tempdir().unwrap();
        let world = World::start(options(dir.path()));
        let (control, quorum) = (world.control.handle(), world.handle());
        let (server, client) = world.control.block_on(async {
            let server = serve(
                &control,
                "127.0.0.1:0".parse().unwrap(),
                view(),
                Arc::new(quorum.into()),
            )
            .await
            .unwrap();
            let client = Client::connect(format!("http://{}", server.address))
                .await
                .unwrap();
            (server, client)
        });
        Served {
            world,
            server,
            client,
            _dir: dir,
        }
    }

    fn stop(self) {
        drop(self.client);
        self.server.stop();
        self.world.stop();
    }
}

fn here() -> Option<v1::Target> {
    target("test-cluster", 0)
}

fn target(cluster_id: &str, node_id: i32) -> Option<v1::Target> {
    Some(v1::Target {
        cluster_id: cluster_id.into(),
        node_id,
    })
}

fn address(host: &str, port: i32) -> v1::HostPort {
    v1::HostPort {
        host: host.into(),
        port,
    }
}

#[test]
fn a_request_for_another_broker_is_refused_in_words() {
    let mut served = Served::start();
    let client = &mut served.client;
    served.world.control.block_on(async {
        let who = client
            .identify(v1::IdentifyRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!((who.cluster_id.as_str(), who.node_id), ("test-cluster", 0));
        for wrong in [target("test-cluster", 1), target("another", 0), target("", -1)] {
            let request = v1::CanStopRequest {
                target: wrong.clone(),
            };
            let status = client.can_stop(request).await.unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition, "{wrong:?}");
            assert!(
                status
                    .message()
                    .contains("this is broker 0 of cluster test-cluster"),
                "{status}"
            );
            let request = v1::SetAdvertisedListenersRequest {
                target: wrong,
                listeners: HashMap::from([("PLAINTEXT".into(), address("wrong", 1))]),
            };
            let status = client.set_advertised_listeners(request).await.unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition);
        }
        let status = client
            .describe_broker(v1::DescribeBrokerRequest { target: None })
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    });
    assert_eq!(told(&served.world.handle()), "localhost:9092");
    served.stop();
}

/// What clients of broker 0 are told.
fn told(quorum: &Handle) -> String {
    let image = quorum.image();
    let endpoint = image.brokers[&NodeId(0)].endpoint("PLAINTEXT").unwrap().clone();
    format!("{}:{}", endpoint.host, endpoint.port)
}

#[test]
fn the_operator_sees_the_broker_and_the_cluster() {
    let mut served = Served::start();
    served.world.create("orders", 3);
    let client = &mut served.client;
    served.world.control.block_on(async {
        let broker = client
            .describe_broker(v1::DescribeBrokerRequest { target: here() })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (broker.engine.as_str(), broker.engine_reason.as_str()),
            ("posix", "SeccompDenied")
        );
        assert_eq!(broker.state(), v1::BrokerState::Running);
        assert_eq!(broker.quorum_reachable, Some(true));
        assert_eq!(
            (broker.partitions, broker.leaders, broker.under_replicated),
            (3, 3, 0)
        );
        assert_eq!(
            broker.advertised_listeners["PLAINTEXT"],
            address("localhost", 9092)
        );
        assert_eq!(
            (broker.not_ready, broker.uptime_ms, broker.memory_bytes),
            (vec!["listeners".to_string()], 1500, 42)
        );
        let cluster = client
            .describe_cluster(v1::DescribeClusterRequest { target: here() })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (cluster.controller_id, cluster.topics, cluster.partitions),
            (0, 1, 3)
        );
        assert_eq!((cluster.brokers.len(), cluster.offline_partitions), (1, 0));
        let stop = client
            .can_stop(v1::CanStopRequest { target: here() })
            .await
            .unwrap()
            .into_inner();
        assert!(stop.allowed && stop.blocking.is_empty() && stop.blocking_quorum.is_empty());
        assert!(stop.notes[0].contains("3 partitions"), "{:?}", stop.notes);
    });
    served.stop();
}

#[test]
fn addresses_and_dynamic_properties_are_set_through_the_quorum() {
    let mut served = Served::start();
    let client = &mut served.client;
    let advertise = |name: &str, host: &str, port| v1::SetAdvertisedListenersRequest {
        target: here(),
        listeners: HashMap::from([(name.to_string(), address(host, port))]),
    };
    let set = |name: &str, value: &str| v1::SetDynamicConfigsRequest {
        target: here(),
        cluster_wide: true,
        set: HashMap::from([(name.to_string(), value.to_string())]),
        unset: vec![],
    };
    served.world.control.block_on(async {
        let changed = client
            .set_advertised_listeners(advertise("PLAINTEXT", "node-7", 31092))
            .await
            .unwrap();
        assert!(changed.into_inner().changed);
        let again = client
            .set_advertised_listeners(advertise("PLAINTEXT", "node-7", 31092))
            .await
            .unwrap();
        assert!(!again.into_inner().changed);
        for wrong in [
            advertise("OTHER", "h", 1),
            advertise("PLAINTEXT", "h", 70_000),
            advertise("PLAINTEXT", "", 1),
        ] {
            assert_eq!(
                client.set_advertised_listeners(wrong).await.unwrap_err().code(),
                Code::InvalidArgument
            );
        }
        let configs = client
            .set_dynamic_configs(set("log.retention.ms", "60000"))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(configs.configs["log.retention.ms"], "60000");
        for wrong in [
            set("node.id", "4"),
            set("log.retenshun.ms", "1"),
            set("log.retention.ms", "soon"),
        ] {
            assert_eq!(
                client.set_dynamic_configs(wrong).await.unwrap_err().code(),
                Code::InvalidArgument
            );
        }
    });
    assert_eq!(told(&served.world.handle()), "node-7:31092");
    served.stop();
}

#[test]
fn a_watched_file_changes_what_clients_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(options(dir.path()));
    let path = dir.path().join("advertised.json");
    std::fs::write(
        &path,
        r#"{"0": {"PLAINTEXT": "first:1111"}, "1": {"PLAINTEXT": "not-me:1"}}"#,
    )
    .unwrap();
    let follow = advertised::follow_file(Disk::real(), path.clone(), NodeId(0), world.handle());
    let following = world.control.handle().spawn(follow);
    let wait_for = |address: &str| {
        let deadline = now() + SOON;
        while told(&world.handle()) != address {
            assert!(
                now() < deadline,
                "clients are still told {}",
                told(&world.handle())
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for("first:1111");
    // Nonsense in between changes nothing, and does not end the watch.
    std::fs::write(&path, "nonsense").unwrap();
    let next = dir.path().join("next");
    std::fs::write(&next, r#"{"0": {"PLAINTEXT": "second:2222"}}"#).unwrap();
    std::fs::rename(&next, &path).unwrap();
    wait_for("second:2222");
    following.abort();
    world.stop();
}

#[test]
fn a_port_in_use_is_an_error_at_once() {
    let served = Served::start();
    let (control, quorum) = (served.world.control.handle(), served.world.handle());
    let address = served.server.address;
    let error = served
        .world
        .control
        .block_on(async { serve(&control, address, view(), Arc::new(quorum.into())).await });
    assert_eq!(
        error.err().map(|error| error.kind()),
        Some(std::io::ErrorKind::AddrInUse)
    );
    served.stop();
}
