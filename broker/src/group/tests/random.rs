//! Random sequences of requests, time and restarts. After each: what the log says is what the groups say, nobody is answered
//! twice (the scene checks that), and nobody waits for ever.

use proptest::prelude::*;

use super::super::record::{group_value, restored};
use super::super::state::State;
use super::super::{Groups, Limits};
use super::{GROUP, Scene, consumer, offset};
use crate::state_machine::{StateMachine, Ticket};

#[derive(Clone, Debug)]
enum Step {
    Join { slot: usize, fixed: bool, sticky: bool },
    Sync(usize),
    Beat(usize),
    Leave(usize),
    Commit(usize, i64),
    Pass(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0usize..4;
    prop_oneof![
        6 => (slot.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(slot, fixed, sticky)| Step::Join { slot, fixed, sticky }),
        4 => slot.clone().prop_map(Step::Sync),
        3 => slot.clone().prop_map(Step::Beat),
        1 => slot.clone().prop_map(Step::Leave),
        3 => (slot, 0i64..100).prop_map(|(slot, offset)| Step::Commit(slot, offset)),
        4 => prop_oneof![Just(100i64), Just(3_000), Just(9_000), Just(61_000)].prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

/// What one client knows.
#[derive(Clone, Default)]
struct Known {
    member: String,
    generation: i32,
    joining: Option<Ticket>,
}

const INSTANCES: [&str; 4] = ["i-0", "i-1", "i-2", "i-3"];

fn play(scene: &mut Scene, clients: &mut [Known], step: &Step) {
    match *step {
        Step::Join { slot, fixed, sticky } => {
            let mut who = consumer().called(&clients[slot].member);
            if fixed {
                who = who.instance(INSTANCES[slot]);
            }
            if sticky {
                who = who.offers(&["sticky", "range"]);
            }
            clients[slot].joining = Some(scene.join(&who));
        }
        Step::Sync(slot) => {
            let me = clients[slot].clone();
            let plan: Vec<(&str, &str)> = clients.iter().map(|each| (&*each.member, "work")).collect();
            scene.sync_as(&me.member, me.generation, &plan);
        }
        Step::Beat(slot) => {
            let me = clients[slot].clone();
            scene.beat(&me.member, me.generation);
        }
        Step::Leave(slot) => {
            let member = std::mem::take(&mut clients[slot].member);
            scene.leave(&[(&member, None)]);
        }
        Step::Commit(slot, at) => {
            let me = clients[slot].clone();
            scene.commit(&offset(at).by(&me.member, me.generation));
        }
        Step::Pass(ms) => scene.pass(ms),
        Step::Restart => {
            scene.restart();
            clients.iter_mut().for_each(|client| client.joining = None);
        }
    }
    for client in clients {
        if let Some(ticket) = client.joining.filter(|ticket| !scene.is_parked(*ticket)) {
            let reply = scene.joined(ticket);
            client.joining = None;
            client.member = reply.member_id.to_string();
            client.generation = reply.generation_id;
        }
    }
}

/// Replaying the log from the beginning gives what the living coordinator holds.
fn check(scene: &Scene) {
    let mut replayed = Groups::new(Limits::default());
    for record in &scene.log {
        replayed.replay(record).unwrap();
    }
    assert_eq!(replayed.durable, scene.groups.durable);
    for (id, group) in &scene.groups.soft {
        if !matches!(group.state(), State::Stable | State::Empty) || group.generation == 0 {
            continue;
        }
        let back = restored(&replayed.durable.groups[id]);
        assert_eq!(back.state(), group.state());
        assert_eq!(
            group_value(&back),
            group_value(group),
            "a group at rest is what is stored of it"
        );
    }
    for (id, group) in &scene.groups.soft {
        let joining = group.members().filter(|member| member.is_joining()).count();
        assert_eq!(joining, group.joining(), "{id}: counted and parked joins");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_log_says_what_the_groups_say(steps in prop::collection::vec(step(), 1..60)) {
        let mut scene = Scene::new();
        let mut clients = vec![Known::default(); 4];
        for step in &steps {
            play(&mut scene, &mut clients, step);
            check(&scene);
        }
        // Whoever is parked is answered when enough time has passed.
        scene.pass(20 * 60_000);
        for client in &clients {
            prop_assert!(client.joining.is_none_or(|ticket| !scene.is_parked(ticket)));
        }
        prop_assert!(scene.groups.soft.keys().all(|id| &**id == GROUP));
    }
}
