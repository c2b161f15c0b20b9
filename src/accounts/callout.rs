//! API keys as credentials of the bus (nats-server's *auth callout*): what the plan has for it, and who gets in with which key.
//!
//! Whoever shows no key of the configuration is asked about in an account of its own, [`ACCOUNT`], in which nobody is but Homeostat; the
//! connections of a key that was taken back are found and closed in the system account. What a key opens is a user of the same plan: the
//! application of its owner, or the bot or viewer of that name, and of it no more than its scopes say.

use super::plan::{Account, Permissions, Plan, Role, User};
use homeostat_schemas::subject::Token;
use homeostat_schemas::{Root, Scope};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The account in which the server asks.
pub const ACCOUNT: &str = "AUTH";
/// The server's own account.
pub const SYSTEM_ACCOUNT: &str = "SYS";
/// The user that is asked.
pub const USER: &str = "callout";
/// The user that looks for connections and closes them.
pub const SYSTEM_USER: &str = "callout-system";
/// The account key that signs what is answered.
pub const ISSUER: &str = "callout-issuer";
/// The xkey to which questions are sealed.
pub const XKEY: &str = "callout-xkey";
/// What the service has to know of the plan, in the rendered directory. Nothing in it is secret.
pub const FILE: &str = "callout.json";
/// Where the server asks.
pub const ASK: &str = "$SYS.REQ.USER.AUTH";
/// Where every server answers that it is there.
pub const PING: &str = "$SYS.REQ.SERVER.PING";
/// Where every server answers with its connections.
pub const CONNECTIONS: &str = "$SYS.REQ.SERVER.PING.CONNZ";

/// Both accounts. Neither shares anything with another.
pub(super) fn accounts() -> [Account; 2] {
    let inbox = "_INBOX".to_owned();
    // The server answers to inboxes of its own; whoever is asked must be able to say something there.
    let asked = Permissions {
        publish: vec!["$SYS._INBOX.>".to_owned()],
        publish_deny: Vec::new(),
        subscribe: vec![ASK.to_owned(), "_INBOX.>".to_owned()],
    };
    let looks = Permissions {
        publish: [PING, CONNECTIONS, "$SYS.REQ.SERVER.*.CONNZ", "$SYS.REQ.SERVER.*.KICK"].map(str::to_owned).into(),
        publish_deny: Vec::new(),
        subscribe: vec!["_INBOX.>".to_owned()],
    };
    [(ACCOUNT, USER, asked), (SYSTEM_ACCOUNT, SYSTEM_USER, looks)].map(|(account, name, permissions)| Account {
        users: vec![User::new(name.to_owned(), Role::Callout, inbox.clone(), permissions)],
        ..Account::new(account)
    })
}

/// Those who can get in with an API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guests {
    /// The root of subjects.
    pub root: Root,
    /// Who, and in which account.
    pub guests: Vec<Guest>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// The account that such a connection is in.
    pub account: String,
    /// What it may do at most.
    pub user: User,
}

/// What the holder of a key may do on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant<'g> {
    /// The account that the connection is in.
    pub account: &'g str,
    /// What it may do there.
    pub permissions: Permissions,
    /// The scopes that this needs.
    pub scopes: BTreeSet<Scope>,
}

impl Guests {
    /// Those of a plan; nothing when API keys are no credentials there.
    #[must_use]
    pub fn of(plan: &Plan) -> Option<Guests> {
        plan.users().find(|(_, user)| user.role == Role::Callout)?;
        let open = |role| matches!(role, Role::Application | Role::Bot | Role::Viewer);
        let guests = plan.users().filter(|(_, user)| open(user.role));
        let guests = guests.map(|(account, user)| Guest { account: account.name.clone(), user: user.clone() }).collect();
        Some(Guests { root: plan.root.clone(), guests })
    }

    /// As it stands in the file.
    #[must_use]
    pub fn text(&self) -> String {
        // Names and lists of texts: there is nothing in it that JSON could not write.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// What the holder of a key of `owner` with `scopes` may do. `name` is the user that he says to be, if he says: the owner, or a user
    /// of the plan where an owner has several. Nothing when there is no place for him.
    #[must_use]
    pub fn grant(&self, owner: &str, scopes: &BTreeSet<Scope>, name: Option<&str>) -> Option<Grant<'_>> {
        let is_meant = |user: &User| name.is_none_or(|name| name == owner || name == user.name);
        let belongs = |user: &User| match user.role {
            Role::Application => user.service.as_deref() == Some(owner),
            Role::Bot => user.name.strip_prefix("bot-") == Some(owner),
            Role::Viewer => user.name.strip_prefix("viewer-") == Some(owner),
            Role::Homeostat | Role::Operator | Role::Callout => false,
        };
        self.guests.iter().filter(|guest| belongs(&guest.user) && is_meant(&guest.user)).find_map(|guest| {
            let (permissions, scopes) = self.narrowed(&guest.user, scopes)?;
            Some(Grant { account: &guest.account, permissions, scopes })
        })
    }

