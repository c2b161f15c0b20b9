//! What this machine offers: the server's binary, a place to write, disk, files, a port.

use super::{Finding, bytes};
use crate::config::Config;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::{TcpListener, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fewer open files than this are not enough under load: connections of the gateway, the bus, the database.
const FILES_MIN: u64 = 4_096;

/// What a finding about the embedded server's binary is called.
pub(super) const SERVER: &str = "nats-server";

/// The embedded server's binary, and its version.
pub(super) fn server(config: &Config) -> Finding {
    const NAME: &str = SERVER;
    if let Some(url) = &config.nats.url {
        return Finding::ok(NAME, format!("not needed: the bus is {}", crate::config::show::without_password(url)));
    }
    let Some(binary) = find(config) else {
        return Finding::fail(
            NAME,
            "not found",
            format!("install it with `{}`, or name a running one with --nats URL", homeostat_nats::embedded::INSTALL_COMMAND),
        );
    };
    let said = Command::new(&binary).arg("--version").output();
    match said {
        Ok(output) if output.status.success() => {
            Finding::ok(NAME, format!("{} ({})", String::from_utf8_lossy(&output.stdout).trim(), binary.display()))
        }
        Ok(output) => Finding::fail(NAME, format!("{} does not run: {}", binary.display(), output.status), "install another one"),
        Err(why) => Finding::fail(NAME, format!("{} does not run: {why}", binary.display()), "install another one"),
    }
}

/// Where the embedded server looks, in its order.
fn find(config: &Config) -> Option<PathBuf> {
    let embedded = &config.nats.embedded;
    if let Some(binary) = &embedded.binary {
        return Some(binary.clone()).filter(|binary| binary.exists());
    }
    let named = |dir: PathBuf| {
        let binary = dir.join("nats-server");
        binary.is_file().then_some(binary)
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let executable = std::env::current_exe().ok();
    let tools = embedded.tools_dir.clone().into_iter().chain([PathBuf::from(".tools")]);
    let above = executable.iter().flat_map(|exe| exe.ancestors().skip(1)).flat_map(|dir| [dir.to_owned(), dir.join(".tools")]);
    std::env::split_paths(OsStr::new(&path)).chain(tools).chain(above).find_map(|dir| named(dir.clone()).or_else(|| named(dir.join("bin"))))
}

/// A directory that is there, or the one in which it would be made.
fn existing(path: &Path) -> &Path {
    let parent = path.ancestors().find(|dir| dir.exists());
    parent.filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// May the data directory be written to?
pub(super) fn data_dir(config: &Config) -> Finding {
    const NAME: &str = "data dir";
    let dir = existing(&config.data_dir);
    let shown = config.data_dir.display();
    match rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        Ok(()) if dir == config.data_dir => Finding::ok(NAME, format!("{shown}")),
        Ok(()) => Finding::ok(NAME, format!("{shown} will be made by `homeostat up`")),
        Err(why) => Finding::fail(
            NAME,
            format!("{shown} cannot be written to: {why}"),
            "give this user the right to, or choose another with --data-dir",
        ),
    }
}

/// Is there room for what the streams may grow to?
pub(super) fn disk(config: &Config) -> Finding {
    const NAME: &str = "disk";
    let stat = match rustix::fs::statvfs(existing(&config.data_dir)) {
        Ok(stat) => stat,
        Err(why) => return Finding::warn(NAME, format!("free space is not known: {why}"), "see for yourself"),
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if config.nats.url.is_some() {
        return Finding::ok(NAME, format!("{} free (the streams are on the bus's own disk)", bytes(free)));
    }
    let stream = &config.nats.stream;
    let most = stream
        .max_bytes
        .saturating_add(stream.archive_max_bytes)
        .saturating_add(stream.state_max_bytes)
        .saturating_add(stream.checkpoints_max_bytes)
        .saturating_add(stream.ledger_max_bytes);
    let seen = format!("{} free, streams may grow to {}", bytes(free), bytes(most));
    if free < most / 10 {
        Finding::fail(NAME, seen, "make room, or lower `nats.stream.max_bytes`")
    } else if free < most {
        Finding::warn(NAME, seen, "lower `nats.stream.max_bytes`, or make room before it is needed")
    } else {
        Finding::ok(NAME, seen)
    }
}

/// May enough files be open?
pub(super) fn files() -> Finding {
    const NAME: &str = "open files";
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    match line.and_then(|line| line.split_whitespace().next()) {
        Some("unlimited") => Finding::ok(NAME, "no limit"),
        Some(number) => match number.parse::<u64>() {
            Ok(limit) if limit < FILES_MIN => Finding::warn(
                NAME,
                format!("at most {limit}"),
                format!("allow {FILES_MIN}: `ulimit -n {FILES_MIN}`, or LimitNOFILE= in a systemd unit"),
            ),
            Ok(limit) => Finding::ok(NAME, format!("at most {limit}")),
            Err(_) => Finding::ok(NAME, "the limit is not known"),
        },
        None => Finding::ok(NAME, "the limit is not known"),
    }
}

/// Is the gateway's port free, or ours?
pub(super) fn listen(config: &Config, running: bool) -> Finding {
    const NAME: &str = "port";
    let listen = &config.gateway.listen;
    let Some(address) = listen.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()) else {
        return Finding::fail(NAME, format!("`{listen}` is no address"), "set `gateway.listen` to ADDRESS:PORT");
    };
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(NAME, format!("{listen} is free")),
        Err(why) if why.kind() == ErrorKind::AddrInUse && running => Finding::ok(NAME, format!("{listen} is in use by the running system")),
        Err(why) => Finding::fail(NAME, format!("{listen}: {why}"), "stop who holds it, or choose another with --listen"),
    }
}
