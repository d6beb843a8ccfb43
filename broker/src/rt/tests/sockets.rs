//! TCP of a shard.

use super::{engines, on_all, run};
use crate::rt::net::{TcpListener, TcpStream};
use crate::rt::{self};
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A connected pair on this shard.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(any_port(), false).unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = rt::spawn(TcpStream::connect(address));
    let (accepted, peer) = listener.accept().await.unwrap();
    let connected = connecting.await.unwrap();
    assert_eq!(
        (peer, accepted.peer_addr()),
        (connected.local_addr().unwrap(), peer)
    );
    (connected, accepted)
}

#[test]
fn echo_and_the_end_of_a_stream() {
    on_all(|_| async {
        let (client, server) = pair().await;
        let echo = rt::spawn(async move {
            let mut buffer = vec![0; 100];
            loop {
                match server.read(&mut buffer).await.unwrap() {
                    0 => return,
                    got => server
                        .write_all(&[Bytes::copy_from_slice(&buffer[..got])])
                        .await
                        .unwrap(),
                }
            }
        });
        for word in ["one", "two", "three"] {
            client.write_all(&[Bytes::from(word)]).await.unwrap();
            let mut back = vec![0; word.len()];
            client.read_exact(&mut back).await.unwrap();
            assert_eq!(back, word.as_bytes());
        }
        client.shutdown().unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        echo.await;
    });
}

#[test]
fn both_directions_at_once_in_many_slices_larger_than_any_socket_buffer() {
    on_all(|_| async {
        let (client, server) = pair().await;
        let slices: Vec<Bytes> = (0..3000usize)
            .map(|part| Bytes::from(vec![part as u8; part % 7000]))
            .collect();
        let whole = Rc::new(slices.concat());
        let slices = Rc::new(slices);
        let mut tasks = Vec::new();
        for side in [client, server] {
            let (reader, writer) = (side.clone(), side);
            let (sending, expected) = (slices.clone(), whole.clone());
            tasks.push(rt::spawn(async move {
                writer.write_all(&sending).await.unwrap();
                writer.shutdown().unwrap();
            }));
            tasks.push(rt::spawn(async move {
                let mut got = Vec::with_capacity(expected.len());
                let mut buffer = vec![0; 50_000];
                loop {
                    match reader.read(&mut buffer).await.unwrap() {
                        0 => break,
                        count => got.extend_from_slice(&buffer[..count]),
                    }
                }
                assert!(
                    got == *expected,
                    "{} of {} bytes, or other ones",
                    got.len(),
                    expected.len()
                );
            }));
        }
        for task in tasks {
            task.await;
        }
    });
}

#[test]
fn a_read_that_timed_out_loses_nothing_and_the_next_one_works() {
    on_all(|_| async {
        let (client, server) = pair().await;
        let mut buffer = [0; 10];
        for round in 0..20u8 {
            assert!(
                rt::timeout(Duration::from_millis(1), server.read(&mut buffer))
                    .await
                    .is_err()
            );
            client.write_all(&[Bytes::from(vec![round])]).await.unwrap();
            assert_eq!((server.read(&mut buffer).await.unwrap(), buffer[0]), (1, round));
        }
    });
}

#[test]
fn a_cancelled_accept_loses_no_connection() {
    on_all(|_| async {
        let listener = TcpListener::bind(any_port(), false).unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..20 {
            assert!(
                rt::timeout(Duration::from_millis(1), listener.accept())
                    .await
                    .is_err()
            );
            let connecting = rt::spawn(TcpStream::connect(address));
            listener.accept().await.unwrap();
            connecting.await.unwrap();
        }
    });
}

#[test]
fn aborting_ends_a_waiting_reader_and_a_waiting_writer() {
    on_all(|_| async {
        let (client, server) = pair().await;
        let reading = client.clone();
        let reader = rt::spawn(async move { reading.read(&mut [0; 1]).await });
        let writing = client.clone();
        let writer = rt::spawn(async move { writing.write_all(&[Bytes::from(vec![0; 64 << 20])]).await });
        rt::sleep(Duration::from_millis(2)).await;
        client.abort().unwrap();
        assert_eq!(reader.await.unwrap(), 0);
        assert!(matches!(
            writer.await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ));
        drop(server);
    });
}

#[test]
fn a_port_in_use_is_refused_and_a_shared_one_is_not() {
    on_all(|_| async {
        let first = TcpListener::bind(any_port(), false).unwrap();
        let address = first.local_addr().unwrap();
        let refused = TcpListener::bind(address, false).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let shared = TcpListener::bind(any_port(), true).unwrap();
        TcpListener::bind(shared.local_addr().unwrap(), true).unwrap();
        assert!(TcpStream::connect(address).await.is_ok());
        drop(first);
        // The listener goes with the reactor's next turns.
        while TcpStream::connect(address).await.is_ok() {
            rt::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_connection_moves_to_another_shard() {
    for engine in engines() {
        let (to_other, from_one) = rt::doorbell::channel(1).unwrap();
        let receiver = Arc::new(Mutex::new(Some(from_one)));
        let (port, ports) = mpsc::channel::<SocketAddr>();
        let ports = Arc::new(Mutex::new(ports));
        run(engine, 2, move |shard| {
            let (to_other, receiver, port, ports) =
                (to_other.clone(), receiver.clone(), port.clone(), ports.clone());
            async move {
                if shard.0 == 0 {
                    let listener = TcpListener::bind(any_port(), false).unwrap();
                    port.send(listener.local_addr().unwrap()).unwrap();
                    let (stream, _) = listener.accept().await.unwrap();
                    let sent = to_other.try_send(stream.to_raw().unwrap());
                    assert!(sent.is_ok());
                    return;
                }
                let address = ports.lock().unwrap().recv().unwrap();
                let client = TcpStream::connect(address).await.unwrap();
                let mut receiver = receiver.lock().unwrap().take().unwrap();
                let server = TcpStream::from_raw(receiver.recv().await.unwrap()).unwrap();
                client.write_all(&[Bytes::from("moved")]).await.unwrap();
                let mut got = [0; 5];
                server.read_exact(&mut got).await.unwrap();
                assert_eq!(&got, b"moved");
            }
        });
    }
}
