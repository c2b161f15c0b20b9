//! The world: one queue of what happens next.

use super::figures::{Figures, Record};
use super::fleet::Fleet;
use super::parameters::{Fault, Parameters, Policy};
use super::peer::{Draw, Peer};
use homeostat_reflexes::breaker::{Attempt, Clock, Gate, Outcome, Permit, REPORT_EVERY_MS, Refusal};
use homeostat_schemas::event::Calls;
use homeostat_schemas::{Admission, Content, Event, Ms};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

/// The epoch of simulated logs.
const START_MS: u64 = 1_760_000_000_000;
const TICK_US: u64 = 250_000;
/// The pause before a repetition.
const RETRY_US: f64 = 100_000.0;

/// What happens.
enum Happening {
    Arrival,
    Repetition(Request),
    /// A request that was held back asks again; since when it waits.
    Waited(Request, Draw, u64),
    End {
        replica: u32,
        life: u32,
        permit: Option<Permit>,
        outcome: Outcome,
        took_ms: Ms,
        request: Request,
    },
    Report(u32),
    Logged(Box<Calls>),
    Tick,
    Heard(u32, Rc<Admission>),
    KillActor,
    StartActor,
    KillReplica,
}

/// One request and how often it has been tried.
#[derive(Debug, Clone, Copy)]
struct Request {
    replica: u32,
    asked_us: u64,
    tried: u32,
}

/// A replica's clock: its own origin, its own speed.
struct ReplicaClock {
    true_us: Rc<Cell<u64>>,
    offset_ms: f64,
    speed: f64,
    rng: RefCell<fastrand::Rng>,
}

impl Clock for ReplicaClock {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn now(&self) -> Ms {
        (self.offset_ms + self.true_us.get() as f64 / 1_000.0 * self.speed) as Ms
    }
    fn chance(&self) -> f64 {
        self.rng.borrow_mut().f64()
    }
}

struct Replica {
    gate: Option<Gate>,
    clock: ReplicaClock,
    life: u32,
}

struct World<'a> {
    parameters: &'a Parameters,
    policy: Policy,
    now: Rc<Cell<u64>>,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// What waits in the queue, and free places.
    waiting: Vec<Option<Happening>>,
    free: Vec<usize>,
    sequence: u64,
    /// When calls come and how they end: the same for every policy.
    load: fastrand::Rng,
    repeats: fastrand::Rng,
    bus: fastrand::Rng,
    replicas: Vec<Replica>,
    peer: Peer,
    fleet: Option<Fleet>,
    record: Record,
}

/// Runs one world under one policy. `progress` is called now and then with the share that is done.
#[must_use]
pub fn run(parameters: &Parameters, policy: Policy, mut progress: impl FnMut(f64)) -> Figures {
    let mut world = World::new(parameters, policy);
    let end = micros(parameters.warm_s + parameters.fault_s + parameters.after_s);
    let mut steps = 0u64;
    while let Some(Reverse((at, _, place))) = world.queue.pop() {
        if at > end {
            break;
        }
        world.now.set(at);
        if let Some(happening) = world.waiting[place].take() {
            world.free.push(place);
            world.happen(happening);
        }
        steps += 1;
        if steps.is_multiple_of(65_536) {
            #[allow(clippy::cast_precision_loss)]
            progress(at as f64 / end as f64);
        }
    }
    progress(1.0);
    Figures::of(&world.record, parameters)
}