    /// What of a user's rights the scopes leave, and which of them it takes. Nothing when it is nothing.
    fn narrowed(&self, user: &User, held: &BTreeSet<Scope>) -> Option<(Permissions, BTreeSet<Scope>)> {
        let mut permissions = user.permissions.clone()?;
        let mut used = BTreeSet::new();
        match user.role {
            Role::Application => {
                used.insert(Scope::TelemetryWrite);
                let order = format!("{}.event.order.{}", self.root, Token(user.service.as_deref()?));
                if !permissions.publish_deny.contains(&order) {
                    if held.contains(&Scope::CommandsWrite) {
                        used.insert(Scope::CommandsWrite);
                    } else {
                        permissions.publish_deny.push(order);
                    }
                }
            }
            // Its consumer decides what it reads: it takes what any of them may hold.
            Role::Bot => used.extend([Scope::AlertsRead, Scope::StatusRead]),
            Role::Viewer => {
                let alerts = format!("{}.alert.", self.root);
                let inbox = format!("{}.", user.inbox_prefix);
                let mut may = |subject: &String| {
                    let scope = if subject.starts_with(&alerts) { Scope::AlertsRead } else { Scope::StatusRead };
                    let open = held.contains(&scope);
                    used.extend(open.then_some(scope));
                    open
                };
                permissions.publish.retain(&mut may);
                permissions.subscribe.retain(|subject| subject.starts_with(&inbox) || may(subject));
            }
            Role::Homeostat | Role::Operator | Role::Callout => return None,
        }
        (!used.is_empty() && used.is_subset(held)).then_some((permissions, used))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::accounts::{Profile, Request, Tenant};
    use homeostat_nats::StreamConfig;

    fn guests() -> Guests {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let tenant = Tenant {
            name: String::new(),
            services: names(&["shop", "till", "a.b *>"]),
            orders: names(&["till"]),
            bots: names(&["pager", "shop"]),
            viewers: names(&["screen"]),
        };
        let request = Request {
            profile: Profile::Single,
            root: Root::default(),
            tenants: vec![tenant],
            operators: Vec::new(),
            streams: StreamConfig::default(),
            spare_bytes: 0,
            callout: true,
        };
        Guests::of(&Plan::of(&request).unwrap()).unwrap()
    }

    fn scopes(scopes: &[Scope]) -> BTreeSet<Scope> {
        scopes.iter().copied().collect()
    }

    #[test]
    fn a_key_opens_what_is_its_owners_and_its_scopes_say() {
        let guests = guests();
        let everything = scopes(Scope::ALL);
        let telemetry = scopes(&[Scope::TelemetryWrite]);
        let shop = guests.grant("shop", &telemetry, None).unwrap();
        assert_eq!((shop.account, &shop.scopes), ("app-shop", &telemetry));
        assert!(shop.permissions.publish.iter().all(|subject| subject.ends_with(".shop")));
        // An order takes a plan that allows it, and a scope that does.
        let orders = |owner, held| guests.grant(owner, held, None).unwrap().permissions.publish_deny;
        assert_eq!(orders("shop", &everything), ["homeostat.v1.event.order.shop"]);
        assert_eq!(orders("till", &telemetry), ["homeostat.v1.event.order.till"]);
        assert_eq!(orders("till", &everything), Vec::<String>::new());
        assert_eq!(guests.grant("a.b *>", &telemetry, None).unwrap().account, "app-a=2Eb=20=2A=3E");
        // Nobody else, and nobody without the scope.
        assert_eq!(guests.grant("shop", &scopes(&[Scope::Metrics, Scope::KeysAdmin]), None), None);
        for owner in ["", "*", "shop.x", "homeostat", "callout", "callout-system", "app-shop", "HOMEOSTAT"] {
            assert_eq!(guests.grant(owner, &everything, None), None, "{owner}");
        }
    }

    #[test]
    fn a_name_chooses_among_the_users_of_its_owner_and_no_others() {
        let guests = guests();
        let everything = scopes(Scope::ALL);
        let account = |name| guests.grant("shop", &everything, Some(name)).map(|grant| grant.account);
        assert_eq!(account("shop"), Some("app-shop"));
        assert_eq!(account("bot-shop"), Some("bot-shop"));
        for name in ["till", "app-till", "bot-pager", "homeostat", "callout", ""] {
            assert_eq!(account(name), None, "{name}");
        }
    }

    #[test]
    fn a_viewer_sees_what_its_scopes_say() {
        let guests = guests();
        let of = |held: &[Scope]| guests.grant("screen", &scopes(held), None).map(|grant| grant.permissions);
        let alerts = of(&[Scope::AlertsRead]).unwrap();
        assert_eq!(alerts.subscribe, ["homeostat.v1.alert.>", "_INBOX_viewer-screen.>"]);
        assert_eq!(alerts.publish, Vec::<String>::new());
        let status = of(&[Scope::StatusRead]).unwrap();
        assert_eq!(status.subscribe, ["homeostat.v1.command.>", "homeostat.v1.outcome.>", "_INBOX_viewer-screen.>"]);
        assert_eq!(status.publish.len(), 1);
        assert_eq!(of(&[Scope::TelemetryWrite]), None);
        assert_eq!(guests.grant("pager", &scopes(&[Scope::AlertsRead]), None), None, "its consumer may hold commands");
        assert!(guests.grant("pager", &scopes(&[Scope::AlertsRead, Scope::StatusRead]), None).is_some());
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let guests = guests();
        assert_eq!(serde_json::from_str::<Guests>(&guests.text()).unwrap(), guests);
    }
}
