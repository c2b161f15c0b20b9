//! A plan as the configuration of nats-server. Users are nkeys: what stands here are public keys, and no secret.

use super::callout;
use super::plan::{Account, Permissions, Plan, Share, User};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// How the server listens and stores.
#[derive(Debug, Clone)]
pub struct Listening {
    /// `address:port`
    pub listen: String,
    /// The server's name.
    pub server_name: String,
    /// Where streams are stored.
    pub store_dir: PathBuf,
    /// Certificate and key of the server, PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Clients show a certificate of this authority, PEM.
    pub client_ca: Option<PathBuf>,
    /// Streams in memory, bytes, of each account with a log.
    pub memory_bytes_max: u64,
}

/// The configuration. `keys` has the public key of every user by its name.
#[must_use]
pub fn text(plan: &Plan, listening: &Listening, keys: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut out, plan, listening, keys);
    out
}

fn write(out: &mut String, plan: &Plan, listening: &Listening, keys: &BTreeMap<String, String>) -> std::fmt::Result {
    let logs = plan.accounts.iter().filter(|account| account.disk_bytes_max.is_some()).count() as u64;
    let disk = plan.accounts.iter().filter_map(|account| account.disk_bytes_max).fold(0, u64::saturating_add);
    writeln!(out, "# nats-server for Homeostat, written by `homeostat nats render`: change what it was called with, and write it anew.")?;
    writeln!(out, "# The keys of the users are beside this file; nothing in it is secret.\n")?;
    writeln!(out, "server_name: {}", quoted(&listening.server_name))?;
    writeln!(out, "listen: {}\n", quoted(&listening.listen))?;
    if let Some((certificate, key)) = &listening.tls {
        writeln!(out, "tls {{")?;
        writeln!(out, "  cert_file: {}", quoted(&certificate.display().to_string()))?;
        writeln!(out, "  key_file: {}", quoted(&key.display().to_string()))?;
        if let Some(authority) = &listening.client_ca {
            writeln!(out, "  ca_file: {}\n  verify: true", quoted(&authority.display().to_string()))?;
        }
        writeln!(out, "  timeout: 3\n}}\n")?;
    }
    writeln!(out, "jetstream {{")?;
    writeln!(out, "  store_dir: {}", quoted(&listening.store_dir.display().to_string()))?;
    writeln!(out, "  # What the accounts below may use, together.")?;
    writeln!(out, "  max_file_store: {disk}\n  max_memory_store: {}", listening.memory_bytes_max.saturating_mul(logs))?;
    writeln!(out, "  # A power cut can lose what came within this interval.\n  sync_interval: \"1s\"\n}}\n")?;
    writeln!(out, "max_payload: 1048576\nmax_control_line: 4096")?;
    writeln!(out, "# A client that stops reading is cut off instead of filling memory.\nmax_pending: 67108864\nwrite_deadline: \"10s\"")?;
    writeln!(out, "ping_interval: \"20s\"\nping_max: 2\nmax_connections: 4096\nmax_subscriptions: 4096\n")?;
    authorization(out, plan, keys)?;
    writeln!(out, "# Nobody answers by permission (`allow_responses`): whoever names a reply chooses where the answer goes.")?;
    writeln!(out, "accounts {{")?;
    for one in &plan.accounts {
        account(out, one, listening, keys)?;
    }
    if !plan.accounts.iter().any(|account| account.name == callout::SYSTEM_ACCOUNT) {
        writeln!(out, "  # Nobody connects here.\n  {} {{ users: [] }}", callout::SYSTEM_ACCOUNT)?;
    }
    writeln!(out, "}}\nsystem_account: {}", callout::SYSTEM_ACCOUNT)
}

