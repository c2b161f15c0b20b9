//! A fleet that falls ill, a bus that repeats, delays and reorders, executors that die, hang and lag behind, and the real mind and
//! the real gate of executors between them. Everything follows from a seed.
//!
//! What is checked is seen from outside: what stands on the bus, and what executors do. None of it asks the mind what it thinks.

use homeostat_actors::core::{Effect, Output, Settings};
use homeostat_actors::driver::Driver;
use homeostat_actors::recovery::{Policy, RecoveryConfig, RecoveryCore};
use homeostat_reflexes::executor::{Decision, Executor, ExecutorLimits};
use homeostat_schemas::event::{Heartbeat, Resource};
use homeostat_schemas::{Alert, Command, Content, Delivery, Identity, Mode, Outcome, Severity, State, TraceContext, UnixMs};
use std::collections::{BTreeMap, VecDeque};

const START: UnixMs = 1_760_000_000_000;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

/// SplitMix64 (Steele, Lea, Flood, 2014): the whole run is a function of its seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from).max(1)
    }

    /// So many times in a thousand.
    fn happens(&mut self, per_mille: u64) -> bool {
        self.next() % 1_000 < per_mille
    }
}

/// What happens, and when.
enum Happening {
    Tick,
    Report(usize),
    Leak(usize),
    /// Most of a service falls ill at once.
    Epidemic,
    Deliver(usize, Box<Command>),
    Finish {
        executor: usize,
        life: u32,
        command: String,
    },
    ToLog(Outcome),
    Kill(usize),
    Revive(usize),
    Stall(usize),
    Resolve(String),
}

/// One instance with its executor.
struct Instance {
    service: String,
    name: String,
    zone: String,
    gate: Executor,
    /// What it has on its disk, if it keeps anything there.
    disk: Option<Executor>,
    keeps: bool,
    /// Grows with every death: what an earlier life had begun is gone.
    life: u32,
    up: bool,
    stalled_until: UnixMs,
    inbox: Vec<Command>,
    /// Commands at work, and when each has to be over.
    running: BTreeMap<String, UnixMs>,
    skew_ms: i64,
    memory: u64,
    incident: Option<String>,
}

impl Instance {
    fn clock(&self, now: UnixMs) -> UnixMs {
        now.saturating_add_signed(self.skew_ms)
    }
}

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Its effect was measured.
    Verified,
    /// A person was called.
    Escalated,
    /// The fleet brake stopped it, and a person was called for all of them at once.
    Braked,
    /// Its alert ended while nobody knew what had become of the command: there was nothing left to judge.
    Over,
}

#[derive(Default)]
struct Incident {
    instance: usize,
    end: Option<End>,
    resolved: bool,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Tally {
    /// Incidents by how they ended.
    pub ends: BTreeMap<End, u64>,
    /// Commands on the bus.
    pub commands: u64,
    /// Commands that an executor carried out.
    pub executed: u64,
    /// Deliveries of commands to executors, repeated ones included.
    pub deliveries: u64,
    /// Commands that an executor would not carry out, by why.
    pub turned_away: BTreeMap<String, u64>,
    /// Times the mind was killed and made again from its checkpoint and the log.
    pub mind_killed: u64,
    /// Times an executor was killed.
    pub executors_killed: u64,
    /// Most commands at work at once in one service.
    pub widest: usize,
    /// Most commands on the bus within one window of the budget.
    pub busiest: usize,
    /// Messages in the log.
    pub messages: u64,
    /// Simulated time, ms.
    pub took_ms: u64,
}

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// The seed of everything.
    pub seed: u64,
    /// Incidents.
    pub incidents: u64,
    /// Services.
    pub services: usize,
    /// Instances of each.
    pub instances: usize,
}

/// The settings of the mind in these runs: those of the default, but for times that fit a simulation and a budget that bites.
fn config() -> RecoveryConfig {
    let mut rule = Policy::new("leak.confirmed", "memory.reclaim", "{instance}", "resource.memory falls 20 % within 3m");
    rule.cooldown_s = 120;
    rule.timeout_s = 60;
    rule.expires_s = 30;
    RecoveryConfig { rule: vec![rule], budget: 40, tries_max: 50, ..RecoveryConfig::default() }
}

/// After how many messages from which nothing follows the promises are looked at anyway.
const LOOK_EVERY: u64 = 64;

/// The mind, as the body carries it: checkpoints now and then, and deaths at any instant between reading and publishing.
struct Carrier {
    driver: Driver<RecoveryCore>,
    checkpoint: Vec<u8>,
    since: Vec<Delivery>,
    /// What was published since the checkpoint, to compare with what is decided again.
    published: Vec<Output>,
    last: Option<Identity>,
}