impl<'a> World<'a> {
    fn new(parameters: &'a Parameters, policy: Policy) -> World<'a> {
        let seeded = |salt: u64| fastrand::Rng::with_seed(parameters.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt);
        let now = Rc::new(Cell::new(0));
        let mut clocks = seeded(3);
        let replicas = (0..parameters.replicas.max(1)).map(|number| {
            let bus = &parameters.bus;
            let clock = ReplicaClock {
                true_us: now.clone(),
                offset_ms: 1e6 + bus.skew_ms * (clocks.f64() * 2.0 - 1.0).abs(),
                speed: 1.0 + bus.drift * (clocks.f64() * 2.0 - 1.0),
                rng: RefCell::new(seeded(1_000 + u64::from(number))),
            };
            let mut replica = Replica { gate: None, clock, life: 0 };
            replica.begin(policy, number);
            replica
        });
        let replicas = replicas.collect();
        let mut world = World {
            parameters,
            policy,
            now,
            queue: BinaryHeap::new(),
            waiting: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            load: seeded(1),
            repeats: seeded(2),
            bus: seeded(4),
            replicas,
            peer: Peer::new(parameters),
            fleet: policy.has_fleet().then(|| Fleet::new(policy.fleet())),
            record: Record::default(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let p = self.parameters;
        self.at(0, Happening::Arrival);
        if self.fleet.is_none() {
            return;
        }
        self.at(TICK_US, Happening::Tick);
        for number in 0..self.replicas.len() {
            let phase = self.bus.u64(0..REPORT_EVERY_MS * 1_000);
            self.at(phase, Happening::Report(u32::try_from(number).unwrap_or(0)));
        }
        if let Some((after, down)) = p.bus.kill_actor {
            self.at(micros(p.warm_s + after), Happening::KillActor);
            self.at(micros(p.warm_s + after + down), Happening::StartActor);
        }
        for number in 0..p.bus.kill_replicas {
            let after = p.fault_s * (f64::from(number) + 0.5) / f64::from(p.bus.kill_replicas);
            self.at(micros(p.warm_s + after), Happening::KillReplica);
        }
    }

    fn at(&mut self, at_us: u64, happening: Happening) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.waiting.push(None);
            self.waiting.len() - 1
        });
        self.waiting[place] = Some(happening);
        self.sequence += 1;
        self.queue.push(Reverse((at_us, self.sequence, place)));
    }

    fn after(&mut self, us: u64, happening: Happening) {
        self.at(self.now.get().saturating_add(us), happening);
    }

