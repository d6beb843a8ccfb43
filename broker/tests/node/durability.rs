//! What was acknowledged survives a power cut, and no answer leaves before the sync that covers it.
//!
//! A recording disk keeps a model of what is durable. `freeze` is the power cut: what the model holds at that moment is what
//! a restart finds. The switch that answers too early shows that both checks would notice.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use broker::rt::file::Disk;
use broker::rt::recorder::{Recorder, Survives};
use protocol::ErrorCode;

use crate::client::{Client, batch_of, produce_request};
use crate::harness::{Broker, Setup, eventually, everywhere};

const PARTITIONS: i32 = 4;

/// Producers that note every value whose acknowledgement they have seen.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<Vec<String>>>>,
    producers: Vec<thread::JoinHandle<()>>,
}

fn load(broker: &Broker) -> Load {
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(Mutex::new(vec![Vec::new(); PARTITIONS as usize]));
    let producers = (0..PARTITIONS).map(|partition| {
        let (client, stop, acknowledged) = (broker.client(), stop.clone(), acknowledged.clone());
        thread::spawn(move || produce_until(&stop, &acknowledged, client, partition))
    });
    Load {
        producers: producers.collect(),
        stop,
        acknowledged,
    }
}

fn produce_until(
    stop: &AtomicBool,
    acknowledged: &Mutex<Vec<Vec<String>>>,
    mut client: Client,
    partition: i32,
) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // Large enough that segments roll under the load.
        let value = format!("{partition}/{number}/{}", "x".repeat(16_000));
        let acks = if number % 2 == 0 { -1 } else { 1 };
        let request = produce_request("orders", partition, acks, batch_of(&[&value]));
        let Ok(answer) = client.try_call(9, &request) else {
            return;
        };
        if answer.responses[0].partition_responses[0].error_code == 0 {
            acknowledged.lock().unwrap()[partition as usize].push(value);
        }
    }
}

impl Load {
    fn acknowledged(&self) -> Vec<Vec<String>> {
        self.acknowledged.lock().unwrap().clone()
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.producers
            .into_iter()
            .for_each(|producer| producer.join().expect("a producer"));
    }
}

/// Produces under load, cuts the power in the middle, restarts on what was durable. Returns how many promises were broken
/// as the recorder saw it, and how many records acknowledged before the cut were gone.
fn power_cut(setup: Setup, early: bool, survives: Survives) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let (data, shadow) = (dir.path().join("data"), dir.path().join("shadow"));
    std::fs::create_dir(&data).unwrap();
    let recorder = Arc::new(Recorder::new(&data, &shadow).unwrap());
    let mut plan = setup.plan(&data).on(Disk::recorded(recorder.clone()));
    if early {
        plan = plan.answering_before_the_sync();
    }
    let broker = plan.start();
    broker
        .client()
        .create_topic("orders", PARTITIONS, &[("segment.bytes", "1048576")]);
    let running = load(&broker);
    if early {
        // A slow disk: the answers leave all the same, and that is what must be noticed.
        recorder.hold_syncs();
    }
    eventually("acknowledgements", || {
        let count: usize = running.acknowledged().iter().map(Vec::len).sum();
        (count >= 400).then_some(())
    });
    let acknowledged = running.acknowledged();
    recorder.freeze(survives).unwrap();
    recorder.release_syncs();
    running.stop();
    let violations = recorder.violations().len();
    broker.stop();

    let broker = setup.start(&shadow);
    let mut client = broker.client();
    let mut lost = 0;
    for (partition, values) in acknowledged.iter().enumerate() {
        let found: HashSet<String> = match client.topic_id("orders") {
            Some(_) => client
                .read_all("orders", partition as i32, 0)
                .into_iter()
                .map(|(_, value)| value)
                .collect(),
            None => HashSet::new(),
        };
        lost += values.iter().filter(|value| !found.contains(*value)).count();
    }
    broker.stop();
    (violations, lost)
}

#[test]
fn a_power_cut_under_load_loses_nothing_acknowledged() {
    everywhere(|setup| {
        assert_eq!(
            power_cut(setup, false, Survives::Synced),
            (0, 0),
            "only what was synced survives"
        );
        let seed = u64::from(std::process::id());
        println!("seed {seed}");
        assert_eq!(
            power_cut(setup, false, Survives::Some { seed }),
            (0, 0),
            "some of the rest survives too, seed {seed}"
        );
    });
}

#[test]
fn answering_before_the_sync_is_noticed_both_ways() {
    everywhere(|setup| {
        let (violations, lost) = power_cut(setup, true, Survives::Synced);
        assert!(violations > 0, "the recorder sees promises that nothing covers");
        assert!(lost > 0, "and the power cut takes what was acknowledged");
    });
}

#[test]
fn a_failed_sync_takes_the_partition_offline_and_is_never_retried() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let (data, shadow) = (dir.path().join("data"), dir.path().join("shadow"));
        std::fs::create_dir(&data).unwrap();
        let recorder = Arc::new(Recorder::new(&data, &shadow).unwrap());
        let broker = setup.plan(&data).on(Disk::recorded(recorder.clone())).start();
        let mut client = broker.client();
        client.create_topic("orders", 1, &[]);
        client.append("orders", 0, &["before"]);
        recorder.fail_syncs_of(Some("orders-0"));
        let answer = client.produce("orders", 0, batch_of(&["lost"]));
        assert_eq!(answer.error_code, ErrorCode::KafkaStorageError.code());
        recorder.fail_syncs_of(None);
        let answer = client.produce("orders", 0, batch_of(&["again"]));
        assert_eq!(
            answer.error_code,
            ErrorCode::KafkaStorageError.code(),
            "a disk that lied once is not asked again"
        );
        assert!(
            broker
                .node
                .failure()
                .is_some_and(|why| why.contains("log directory"))
        );
        broker.node.stop().expect("it ends");
        assert!(
            !data.join(".kafka_cleanshutdown").exists(),
            "and not as a clean shutdown"
        );
    });
}