/// How long a log-in may take, and who is asked about those whom the server does not know.
fn authorization(out: &mut String, plan: &Plan, keys: &BTreeMap<String, String>) -> std::fmt::Result {
    let (Some(issuer), Some(xkey)) = (keys.get(callout::ISSUER), keys.get(callout::XKEY)) else {
        return writeln!(out, "authorization {{ timeout: 2 }}\n");
    };
    writeln!(out, "authorization {{\n  timeout: 2")?;
    writeln!(out, "  # Whoever has no key of this file is let in or not by Homeostat, by the API key that he shows.\n  auth_callout {{")?;
    writeln!(out, "    issuer: {issuer}\n    xkey: {xkey}\n    account: {}\n    auth_users: [", callout::ACCOUNT)?;
    for (_, user) in plan.users() {
        writeln!(out, "      {}", keys.get(&user.name).map(String::as_str).unwrap_or_default())?;
    }
    writeln!(out, "    ]\n  }}\n}}\n")
}

fn account(out: &mut String, account: &Account, listening: &Listening, keys: &BTreeMap<String, String>) -> std::fmt::Result {
    writeln!(out, "  {} {{", quoted(&account.name))?;
    if let Some(disk) = account.disk_bytes_max {
        let memory = listening.memory_bytes_max;
        writeln!(out, "    jetstream {{ max_file: {disk}, max_mem: {memory}, max_streams: 32, max_consumers: 1024 }}")?;
    }
    writeln!(out, "    users: [")?;
    for one in &account.users {
        user(out, one, keys.get(&one.name).map(String::as_str).unwrap_or_default())?;
    }
    writeln!(out, "    ]")?;
    // What is shared with several accounts is one export.
    let mut offers: BTreeMap<(&str, &str, bool), Vec<String>> = BTreeMap::new();
    for share in &account.exports {
        offers.entry((kind(share), &share.subject, share.many)).or_default().push(share.account.clone());
    }
    lines(
        out,
        "exports",
        offers.into_iter().map(|((kind, subject, many), accounts)| {
            let many = if many { ", response_type: \"stream\"" } else { "" };
            format!("{{ {kind}: {}, accounts: {}{many} }}", quoted(subject), list(&accounts))
        }),
    )?;
    lines(
        out,
        "imports",
        account.imports.iter().map(|share| {
            let prefix = share.prefix.as_deref().map(|prefix| format!(", prefix: {}", quoted(prefix))).unwrap_or_default();
            format!("{{ {}: {{ account: {}, subject: {} }}{prefix} }}", kind(share), quoted(&share.account), quoted(&share.subject))
        }),
    )?;
    writeln!(out, "  }}")
}

const fn kind(share: &Share) -> &'static str {
    if share.service { "service" } else { "stream" }
}

fn lines(out: &mut String, name: &str, lines: impl ExactSizeIterator<Item = String>) -> std::fmt::Result {
    if lines.len() == 0 {
        return Ok(());
    }
    writeln!(out, "    {name}: [")?;
    for line in lines {
        writeln!(out, "      {line}")?;
    }
    writeln!(out, "    ]")
}

fn user(out: &mut String, user: &User, key: &str) -> std::fmt::Result {
    writeln!(out, "      # {}", user.name)?;
    let Some(Permissions { publish, publish_deny, subscribe }) = &user.permissions else {
        return writeln!(out, "      {{ nkey: {key} }}");
    };
    writeln!(out, "      {{ nkey: {key}, permissions: {{")?;
    // An empty list of what is allowed would allow everything.
    let mut lists = Vec::new();
    if publish.is_empty() {
        lists.push(format!("deny: {}", list(&[">".to_owned()])));
    } else {
        lists.push(format!("allow: {}", list(publish)));
        if !publish_deny.is_empty() {
            lists.push(format!("deny: {}", list(publish_deny)));
        }
    }
    writeln!(out, "        publish: {{ {} }}", lists.join(", "))?;
    writeln!(out, "        subscribe: {{ allow: {} }}", list(subscribe))?;
    writeln!(out, "      }} }}")
}

fn list(subjects: &[String]) -> String {
    format!("[{}]", subjects.iter().map(|subject| quoted(subject)).collect::<Vec<_>>().join(", "))
}

fn quoted(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}
