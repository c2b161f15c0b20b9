//! Recovery against a world that is as unkind as it may be: the mind is killed between reading and publishing, executors die, hang,
//! stall and forget, the bus repeats, delays and reorders. `cargo run --release -p homeostat-actors --example recovery_simulation`
//! runs the same with ten thousand incidents.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, clippy::cast_possible_wrap)]

mod world;

use world::{End, Scale, simulate};

#[test]
fn no_command_is_executed_twice_none_is_lost_and_every_incident_ends() {
    for seed in 1..=2 {
        let scale = Scale { seed, incidents: 200, services: 6, instances: 10 };
        let tally = simulate(scale);
        let of = |end| tally.ends.get(&end).copied().unwrap_or(0);
        assert_eq!(tally.ends.values().sum::<u64>(), scale.incidents, "{tally:?}");
        assert!(of(End::Verified) > scale.incidents / 2, "{tally:?}");
        assert!(of(End::Escalated) > 0 && tally.mind_killed > 20 && tally.executors_killed > 20, "nothing was put to the test: {tally:?}");
        assert!(tally.deliveries > 2 * tally.executed, "{tally:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let scale = Scale { seed: 9, incidents: 40, services: 3, instances: 5 };
    assert_eq!(format!("{:?}", simulate(scale)), format!("{:?}", simulate(scale)));
}
