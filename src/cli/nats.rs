//! `homeostat nats render|consumer`: the configuration of a nats-server, and the consumers of bots.

use super::args::{ConsumerArgs, NatsArgs, NatsCommand, Reads, RenderArgs};
use super::out::Tone;
use super::{CliError, Context, Finish, bus, verify};
use crate::accounts::{self, Account, Plan, Profile, Rendered, Request, Role, Tenant, User, conf::Listening};
use homeostat_nats::async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use homeostat_schemas::signature::Signers;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MIB: u64 = 1024 * 1024;
/// How long the server may take to make a consumer.
const WITHIN: Duration = Duration::from_secs(10);

/// Runs the command.
///
/// # Errors
/// See the commands.
pub async fn run(context: &mut Context, args: &NatsArgs) -> Result<Finish, CliError> {
    match &args.command {
        NatsCommand::Render(args) => render(context, args),
        NatsCommand::Consumer(args) => consumer(context, args).await,
    }
}

fn render(context: &mut Context, args: &RenderArgs) -> Result<Finish, CliError> {
    let config = context.config();
    let request = Request {
        profile: args.profile,
        root: bus::root(config)?,
        tenants: tenants(args)?,
        operators: args.operator.clone(),
        streams: config.nats.limits(),
        spare_bytes: args.spare.saturating_mul(MIB),
        callout: args.callout,
    };
    request.streams.check()?;
    let plan = Plan::of(&request)?;
    let signers: Vec<String> = match args.signer.as_slice() {
        [] => verify::trusted(config)?.public().map(str::to_owned).collect(),
        named => named.to_vec(),
    };
    Signers::new(signers.iter().map(String::as_str)).map_err(|why| CliError::new("`--signer` cannot be used").because(why))?;
    if args.show_secrets && !context.json {
        return Err(CliError::new("--show-secrets is for --json only; the files in the folder hold them in any case"));
    }
    let out = absolute(&args.out)?;
    let listening = Listening {
        listen: listen(args)?,
        server_name: args.server_name.clone(),
        store_dir: args.store_dir.as_deref().map_or_else(|| Ok(out.join("jetstream")), absolute)?,
        tls: args.tls_cert.clone().zip(args.tls_key.clone()),
        client_ca: args.tls_client_ca.clone(),
        memory_bytes_max: args.memory.saturating_mul(MIB),
    };
    let rendered = accounts::render(&out, &plan, &listening, &signers, args.rotate)?;
    if context.json {
        let summary = summary(&out, &plan, &rendered, args.show_secrets)?;
        context.out.pretty(&summary)?;
    } else {
        tell(context, &out, &plan, &rendered, signers.is_empty())?;
    }
    Ok(Finish::Fine)
}

/// Beyond loopback, keys and telemetry would be there for everybody on the way.
fn listen(args: &RenderArgs) -> Result<String, CliError> {
    let address: SocketAddr = args.listen.parse().map_err(|why| {
        CliError::new(format!("`{}` is no address to listen on", super::out::plain(&args.listen)))
            .because(why)
            .advise("write 127.0.0.1:4222")
    })?;
    if !address.ip().is_loopback() && args.tls_cert.is_none() && !args.allow_plain {
        return Err(CliError::new(format!("{address} is beyond loopback and there is no TLS"))
            .advise("give --tls-cert and --tls-key, or --allow-plain where the network itself is private"));
    }
    Ok(address.to_string())
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|why| CliError::new(format!("{} cannot be used", path.display())).because(why))
}

/// Who shares the server, from the flags.
fn tenants(args: &RenderArgs) -> Result<Vec<Tenant>, CliError> {
    let misplaced = |flag: &str, profile: &str| Err(CliError::new(format!("`{flag}` has no place in the profile `{profile}`")));
    let named = [&args.orders, &args.bot, &args.viewer].iter().any(|names| !names.is_empty());
    match args.profile {
        Profile::Development if named || !args.service.is_empty() || !args.tenant.is_empty() || !args.operator.is_empty() => {
            misplaced("--service, --tenant, --orders, --bot, --viewer, --operator", "development")
        }
        Profile::Development => Ok(Vec::new()),
        Profile::Single if !args.tenant.is_empty() || !args.operator.is_empty() => misplaced("--tenant, --operator", "single"),
        Profile::Single => Ok(vec![Tenant {
            name: String::new(),
            services: args.service.clone(),
            orders: args.orders.clone(),
            bots: args.bot.clone(),
            viewers: args.viewer.clone(),
        }]),
        Profile::Tenants if !args.service.is_empty() => misplaced("--service", "tenants"),
        Profile::Tenants => {
            let mut tenants: Vec<Tenant> = args
                .tenant
                .iter()
                .map(|(name, services)| Tenant { name: name.clone(), services: services.clone(), ..Tenant::default() })
                .collect();
            type Place = fn(&mut Tenant) -> &mut Vec<String>;
            let places: [(&Vec<String>, Place); 3] = [
                (&args.orders, |tenant| &mut tenant.orders),
                (&args.bot, |tenant| &mut tenant.bots),
                (&args.viewer, |tenant| &mut tenant.viewers),
            ];
            for (names, place) in places {
                for text in names {
                    let of = text
                        .split_once('/')
                        .and_then(|(tenant, name)| Some((tenants.iter_mut().find(|known| known.name == tenant)?, name)));
                    let Some((tenant, name)) = of else {
                        return Err(CliError::new(format!("`{}` names no tenant", super::out::plain(text))).advise("write TENANT/NAME"));
                    };
                    place(tenant).push(name.to_owned());
                }
            }
            Ok(tenants)
        }
    }
}