    fn faulty(&self) -> bool {
        let p = self.parameters;
        (micros(p.warm_s)..micros(p.warm_s + p.fault_s)).contains(&self.now.get())
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival => {
                let more = match self.parameters.fault {
                    Fault::Overload { factor } if self.faulty() => factor,
                    _ => 1.0,
                };
                let gap = exponential(&mut self.load, 1e6 / (self.parameters.rps * more));
                let replica = self.load.u32(0..self.parameters.replicas.max(1));
                let draw = Draw { fails: self.load.f64(), takes: self.load.f64() };
                self.after(gap, Happening::Arrival);
                self.attempt(Request { replica, asked_us: self.now.get(), tried: 0 }, draw, None);
            }
            Happening::Repetition(request) => {
                let draw = Draw { fails: self.repeats.f64(), takes: self.repeats.f64() };
                self.attempt(request, draw, None);
            }
            Happening::Waited(request, draw, since_us) => self.attempt(request, draw, Some(since_us)),
            Happening::End { replica, life, permit, outcome, took_ms, request } => {
                self.end(replica, life, permit, outcome, took_ms, request);
            }
            Happening::Report(replica) => {
                self.report(replica);
                self.after(REPORT_EVERY_MS * 1_000, Happening::Report(replica));
            }
            Happening::Logged(calls) => self.logged(Content::Events(vec![Ok(Event::Calls(*calls))])),
            Happening::Tick => {
                self.logged(Content::Tick);
                self.after(TICK_US, Happening::Tick);
            }
            Happening::Heard(replica, said) => {
                let replica = &self.replicas[replica as usize];
                if let Some(gate) = &replica.gate {
                    gate.hear(&said, &replica.clock);
                }
            }
            Happening::KillActor => {
                if let Some(fleet) = &mut self.fleet {
                    fleet.kill();
                }
            }
            Happening::StartActor => {
                let said = self.fleet.as_mut().map(Fleet::start).unwrap_or_default();
                self.spread(said);
            }
            Happening::KillReplica => {
                let number = self.bus.u32(0..self.parameters.replicas.max(1));
                self.replicas[number as usize].begin(self.policy, number);
            }
        }
    }

    fn attempt(&mut self, request: Request, draw: Draw, since_us: Option<u64>) {
        let now = self.now.get();
        let faulty = self.faulty();
        let replica = &self.replicas[request.replica as usize];
        let attempt = if request.tried == 0 { Attempt::First } else { Attempt::Retry };
        let decision = replica.gate.as_ref().map(|gate| match since_us {
            None => gate.acquire(attempt, &replica.clock),
            Some(since_us) => gate.acquire_held(attempt, (now - since_us) / 1_000, &replica.clock),
        });
        let decision = decision.transpose();
        if let Err(Refusal::Held { wait }) = decision {
            self.after(wait * 1_000, Happening::Waited(request, draw, since_us.unwrap_or(now)));
            return;
        }
        let good =
            self.peer.would_succeed(faulty, request.replica, draw) && !matches!(self.parameters.fault, Fault::Overload { .. } if faulty);
        self.record.attempt(now, decision.is_ok(), good);
        let Ok(permit) = decision else { return };
        let life = replica.life;
        #[allow(clippy::cast_precision_loss)]
        let answer = self.peer.answer(now as f64, faulty, request.replica, draw);
        let outcome = match (answer.ok, answer.timeout) {
            (true, _) => Outcome::Success,
            (false, true) => Outcome::Timeout,
            (false, false) => Outcome::Failure,
        };
        let end = Happening::End { replica: request.replica, life, permit, outcome, took_ms: answer.took_us / 1_000, request };
        self.after(answer.took_us, end);
    }

    fn end(&mut self, number: u32, life: u32, permit: Option<Permit>, outcome: Outcome, took_ms: Ms, request: Request) {
        let replica = &self.replicas[number as usize];
        // Who was killed meanwhile does not know of it any more.
        if replica.life != life {
            return;
        }
        let urgent = match (&replica.gate, permit) {
            (Some(gate), Some(permit)) => gate.settle(permit, outcome, took_ms, &replica.clock),
            _ => false,
        };
        if outcome == Outcome::Success {
            self.record.served(request.asked_us);
        } else {
            self.record.failed(self.now.get());
            if request.tried < self.parameters.retries {
                let pause = exponential(&mut self.repeats, RETRY_US);
                self.after(pause, Happening::Repetition(Request { tried: request.tried + 1, ..request }));
            }
        }
        if urgent {
            self.report(number);
        }
    }

    /// A replica publishes what it has to report.
    fn report(&mut self, number: u32) {
        if self.fleet.is_none() {
            return;
        }
        let replica = &self.replicas[number as usize];
        let Some(delta) = replica.gate.as_ref().and_then(|gate| gate.report(&replica.clock).delta) else { return };
        let calls = Calls {
            service: "shop".to_owned(),
            at_ms: START_MS + self.now.get() / 1_000,
            instance: Some(format!("shop-{number}")),
            zone: Some(zone(number)),
            peer: "payments".to_owned(),
            ok: delta.ok,
            failed: delta.failed,
            shed: delta.shed,
            over_ms: delta.over_ms,
            slow: Some(delta.slow),
            ..Calls::default()
        };
        if self.cut(number) {
            return;
        }
        for delay in self.copies() {
            self.after(delay, Happening::Logged(Box::new(calls.clone())));
        }
    }

    fn logged(&mut self, content: Content) {
        let at = START_MS + self.now.get() / 1_000;
        let said = self.fleet.as_mut().map(|fleet| fleet.log(at, content)).unwrap_or_default();
        self.spread(said);
    }

    /// What the actor says goes to every replica that can be reached.
    fn spread(&mut self, said: Vec<Admission>) {
        for admission in said {
            let admission = Rc::new(admission);
            for number in 0..u32::try_from(self.replicas.len()).unwrap_or(0) {
                if !self.cut(number) {
                    for delay in self.copies() {
                        self.after(delay, Happening::Heard(number, admission.clone()));
                    }
                }
            }
        }
    }

    /// How late each copy of a message comes; none when it is lost.
    fn copies(&mut self) -> Vec<u64> {
        let bus = &self.parameters.bus;
        let count = if self.bus.f64() < bus.loss { 0 } else { 1 + usize::from(self.bus.f64() < bus.duplicate) };
        (0..count).map(|_| exponential(&mut self.bus, bus.delay_ms * 1_000.0)).collect()
    }

    /// Is this replica separated from the actor now?
    fn cut(&self, number: u32) -> bool {
        let p = self.parameters;
        let now = self.now.get();
        let apart = f64::from(number) < p.bus.cut_share * f64::from(p.replicas);
        apart && p.bus.cut.is_some_and(|(after, lasts)| (micros(p.warm_s + after)..micros(p.warm_s + after + lasts)).contains(&now))
    }
}

impl Replica {
    /// A process begins, for the first time or after a kill.
    fn begin(&mut self, policy: Policy, number: u32) {
        self.life += 1;
        self.gate = policy.local().map(|config| Gate::new(config, None, Some(zone(number)), &self.clock));
    }
}

fn zone(number: u32) -> String {
    format!("zone-{}", number % 3)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn micros(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e6) as u64
}

/// An exponentially distributed time with this mean, µs.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn exponential(rng: &mut fastrand::Rng, mean_us: f64) -> u64 {
    (-(1.0 - rng.f64()).ln() * mean_us) as u64
}
