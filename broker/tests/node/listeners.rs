//! Named listeners: every client is told the addresses of the one it came in on, also when they change while running.

use broker::metadata::{Endpoint, Reply, Request};
use protocol::messages::metadata::MetadataRequest;

use crate::client::Client;
use crate::harness::{eventually, everywhere};

fn told(client: &mut Client) -> (String, i32) {
    let broker = client.call(9, &MetadataRequest::default()).brokers.remove(0);
    (broker.host.to_string(), broker.port)
}

#[test]
fn every_client_is_told_the_addresses_of_its_listener() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("advertised.json");
        let broker = setup
            .plan(&dir.path().join("data"))
            .with("listeners", "INSIDE://127.0.0.1:0,OUTSIDE://127.0.0.1:0")
            .with(
                "advertised.listeners",
                "INSIDE://inside.example:1111,OUTSIDE://outside.example:2222",
            )
            .with(
                "listener.security.protocol.map",
                "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT",
            )
            .with("inter.broker.listener.name", "INSIDE")
            .with("advertised.listeners.file", file.to_str().unwrap())
            .start();
        let mut inside = Client::connect(broker.node.addresses[0].1);
        let mut outside = Client::connect(broker.node.addresses[1].1);
        assert_eq!(told(&mut inside), ("inside.example".into(), 1111));
        assert_eq!(told(&mut outside), ("outside.example".into(), 2222));

        let endpoint = Endpoint {
            name: "OUTSIDE".into(),
            host: "203.0.113.7".into(),
            port: 31092,
        };
        let node = broker.node.quorum.image().brokers.keys().next().copied().unwrap();
        let (send, reply) = std::sync::mpsc::channel();
        let request = Request::UpdateListeners {
            node,
            listeners: vec![endpoint],
        };
        let within = broker::rt::now() + std::time::Duration::from_secs(30);
        broker
            .node
            .quorum
            .submit(request, within, Box::new(move |reply| drop(send.send(reply))));
        assert!(matches!(reply.recv().unwrap(), Ok(Reply::UpdateListeners(Ok(_)))));
        assert_eq!(
            told(&mut outside),
            ("203.0.113.7".into(), 31092),
            "on the connection that was open"
        );
        assert_eq!(
            told(&mut inside),
            ("inside.example".into(), 1111),
            "and the other is as it was"
        );

        std::fs::write(&file, format!(r#"{{"{node}": {{"INSIDE": "from.the.file:7"}}}}"#)).unwrap();
        eventually("the file is followed", || {
            (told(&mut inside).0 == "from.the.file").then_some(())
        });
        broker.stop();
    });
}
