//! Ten thousand incidents against an unkind world: `recovery_simulation [SEED] [INCIDENTS]`. The world and what is checked in it stand
//! in `tests/recovery_simulation/`.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap
)]

#[path = "../tests/recovery_simulation/world.rs"]
mod world;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().expect("a number"));
    let seed = arguments.next().unwrap_or(1);
    let incidents = arguments.next().unwrap_or(10_000);
    let tally = world::simulate(world::Scale { seed, incidents, services: 40, instances: 10 });
    println!("seed {seed}: {incidents} incidents, {} simulated hours, {} messages of the log", tally.took_ms / 3_600_000, tally.messages);
    for (end, count) in &tally.ends {
        println!("  {end:?}: {count}");
    }
    println!("commands {}, executed {} (none twice), deliveries {}", tally.commands, tally.executed, tally.deliveries);
    for (why, count) in &tally.turned_away {
        println!("  not executed: {why}: {count}");
    }
    println!("mind killed {} times, executors {} times", tally.mind_killed, tally.executors_killed);
    println!("at once in one service at most {}, within a window of the budget at most {}", tally.widest, tally.busiest);
}
