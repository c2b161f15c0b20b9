//! Which accounts and users there are, and what each may do.

use homeostat_nats::{Names, StreamConfig};
use homeostat_schemas::Root;
use homeostat_schemas::event::SERVICE_MAX;
use homeostat_schemas::subject::Token;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// One machine, one person: two users, and any application may report as any service
    Development,
    /// One Homeostat: a user for every application, bot and viewer
    Single,
    /// Several who share a server: each has a Homeostat, applications, bots and viewers of its own
    Tenants,
}

/// Those who share one Homeostat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenant {
    /// The tenant's name, `[A-Za-z0-9_-]{1,32}`; empty where there is but one.
    pub name: String,
    /// Services whose applications report.
    pub services: Vec<String>,
    /// Services whose applications may also give orders (approve, pause, retire): what a person may.
    pub orders: Vec<String>,
    /// Programs that read alerts, commands and outcomes from a durable consumer of their own.
    pub bots: Vec<String>,
    /// People and dashboards that look on.
    pub viewers: Vec<String>,
}

/// What is to be rendered.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the server is for.
    pub profile: Profile,
    /// The root of subjects.
    pub root: Root,
    /// Those who share the server.
    pub tenants: Vec<Tenant>,
    /// Users who see the alerts of all tenants.
    pub operators: Vec<String>,
    /// How large Homeostat's streams may become.
    pub streams: StreamConfig,
    /// What an account may use on the disk beside Homeostat's streams, bytes.
    pub spare_bytes: u64,
    /// Whether API keys are credentials of the bus, too.
    pub callout: bool,
}

/// What somebody is on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Homeostat itself, and whoever administers it.
    Homeostat,
    /// An application of one service, or of any in development.
    Application,
    /// A program with a durable consumer of its own.
    Bot,
    /// Looks on.
    Viewer,
    /// Sees the alerts of all tenants.
    Operator,
    /// The service of Homeostat's that is asked whose an API key is, and closes connections.
    Callout,
}

/// What a user may publish and subscribe to. Everything else is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// Subjects that may be published to.
    pub publish: Vec<String>,
    /// Exceptions from these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish_deny: Vec<String>,
    /// Subjects that may be subscribed to.
    pub subscribe: Vec<String>,
}

/// Somebody who connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// A name that files can have, one of a kind in the plan.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// The service it speaks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The durable consumer it reads from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// First token of the subjects on which it gets answers.
    pub inbox_prefix: String,
    /// What it may do; nothing means everything inside its account.
    pub permissions: Option<Permissions>,
}

/// What is offered to another account, or taken from one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The other account.
    pub account: String,
    /// The subject.
    pub subject: String,
    /// Questions and answers, or a stream of messages.
    pub service: bool,
    /// One question may have several answers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub many: bool,
    /// A token before the subject where it arrives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// Accounts cannot hear each other but for what they share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// What its streams may use on the disk, bytes; nothing means no JetStream at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes_max: Option<u64>,
    /// Who connects.
    pub users: Vec<User>,
    /// What it offers.
    pub exports: Vec<Share>,
    /// What it takes.
    pub imports: Vec<Share>,
}

