//! How many connections a broker takes, over all its cores.

use std::sync::atomic::Ordering::Relaxed;

use protocol::ErrorCode;
use protocol::messages::api_versions::ApiVersionsRequest;

use crate::client::Client;
use crate::harness::{Broker, eventually, everywhere};
use crate::topics::altered;

const VERSION: i16 = 0;

fn is_served(client: &mut Client) -> bool {
    client.try_call(VERSION, &ApiVersionsRequest::default()).is_ok()
}

fn accepted(broker: &Broker) -> u64 {
    let counters = broker.node.counters.iter();
    counters.map(|core| core.connections_accepted.load(Relaxed)).sum()
}

/// Sets a property of every broker while it runs.
fn set(client: &mut Client, name: &str, value: &str) {
    assert_eq!(altered(client, 4, "", name, Some(value)), ErrorCode::None);
}

#[test]
fn beyond_max_connections_a_client_waits_until_another_has_left() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.plan(dir.path()).with("max.connections", "2").start();
        let (mut one, mut two, mut three) = (broker.client(), broker.client(), broker.client());
        // Which of them waits is the kernel's choice: it spreads them over the cores.
        let asked = [&mut one, &mut two, &mut three]
            .map(|client| client.send(VERSION, &ApiVersionsRequest::default()));
        let mut clients = vec![(one, asked[0]), (two, asked[1]), (three, asked[2])];
        for left in [2, 3, 3] {
            let served = eventually("one is answered", || {
                clients
                    .iter_mut()
                    .position(|(client, _)| client.has_something_to_read())
            });
            assert!(accepted(&broker) <= left, "at most two at once");
            let (mut client, correlation) = clients.remove(served);
            client.receive::<ApiVersionsRequest>(VERSION, correlation);
        }
        broker.stop();
    });
}

#[test]
fn a_raised_limit_lets_waiting_clients_in() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.plan(dir.path()).with("max.connections", "1").start();
        let mut first = broker.client();
        assert!(is_served(&mut first));
        let mut second = broker.client();
        let asked = second.send(VERSION, &ApiVersionsRequest::default());
        assert!(is_served(&mut first));
        assert_eq!(accepted(&broker), 1);
        set(&mut first, "max.connections", "2");
        second.receive::<ApiVersionsRequest>(VERSION, asked);
        broker.stop();
    });
}

#[test]
fn beyond_max_connections_per_ip_a_client_is_closed() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup
            .plan(dir.path())
            .with("max.connections.per.ip", "0")
            .with("max.connections.per.ip.overrides", "127.0.0.1:2")
            .start();
        let (mut one, mut two) = (broker.client(), broker.client());
        assert!(is_served(&mut one) && is_served(&mut two));
        assert!(broker.client().is_closed());
        drop(two);
        let mut three = eventually("there is room again", || {
            let mut client = broker.client();
            is_served(&mut client).then_some(client)
        });
        set(&mut one, "max.connections.per.ip.overrides", "127.0.0.1:3");
        let _four = eventually("the raised limit holds", || {
            let mut client = broker.client();
            is_served(&mut client).then_some(client)
        });
        assert!(is_served(&mut three), "who was in stays in");
        broker.stop();
    });
}
