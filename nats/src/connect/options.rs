//! From settings to what the client library wants: credentials, transport security, time-outs.

use std::time::Duration;

use async_nats::ConnectOptions;

use super::BusConfig;
use crate::error::BusError;

pub(super) async fn options(config: &BusConfig) -> Result<ConnectOptions, BusError> {
    let unusable = |setting: &'static str, reason: String| BusError::Config { setting, reason };
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .connection_timeout(Duration::from_millis(config.connect_timeout_ms.max(1)))
        .request_timeout(Some(Duration::from_millis(config.request_timeout_ms.max(1))))
        // A half-open connection is noticed after two missed pings.
        .ping_interval(Duration::from_secs(10))
        .reconnect_delay_callback(|attempt| match attempt {
            0 | 1 => Duration::from_millis(20),
            n => Duration::from_millis((25_u64 << n.min(6)).min(1_000)),
        })
        .max_reconnects(None);
    if let Some(file) = &config.credentials_file {
        options = options.credentials_file(file).await.map_err(|e| unusable("credentials_file", format!("{}: {e}", file.display())))?;
    }
    if let Some(file) = &config.nkey_file {
        options = options.nkey(first_line("nkey_file", file).await?);
    }
    let password = match (&config.password, &config.password_file) {
        (Some(_), Some(_)) => {
            return Err(unusable("password_file", "`password` is set, too".to_owned()));
        }
        (Some(password), None) => Some(password.clone()),
        (None, Some(file)) => Some(first_line("password_file", file).await?),
        (None, None) => None,
    };
    match (&config.user, password) {
        (Some(user), password) => {
            options = options.user_and_password(user.clone(), password.unwrap_or_default());
        }
        (None, Some(_)) => return Err(unusable("user", "a password needs a user".to_owned())),
        (None, None) => options = in_url(options, config)?,
    }
    if let Some(token) = &config.token {
        options = options.token(token.clone());
    }
    if let Some(ca) = &config.tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    match (&config.tls.cert, &config.tls.key) {
        (Some(cert), Some(key)) => options = options.add_client_certificate(cert.clone(), key.clone()),
        (None, None) => {}
        _ => return Err(unusable("tls.cert", "`cert` and `key` go together".to_owned())),
    }
    Ok(options.require_tls(config.tls.required))
}

/// `nats://user:password@host`, as NATS users write it: the client library reads the address and leaves the rest.
fn in_url(options: ConnectOptions, config: &BusConfig) -> Result<ConnectOptions, BusError> {
    let unusable = |reason: String| BusError::Config { setting: "url", reason };
    let first = config.url.split(',').next().unwrap_or_default().trim();
    let address: async_nats::ServerAddr = first.parse().map_err(|error: std::io::Error| unusable(error.to_string()))?;
    Ok(match (address.username(), address.password()) {
        (Some(user), Some(password)) => options.user_and_password(user.to_owned(), password.to_owned()),
        (Some(token), None) => options.token(token.to_owned()),
        (None, _) => options,
    })
}

async fn first_line(setting: &'static str, file: &std::path::Path) -> Result<String, BusError> {
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|error| BusError::Config { setting, reason: format!("{}: {error}", file.display()) })?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