impl Carrier {
    fn new() -> Carrier {
        let driver = Driver::new("simulation", Settings { config: config(), ..Settings::default() });
        let checkpoint = driver.save().unwrap();
        Carrier { driver, checkpoint, since: Vec::new(), published: Vec::new(), last: None }
    }

    fn take(&mut self, delivery: Delivery, chance: &mut Chance, tally: &mut Tally) -> Vec<Output> {
        self.since.push(delivery);
        let delivery = self.since.last().unwrap();
        let quiet = matches!(delivery.content, Content::Events(_) | Content::Tick) && !delivery.position.is_multiple_of(LOOK_EVERY);
        let dies = chance.happens(1).then(|| chance.happens(500));
        let outputs = match dies {
            // Before it was read, or after it was decided and before anything was published: the log has it, and it is decided again.
            Some(before) => {
                if !before {
                    self.driver.step(delivery);
                }
                tally.mind_killed += 1;
                self.again()
            }
            None => self.driver.step(delivery),
        };
        // The promises are about the whole state, and to look at all of it costs more than a step. What breaks one is still broken a little
        // later; where a message is about incidents and commands, or anything follows from it, there is no later.
        if dies.is_some() || !quiet || !outputs.is_empty() {
            assert_eq!(self.driver.broken_promise(), None);
        }
        self.published.extend(outputs.iter().cloned());
        if let Some(output) = outputs.last() {
            self.last.clone_from(&output.identity);
        }
        if chance.happens(2) {
            self.checkpoint = self.driver.save().unwrap();
            self.since.clear();
            self.published.clear();
        }
        outputs
    }

    /// From the checkpoint and the log, as the body does it: what is out already is not published again.
    fn again(&mut self) -> Vec<Output> {
        self.driver = Driver::load("simulation", &self.checkpoint).unwrap();
        let decided: Vec<Output> = self.since.iter().flat_map(|delivery| self.driver.step(delivery)).collect();
        let (known, new): (Vec<Output>, Vec<Output>) = decided.into_iter().partition(|output| output.identity <= self.last);
        assert_eq!(known, self.published, "what is decided again is what was decided before");
        new
    }
}

/// Everything.
pub struct World {
    chance: Chance,
    now: UnixMs,
    position: u64,
    queue: BTreeMap<(UnixMs, u64), Happening>,
    queued: u64,
    carrier: Carrier,
    instances: Vec<Instance>,
    incidents: BTreeMap<String, Incident>,
    /// Those that are not resolved.
    open: u64,
    wanted: u64,
    executed: BTreeMap<String, u32>,
    issued: VecDeque<UnixMs>,
    limits: (usize, usize),
    tally: Tally,
}

impl World {
    /// A healthy fleet.
    #[must_use]
    pub fn new(scale: Scale) -> World {
        let mut chance = Chance(scale.seed);
        let mut instances = Vec::new();
        for service in 0..scale.services {
            for instance in 0..scale.instances {
                let (service, name) = (format!("service{service}"), format!("i{instance}"));
                let keeps = chance.happens(500);
                let gate = Executor::new(&service, &name, START, gate_limits());
                instances.push(Instance {
                    gate,
                    disk: None,
                    keeps,
                    life: 0,
                    up: true,
                    stalled_until: 0,
                    inbox: Vec::new(),
                    running: BTreeMap::new(),
                    skew_ms: chance.between(0, 2_000) as i64 - 1_000,
                    memory: 1_000,
                    incident: None,
                    zone: format!("z{}", instance % 3),
                    service,
                    name,
                });
            }
        }
        let config = config();
        let mut world = World {
            chance,
            now: START,
            position: 0,
            queue: BTreeMap::new(),
            queued: 0,
            carrier: Carrier::new(),
            instances,
            incidents: BTreeMap::new(),
            open: 0,
            wanted: scale.incidents,
            executed: BTreeMap::new(),
            issued: VecDeque::new(),
            limits: (homeostat_blast(scale.instances, config.blast_radius), config.budget),
            tally: Tally::default(),
        };
        world.at(SECOND, Happening::Tick);
        for index in 0..world.instances.len() {
            let (report, leak) = (world.chance.between(0, 10 * SECOND), world.chance.between(MINUTE, 180 * MINUTE));
            world.at(report, Happening::Report(index));
            world.at(leak, Happening::Leak(index));
            let (kill, stall) = (world.chance.between(MINUTE, 300 * MINUTE), world.chance.between(MINUTE, 300 * MINUTE));
            world.at(kill, Happening::Kill(index));
            world.at(stall, Happening::Stall(index));
        }
        world.at(200 * MINUTE, Happening::Epidemic);
        world
    }