/// Who may do what, for machines.
fn summary(out: &Path, plan: &Plan, rendered: &Rendered, secrets: bool) -> Result<Value, CliError> {
    let mut users = Vec::new();
    for (account, user) in plan.users() {
        let credentials = accounts::files::credential(out, &user.name);
        let mut one = serde_json::to_value(user).map_err(|why| CliError::new("the summary cannot be written").because(why))?;
        one["account"] = json!(account.name);
        one["public_key"] = json!(rendered.keys.get(&user.name));
        one["credentials"] = json!(credentials);
        if user.role != Role::Callout {
            one["environment"] = json!(out.join("environment").join(format!("{}.env", user.name)));
        }
        one["new_key"] = json!(rendered.made.contains(&user.name));
        if secrets {
            let seed =
                std::fs::read_to_string(&credentials).map_err(|why| CliError::new(credentials.display().to_string()).because(why))?;
            one["seed"] = json!(seed.trim());
        }
        users.push(one);
    }
    let accounts = plan.accounts.iter().map(|Account { name, disk_bytes_max, exports, imports, .. }| {
        json!({ "name": name, "jetstream": disk_bytes_max.is_some(), "disk_bytes_max": disk_bytes_max, "exports": exports, "imports": imports })
    });
    Ok(json!({
        "profile": plan.profile,
        "root": plan.root,
        "conf": rendered.conf,
        "accounts": accounts.collect::<Vec<_>>(),
        "users": users,
    }))
}

fn tell(context: &mut Context, out: &Path, plan: &Plan, rendered: &Rendered, nobody_signs: bool) -> Result<(), CliError> {
    let to = &mut context.out;
    to.line(format!("{}   run it: nats-server -c {0}", rendered.conf.display()))?;
    for account in &plan.accounts {
        let name = to.paint(Tone::Strong, &account.name);
        to.line(format!("\naccount {name}{}", if account.disk_bytes_max.is_some() { "  (the log)" } else { "" }))?;
        for user in &account.users {
            let new = if rendered.made.contains(&user.name) { "  new key" } else { "" };
            to.line(format!("  {:<24} {}{new}", user.name, words(user)))?;
            let Some(permissions) = &user.permissions else { continue };
            for (word, subjects) in
                [("publishes", &permissions.publish), ("but not", &permissions.publish_deny), ("subscribes", &permissions.subscribe)]
            {
                subjects.iter().try_for_each(|subject| to.line(format!("    {word:<10} {subject}")))?;
            }
        }
    }
    to.line(format!(
        "\nkeys (mode 0600) in {}, what each program has to be told in {}",
        out.join("credentials").display(),
        out.join("environment").display()
    ))?;
    if plan.users().any(|(_, user)| user.role == Role::Callout) {
        to.line(format!("API keys get in, too, where `homeostat up` has `nats.callout_dir = {:?}`", out.display().to_string()))?;
    }
    if nobody_signs {
        to.line("no signer is known: applications carry out no command until HOMEOSTAT_CLIENT_TRUSTED_SIGNERS names the key that `homeostat up` prints")?;
    }
    Ok(())
}

fn words(user: &User) -> String {
    match user.role {
        Role::Homeostat => "Homeostat itself and its commands: everything in this account".to_owned(),
        Role::Application => user
            .service
            .as_deref()
            .map_or("any application".to_owned(), |service| format!("applications of {}", super::out::plain(service))),
        Role::Bot => format!("reads from the consumer {}", user.consumer.as_deref().unwrap_or_default()),
        Role::Viewer => "looks on".to_owned(),
        Role::Operator => "sees the alerts of all tenants".to_owned(),
        Role::Callout => "Homeostat, where it lets in the holders of API keys".to_owned(),
    }
}

async fn consumer(context: &mut Context, args: &ConsumerArgs) -> Result<Finish, CliError> {
    let root = bus::root(context.config())?;
    let bus = bus::connect(context).await?;
    let name = format!("bot_{}", args.bot);
    let config = pull::Config {
        durable_name: Some(name.clone()),
        description: Some("made by `homeostat nats consumer`".to_owned()),
        deliver_policy: if args.from_start { DeliverPolicy::All } else { DeliverPolicy::New },
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(60),
        max_deliver: 10,
        max_ack_pending: 256,
        max_batch: 256,
        max_waiting: 16,
        filter_subjects: args.read.iter().map(|read| format!("{root}.{}.>", kind(*read))).collect(),
        ..pull::Config::default()
    };
    let stream = bus.names().archive.clone();
    let made = tokio::time::timeout(WITHIN, bus.jetstream().create_consumer_on_stream(config, stream.clone())).await;
    made.map_err(|_| CliError::new("the bus does not answer"))?.map_err(|why| CliError::new(format!("no consumer {name}")).because(why))?;
    if context.json {
        context.out.json(&json!({ "stream": stream, "consumer": name }))?;
    } else {
        context.out.line(format!("consumer {name} on {stream}"))?;
    }
    Ok(Finish::Fine)
}

const fn kind(reads: Reads) -> &'static str {
    match reads {
        Reads::Alerts => "alert",
        Reads::Commands => "command",
        Reads::Outcomes => "outcome",
    }
}