/// A whole server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What it is for.
    pub profile: Profile,
    /// The root of subjects.
    pub root: Root,
    /// Its accounts.
    pub accounts: Vec<Account>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A name that cannot be one.
    #[error("`{0}` cannot be the name of a tenant, bot, viewer or operator: 1 to 32 of A-Z a-z 0-9 _ -")]
    Name(String),
    /// A service that cannot be one.
    #[error("`{0}` cannot be a service: 1 to 64 bytes")]
    Service(String),
    /// Two with one name.
    #[error("`{0}` is there twice")]
    Twice(String),
    /// Nobody is there.
    #[error("nobody would use this server: name at least one {0}")]
    Nobody(&'static str),
    /// An order right without the service.
    #[error("`{0}` may give orders and is no service of the plan")]
    Orders(String),
    /// A profile with what it has no place for.
    #[error("{0}")]
    Profile(&'static str),
    /// The root cannot be used.
    #[error("{0}")]
    Root(String),
}

impl Plan {
    /// The accounts and users that were asked for.
    ///
    /// # Errors
    /// A name that cannot be one, one that is there twice, or nobody at all.
    pub fn of(request: &Request) -> Result<Plan, PlanError> {
        let names = Names::of(request.root.as_str()).map_err(|error| PlanError::Root(error.to_string()))?;
        let (profile, root) = (request.profile, request.root.clone());
        let accounts = match (profile, request.tenants.as_slice()) {
            (Profile::Development, _) => vec![development(request)],
            (_, []) => return Err(PlanError::Nobody("tenant: --tenant NAME=SERVICE,SERVICE")),
            (Profile::Single, [one]) => shared(request, one, &names)?,
            (Profile::Single, _) => return Err(PlanError::Profile("several tenants need the profile `tenants`")),
            (Profile::Tenants, tenants) => {
                let mut accounts = Vec::new();
                for tenant in tenants {
                    fit(&tenant.name)?;
                    accounts.extend(shared(request, tenant, &names)?);
                }
                accounts
            }
        };
        let mut plan = Plan { profile, root, accounts };
        if !request.operators.is_empty() {
            plan.oversee(&request.operators)?;
        }
        match (request.callout, profile) {
            (true, Profile::Single) => plan.accounts.extend(super::callout::accounts()),
            (true, Profile::Development) => {
                return Err(PlanError::Profile("the profile `development` has one account for all: API keys need `single`"));
            }
            (true, Profile::Tenants) => {
                return Err(PlanError::Profile(
                    "a server asks one service only, which could then let anybody into any account: with several tenants API keys are no credential of the bus",
                ));
            }
            (false, _) => {}
        }
        let mut known = BTreeSet::new();
        for name in plan.users().map(|(_, user)| &user.name) {
            if !known.insert(name) {
                return Err(PlanError::Twice(name.clone()));
            }
        }
        Ok(plan)
    }

    /// Everybody, with the account they are in.
    pub fn users(&self) -> impl Iterator<Item = (&Account, &User)> {
        self.accounts.iter().flat_map(|account| account.users.iter().map(move |user| (account, user)))
    }

    /// An account that sees the alerts of every Homeostat, each below the name of its account: nobody can say something in another's.
    fn oversee(&mut self, operators: &[String]) -> Result<(), PlanError> {
        const NAME: &str = "OPERATORS";
        let alerts = format!("{}.alert.>", self.root);
        let mut account = Account::new(NAME);
        for owner in self.accounts.iter_mut().filter(|account| account.disk_bytes_max.is_some()) {
            owner.exports.push(Share::stream(NAME, &alerts));
            account.imports.push(Share { prefix: Some(owner.name.clone()), ..Share::stream(&owner.name, &alerts) });
        }
        let subscribe: Vec<String> = account.imports.iter().map(|share| format!("{}.{alerts}", share.account)).collect();
        for name in operators {
            fit(name)?;
            account.users.push(User::guest(format!("operator-{name}"), Role::Operator, &[], &subscribe));
        }
        self.accounts.push(account);
        Ok(())
    }
}

impl Account {
    pub(super) fn new(name: &str) -> Account {
        Account { name: name.to_owned(), disk_bytes_max: None, users: Vec::new(), exports: Vec::new(), imports: Vec::new() }
    }
}

impl Account {
    /// An account for one guest of this one, and what is shared with it.
    fn host(&mut self, guest: User, services: &[String], streams: &[String]) -> Account {
        let mut account = Account::new(&guest.name);
        for subject in services {
            // Asked for the next messages, a consumer answers with several.
            let many = subject.contains(".MSG.NEXT.");
            self.exports.push(Share { many, ..Share::service(&account.name, subject) });
            account.imports.push(Share::service(&self.name, subject));
        }
        for subject in streams {
            self.exports.push(Share::stream(&account.name, subject));
            account.imports.push(Share::stream(&self.name, subject));
        }
        account.users.push(guest);
        account
    }
}

impl Share {
    fn stream(account: &str, subject: &str) -> Share {
        Share { account: account.to_owned(), subject: subject.to_owned(), service: false, many: false, prefix: None }
    }

    fn service(account: &str, subject: &str) -> Share {
        Share { service: true, ..Share::stream(account, subject) }
    }
}

impl User {
    pub(super) fn new(name: String, role: Role, inbox_prefix: String, permissions: Permissions) -> User {
        User { name, role, service: None, consumer: None, inbox_prefix, permissions: Some(permissions) }
    }

    /// Somebody in an account of its own, who may use what is shared with it and nothing else.
    fn guest(name: String, role: Role, publish: &[String], subscribe: &[String]) -> User {
        let inbox_prefix = format!("_INBOX_{}", name.replace('.', "_"));
        let subscribe = subscribe.iter().cloned().chain([format!("{inbox_prefix}.>")]).collect();
        let permissions = Permissions { publish: publish.to_vec(), publish_deny: Vec::new(), subscribe };
        User::new(name, role, inbox_prefix, permissions)
    }

    fn homeostat(name: String) -> User {
        User { name, role: Role::Homeostat, service: None, consumer: None, inbox_prefix: "_INBOX".to_owned(), permissions: None }
    }
}

/// What the streams of one Homeostat may use.
fn disk(request: &Request) -> u64 {
    request.streams.disk_bytes_max().saturating_add(request.spare_bytes)
}

fn development(request: &Request) -> Account {
    let root = &request.root;
    let permissions = Permissions {
        publish: ["event.*.*", "outcome.*.*.*", "signers"].map(|subject| format!("{root}.{subject}")).into(),
        publish_deny: Vec::new(),
        subscribe: ["command.*.*.*", "admission.*.*", "key.sealed.*"]
            .map(|subject| format!("{root}.{subject}"))
            .into_iter()
            .chain(["_INBOX_application.>".to_owned()])
            .collect(),
    };
    let application = User::new("app".to_owned(), Role::Application, "_INBOX_application".to_owned(), permissions);
    Account {
        disk_bytes_max: Some(disk(request)),
        users: vec![User::homeostat("homeostat".to_owned()), application],
        ..Account::new("HOMEOSTAT")
    }
}

/// One Homeostat with everybody around it: the account of the log, and one for everybody else, who hears of it what is shared.
fn shared(request: &Request, tenant: &Tenant, names: &Names) -> Result<Vec<Account>, PlanError> {
    let root = &request.root;
    let owner = if tenant.name.is_empty() { "HOMEOSTAT".to_owned() } else { format!("HOMEOSTAT_{}", tenant.name) };
    let user = |what: &str| if tenant.name.is_empty() { what.to_owned() } else { format!("{}.{what}", tenant.name) };
    let mut log = Account { disk_bytes_max: Some(disk(request)), ..Account::new(&owner) };
    log.users.push(User::homeostat(user("homeostat")));
    let mut guests = Vec::new();

    if tenant.services.is_empty() {
        return Err(PlanError::Nobody("service"));
    }
    if let Some(stranger) = tenant.orders.iter().find(|service| !tenant.services.contains(service)) {
        return Err(PlanError::Orders(stranger.clone()));
    }
    for service in &tenant.services {
        if !(1..=SERVICE_MAX).contains(&service.len()) {
            return Err(PlanError::Service(service.clone()));
        }
        let token = Token(service);
        let services = [format!("{root}.event.*.{token}"), format!("{root}.outcome.*.*.{token}")];
        let streams = [format!("{root}.command.*.*.{token}"), format!("{root}.admission.{token}.*"), format!("{root}.key.sealed.{token}")];
        let mut one = User::guest(user(&format!("app-{token}")), Role::Application, &services, &streams);
        one.service = Some(service.clone());
        if let Some(permissions) = one.permissions.as_mut().filter(|_| !tenant.orders.contains(service)) {
            // An order is a person's word: it approves, pauses and retires, whoever's service it is about.
            permissions.publish_deny.push(format!("{root}.event.order.{token}"));
        }
        guests.push(log.host(one, &services, &streams));
    }
    for name in &tenant.bots {
        fit(name)?;
        let consumer = format!("bot_{name}");
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", names.archive);
        let services = [next, format!("$JS.ACK.{}.{consumer}.>", names.archive)];
        let one = User::guest(user(&format!("bot-{name}")), Role::Bot, &services, &[]);
        guests.push(log.host(User { consumer: Some(consumer), ..one }, &services, &[]));
    }
    let state = [format!("$JS.API.DIRECT.GET.KV_{0}.$KV.{0}.>", names.state)];
    let seen = ["alert.>", "command.>", "outcome.>"].map(|subject| format!("{root}.{subject}"));
    for name in &tenant.viewers {
        fit(name)?;
        let one = User::guest(user(&format!("viewer-{name}")), Role::Viewer, &state, &seen);
        guests.push(log.host(one, &state, &seen));
    }
    guests.insert(0, log);
    Ok(guests)
}

fn fit(name: &str) -> Result<(), PlanError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=32).contains(&name.len()) && name.bytes().all(plain) { Ok(()) } else { Err(PlanError::Name(name.chars().take(64).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn request(profile: Profile, tenants: Vec<Tenant>) -> Request {
        let (streams, root) = (StreamConfig::default(), Root::default());
        Request { profile, root, tenants, operators: Vec::new(), streams, spare_bytes: 0, callout: false }
    }

    fn tenant(name: &str, services: &[&str]) -> Tenant {
        Tenant { name: name.to_owned(), services: names(services), ..Tenant::default() }
    }

    #[test]
    fn an_application_has_its_own_service_and_nothing_of_the_jetstream_api() {
        let plan = Plan::of(&request(Profile::Single, vec![tenant("", &["shop", "a.b *>"])])).unwrap();
        for (account, user) in plan.users().filter(|(_, user)| user.role == Role::Application) {
            assert_eq!(account.disk_bytes_max, None);
            let permissions = user.permissions.as_ref().unwrap();
            let token = Token(user.service.as_deref().unwrap()).to_string();
            for subject in permissions.publish.iter().chain(&permissions.subscribe) {
                assert!(subject.split('.').any(|part| part == token || part == format!("_INBOX_app-{token}")), "{subject}");
                assert!(!subject.contains("$JS") && !subject.contains("$KV") && !subject.contains("control"), "{subject}");
            }
            assert_eq!(permissions.publish_deny, [format!("homeostat.v1.event.order.{token}")]);
        }
    }

    #[test]
    fn every_import_is_exported_to_that_account_and_no_wider() {
        let mut one = tenant("acme", &["shop", "till"]);
        (one.bots, one.viewers, one.orders) = (names(&["pager"]), names(&["screen"]), names(&["till"]));
        let mut asked = request(Profile::Tenants, vec![one, tenant("bravo", &["shop"])]);
        asked.operators = names(&["night"]);
        let plan = Plan::of(&asked).unwrap();
        for account in &plan.accounts {
            for import in &account.imports {
                let owner = plan.accounts.iter().find(|owner| owner.name == import.account).unwrap();
                let fits = |export: &Share| {
                    let (mut wide, mut narrow) = (export.subject.split('.'), import.subject.split('.'));
                    loop {
                        match (wide.next(), narrow.next()) {
                            (None, None) => return true,
                            (Some(">"), Some(_)) => return true,
                            (Some("*"), Some(token)) if token != ">" => {}
                            (Some(wide), Some(token)) if wide == token => {}
                            _ => return false,
                        }
                    }
                };
                let found =
                    owner.exports.iter().any(|export| export.account == account.name && export.service == import.service && fits(export));
                assert!(found, "{} takes {} that {} does not offer", account.name, import.subject, owner.name);
                // Nobody takes anything of another tenant's, but for the operators, below its name.
                let same = account.name.split_once('.').map(|(tenant, _)| tenant) == owner.name.split_once('_').map(|(_, tenant)| tenant);
                assert!(same || import.prefix.as_deref() == Some(owner.name.as_str()), "{} takes of {}", account.name, owner.name);
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_name() {
        let of = |request: &Request| Plan::of(request).unwrap_err();
        assert_eq!(of(&request(Profile::Single, vec![tenant("", &[])])), PlanError::Nobody("service"));
        assert_eq!(of(&request(Profile::Tenants, vec![tenant("a.b", &["shop"])])), PlanError::Name("a.b".to_owned()));
        assert_eq!(
            of(&request(Profile::Tenants, vec![tenant("a", &["s"]), tenant("a", &["s"])])),
            PlanError::Twice("a.homeostat".to_owned())
        );
        assert_eq!(of(&request(Profile::Single, vec![tenant("", &["shop", "shop"])])), PlanError::Twice("app-shop".to_owned()));
        assert_eq!(of(&request(Profile::Single, vec![tenant("", &[&"x".repeat(65)])])), PlanError::Service("x".repeat(65)));
        assert!(matches!(of(&request(Profile::Single, vec![tenant("", &["a"]), tenant("", &["b"])])), PlanError::Profile(_)));
        let orders = Tenant { orders: names(&["other"]), ..tenant("", &["shop"]) };
        assert_eq!(of(&request(Profile::Single, vec![orders])), PlanError::Orders("other".to_owned()));
        let bot = Tenant { bots: names(&["*"]), ..tenant("", &["shop"]) };
        assert_eq!(of(&request(Profile::Single, vec![bot])), PlanError::Name("*".to_owned()));
        // A service may have any name.
        assert!(Plan::of(&request(Profile::Single, vec![tenant("", &["homeostat"])])).is_ok());
    }
}