    fn at(&mut self, after: u64, what: Happening) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), what);
    }

    /// Lets everything happen until every incident has ended.
    fn drive(&mut self) {
        let deadline = START + (self.wanted + 1_000) * 10 * MINUTE;
        while self.wanted > 0 || self.open > 0 {
            let ((at, _), what) = self.queue.pop_first().unwrap();
            self.now = self.now.max(at);
            assert!(self.now < deadline, "incidents do not end: {} are open", self.open);
            self.happen(what);
        }
        self.tally.took_ms = self.now - START;
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Tick => {
                self.append(Content::Tick);
                self.at(SECOND, Happening::Tick);
            }
            Happening::Report(index) => self.report(index),
            Happening::Leak(index) => {
                self.leak(index);
                let after = self.chance.between(60 * MINUTE, 300 * MINUTE);
                self.at(after, Happening::Leak(index));
            }
            Happening::Epidemic => {
                let which = self.chance.between(0, self.instances.len() as u64) as usize;
                let service = self.instances[which].service.clone();
                let ill: Vec<usize> = (0..self.instances.len()).filter(|&i| self.instances[i].service == service).collect();
                ill.into_iter().for_each(|index| self.leak(index));
                let after = self.chance.between(100 * MINUTE, 400 * MINUTE);
                self.at(after, Happening::Epidemic);
            }
            Happening::Deliver(index, command) => self.deliver(index, *command),
            Happening::Finish { executor, life, command } => self.finish(executor, life, command),
            Happening::ToLog(outcome) => self.append(Content::Outcome(outcome)),
            Happening::Kill(index) => {
                self.tally.executors_killed += 1;
                let instance = &mut self.instances[index];
                instance.up = false;
                instance.life += 1;
                instance.running.clear();
                instance.inbox.clear();
                let (back, next) = (self.chance.between(SECOND, 5 * MINUTE), self.chance.between(60 * MINUTE, 600 * MINUTE));
                self.at(back, Happening::Revive(index));
                self.at(next, Happening::Kill(index));
            }
            Happening::Revive(index) => {
                let now = self.now;
                let instance = &mut self.instances[index];
                let clock = instance.clock(now);
                instance.up = true;
                instance.gate =
                    instance.disk.clone().unwrap_or_else(|| Executor::new(&instance.service, &instance.name, clock, gate_limits()));
                let told = instance.gate.recovered(clock);
                told.into_iter().for_each(|outcome| self.tell(outcome));
            }
            Happening::Stall(index) => {
                let (long, next) = (self.chance.between(SECOND, 10 * MINUTE), self.chance.between(60 * MINUTE, 600 * MINUTE));
                self.instances[index].stalled_until = self.now + long;
                self.at(next, Happening::Stall(index));
            }
            Happening::Resolve(incident) => self.resolve(&incident),
        }
    }

    fn report(&mut self, index: usize) {
        self.at(10 * SECOND, Happening::Report(index));
        let now = self.now;
        let instance = &mut self.instances[index];
        if !instance.up || instance.stalled_until > now {
            return;
        }
        let clock = instance.clock(now);
        let late = instance.gate.overdue(clock);
        for outcome in &late {
            instance.running.remove(&outcome.command);
        }
        let head = (instance.service.clone(), Some(instance.name.clone()), Some(instance.zone.clone()));
        let (service, name, zone) = head.clone();
        let beat = Heartbeat { service, instance: name, zone, at_ms: clock, up_s: 900.0, interval_s: 10.0, ..Heartbeat::default() };
        let (service, name, zone) = head;
        let resource = Resource { service, instance: name, zone, at_ms: clock, memory_bytes: instance.memory, ..Resource::default() };
        let inbox = std::mem::take(&mut instance.inbox);
        late.into_iter().for_each(|outcome| self.tell(outcome));
        self.append(Content::Events(vec![Ok(beat.into())]));
        self.append(Content::Events(vec![Ok(resource.into())]));
        // What had piled up while it stalled.
        inbox.into_iter().for_each(|command| self.deliver(index, command));
    }

    fn leak(&mut self, index: usize) {
        if self.wanted == 0 || self.instances[index].incident.is_some() {
            return;
        }
        self.wanted -= 1;
        let incident = format!("incident{}", self.incidents.len());
        self.instances[index].incident = Some(incident.clone());
        self.instances[index].memory = 2_000;
        self.incidents.insert(incident.clone(), Incident { instance: index, ..Incident::default() });
        self.open += 1;
        self.alert(&incident, State::Firing);
    }

    fn alert(&mut self, incident: &str, state: State) {
        let instance = &self.instances[self.incidents[incident].instance];
        let alert = Alert {
            id: format!("{incident}-{state}"),
            incident: incident.to_owned(),
            rule: "leak.confirmed".to_owned(),
            severity: Severity::Warning,
            state,
            service: instance.service.clone(),
            labels: BTreeMap::from([("instance".to_owned(), instance.name.clone())]),
            at_ms: self.now,
            ..Alert::default()
        };
        self.append(Content::Alert(Box::new(alert)));
    }

    fn resolve(&mut self, name: &str) {
        let Some(incident) = self.incidents.get_mut(name).filter(|incident| !incident.resolved) else { return };
        incident.resolved = true;
        self.open -= 1;
        let index = incident.instance;
        self.instances[index].incident = None;
        self.instances[index].memory = self.instances[index].memory.min(1_000);
        self.alert(name, State::Resolved);
    }

    fn deliver(&mut self, index: usize, command: Command) {
        let now = self.now;
        let instance = &mut self.instances[index];
        if !instance.up {
            return;
        }
        if instance.stalled_until > now {
            return instance.inbox.push(command);
        }
        self.tally.deliveries += 1;
        let clock = instance.clock(now);
        match instance.gate.offer(&command, true, clock) {
            Decision::Execute { accepted, until_ms } => {
                let times = self.executed.entry(command.id.clone()).or_default();
                *times += 1;
                assert_eq!(*times, 1, "{} was executed twice", command.id);
                self.tally.executed += 1;
                instance.running.insert(command.id.clone(), now + (until_ms - clock));
                if instance.keeps {
                    instance.disk = Some(instance.gate.clone());
                }
                let life = instance.life;
                self.check_radius(index);
                self.tell(accepted);
                // Now and then a handler hangs for longer than it may.
                let long = if self.chance.happens(20) { 90 * SECOND } else { self.chance.between(SECOND, 20 * SECOND) };
                self.at(long, Happening::Finish { executor: index, life, command: command.id });
            }
            Decision::Answer(outcome) => {
                *self.tally.turned_away.entry(outcome.detail.clone().unwrap_or_else(|| "answered before".to_owned())).or_default() += 1;
                self.tell(outcome);
            }
            Decision::Pass(passed) => *self.tally.turned_away.entry(format!("passed over: {passed:?}")).or_default() += 1,
        }
    }

    /// However the bus and the executors behave: one at a time in a zone of a service, and no more in a service than its radius.
    fn check_radius(&mut self, index: usize) {
        let here = &self.instances[index];
        let work = |instance: &Instance| instance.running.values().filter(|until| **until > self.now).count();
        let at_work: Vec<&Instance> =
            self.instances.iter().filter(|instance| instance.service == here.service && work(instance) > 0).collect();
        let commands: usize = at_work.iter().map(|instance| work(instance)).sum();
        let zone = at_work.iter().filter(|instance| instance.zone == here.zone).count();
        assert!(zone <= 1, "{zone} instances of {} in zone {} are acted on at once", here.service, here.zone);
        assert!(commands <= self.limits.0, "{commands} commands are at work in {} at once", here.service);
        self.tally.widest = self.tally.widest.max(commands);
    }

    fn finish(&mut self, index: usize, life: u32, command: String) {
        let now = self.now;
        let instance = &mut self.instances[index];
        if instance.life != life {
            return;
        }
        if instance.stalled_until > now {
            let after = instance.stalled_until - now;
            return self.at(after, Happening::Finish { executor: index, life, command });
        }
        instance.running.remove(&command);
        let clock = instance.clock(now);
        let late = instance.gate.overdue(clock);
        late.into_iter().for_each(|outcome| self.tell(outcome));
        let (helps, fails) = (self.chance.happens(600), self.chance.happens(150));
        let instance = &mut self.instances[index];
        let clock = instance.clock(now);
        let result = if fails { Err("it did not work".to_owned()) } else { Ok(None) };
        let outcome = instance.gate.finished(&command, result, clock);
        if instance.keeps {
            instance.disk = Some(instance.gate.clone());
        }
        if helps && !fails && outcome.is_some() {
            instance.memory = 1_000;
            if let Some(incident) = instance.incident.clone() {
                let after = self.chance.between(5 * SECOND, 120 * SECOND);
                self.at(after, Happening::Resolve(incident));
            }
        }
        outcome.into_iter().for_each(|outcome| self.tell(outcome));
    }

    /// An outcome on its way to the log: late, twice, out of order, or (when its process dies first) never.
    fn tell(&mut self, outcome: Outcome) {
        if self.chance.happens(10) {
            return;
        }
        for _ in 0..if self.chance.happens(150) { 3 } else { 1 } {
            let late = if self.chance.happens(50) { 90 * SECOND } else { 500 };
            let after = self.chance.between(1, late);
            self.at(after, Happening::ToLog(outcome.clone()));
        }
    }

    /// A message of the log, and everything that follows from it.
    fn append(&mut self, content: Content) {
        let mut waiting = VecDeque::from([content]);
        while let Some(content) = waiting.pop_front() {
            self.position += 1;
            self.tally.messages += 1;
            let delivery =
                Delivery { position: self.position, at: self.now, subject: String::new(), content, context: TraceContext::default() };
            for output in self.carrier.take(delivery, &mut self.chance, &mut self.tally) {
                match output.effect {
                    Effect::Command(command) => {
                        self.publish(&command);
                        waiting.push_back(Content::Command(command));
                    }
                    Effect::Alert(alert) => {
                        self.verdict(&alert);
                        waiting.push_back(Content::Alert(alert));
                    }
                    Effect::Ask(_) | Effect::Announce(_) => {}
                }
            }
        }
    }

    fn publish(&mut self, command: &Command) {
        assert_eq!(command.mode, Mode::Act);
        assert_eq!(self.executed.insert(command.id.clone(), 0), None, "{} was published twice", command.id);
        self.tally.commands += 1;
        self.issued.push_back(self.now);
        let window = config().budget_window_s * SECOND;
        while self.issued.front().is_some_and(|&at| self.now - at >= window) {
            self.issued.pop_front();
        }
        self.tally.busiest = self.tally.busiest.max(self.issued.len());
        assert!(self.issued.len() <= self.limits.1, "the budget is {}", self.limits.1);
        let hearers: Vec<usize> = (0..self.instances.len()).filter(|&index| self.instances[index].service == command.service).collect();
        for index in hearers {
            for _ in 0..if self.chance.happens(150) { 3 } else { 1 } {
                let late = if self.chance.happens(50) { 180 * SECOND } else { 2 * SECOND };
                let after = self.chance.between(1, late);
                self.at(after, Happening::Deliver(index, Box::new(command.clone())));
            }
        }
    }

    /// A verdict; a person who is called mends it within half an hour.
    fn verdict(&mut self, alert: &Alert) {
        if alert.state != State::Firing {
            return;
        }
        if alert.rule == "recovery.fleet_brake" {
            let ill: Vec<String> = self
                .instances
                .iter()
                .filter(|instance| alert.service == "homeostat" || instance.service == alert.service)
                .filter_map(|instance| instance.incident.clone())
                .collect();
            return ill.into_iter().for_each(|name| self.ends(&name, End::Braked));
        }
        let Some(name) = alert.evidence.get("incident").and_then(|incident| incident.as_str()).map(str::to_owned) else { return };
        match alert.rule.as_str() {
            "recovery.verified" => {
                let helped = self.instances[self.incidents[&name].instance].memory <= 1_600;
                assert!(helped, "{name} was called verified, and nothing had changed");
                self.count(&name, End::Verified);
            }
            "recovery.escalated" => self.ends(&name, End::Escalated),
            _ => {}
        }
    }

    fn ends(&mut self, name: &str, end: End) {
        self.count(name, end);
        let after = self.chance.between(5 * MINUTE, 30 * MINUTE);
        self.at(after, Happening::Resolve(name.to_owned()));
    }

    fn count(&mut self, name: &str, end: End) {
        let Some(incident) = self.incidents.get_mut(name) else { return };
        incident.end.get_or_insert(end);
    }

    /// The ends of all incidents.
    fn close(&mut self) {
        for incident in self.incidents.values() {
            *self.tally.ends.entry(incident.end.unwrap_or(End::Over)).or_default() += 1;
        }
    }
}

fn gate_limits() -> ExecutorLimits {
    ExecutorLimits::default()
}

fn homeostat_blast(instances: usize, share: f64) -> usize {
    ((instances as f64 * share).floor() as usize).max(1)
}

/// One run.
///
/// # Panics
/// When anything happens that must not.
#[must_use]
pub fn simulate(scale: Scale) -> Tally {
    let mut world = World::new(scale);
    world.drive();
    world.close();
    world.tally
}
