//! `homeostat keys open` and `keys xkey`: the owner's side of sealed deliveries. Nothing here needs the database, and the secret
//! goes where it is told to and nowhere else.

use super::args::{OpenArgs, XkeyArgs};
use super::out::complain;
use super::{CliError, Context, Finish, bus};
use homeostat_nats::{Reader, ReaderError, ReaderOptions};
use homeostat_schemas::Subject;
use homeostat_schemas::sealed::{Opener, SEALED_MAX, SealedError, SealedKey, Secret, Seen};
use serde_json::json;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Largest file of a seed or of what was seen, bytes.
const FILE_MAX: u64 = 1 << 20;

fn cannot(path: &Path) -> impl Fn(std::io::Error) -> CliError + '_ {
    |error| CliError::new(path.display().to_string()).because(error)
}

/// Makes an xkey: its seed into a new file, its public half to standard output.
///
/// # Errors
/// The file is there already, or cannot be written.
pub fn xkey(context: &mut Context, args: &XkeyArgs) -> Result<Finish, CliError> {
    let (opener, seed) = Opener::draw()?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&args.file).map_err(|error| {
        let taken = error.kind() == ErrorKind::AlreadyExists;
        let error = cannot(&args.file)(error);
        if taken { error.advise("a seed is never overwritten: what was sealed to it could not be opened any more") } else { error }
    })?;
    file.write_all(seed.as_bytes()).and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all()).map_err(cannot(&args.file))?;
    if context.json {
        context.out.json(&json!({ "recipient": opener.public(), "seed": args.file }))?;
    } else {
        context.out.line(opener.public())?;
    }
    Ok(Finish::Fine)
}

/// What one run of `keys open` needs.
struct Desk<'a> {
    opener: Opener,
    seen: Seen,
    state: PathBuf,
    out: Option<&'a Path>,
}

/// Opens deliveries: of a file, or from the bus as they come.
///
/// # Errors
/// No seed, a state that cannot be used, no bus. A delivery that is refused is said, and makes the exit code 1.
pub async fn open(context: &mut Context, args: &OpenArgs) -> Result<Finish, CliError> {
    let seed = Zeroizing::new(private(&args.seed)?);
    let opener = Opener::from_seed(&seed).map_err(|error| CliError::new(args.seed.display().to_string()).because(error))?;
    let state = args.state.clone().unwrap_or_else(|| args.seed.with_added_extension("seen"));
    let mut seen = match private(&state) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| {
            CliError::new(format!("{} is damaged", state.display()))
                .because(error)
                .advise("without it an old delivery cannot be told from a new one")
        })?,
        Err(_) if !state.exists() => Seen::default(),
        Err(error) => return Err(error),
    };
    if let Some(sender) = &args.sender {
        seen.sender = Some(sender.clone());
    }
    let mut desk = Desk { opener, seen, state, out: args.out.as_deref() };
    match (&args.file, &args.service) {
        (Some(file), _) => desk.file(context, file),
        (None, Some(service)) => desk.follow(context, service, args.count).await,
        (None, None) => Err(CliError::new("nothing was named to be opened")),
    }
}

impl Desk<'_> {
    fn file(&mut self, context: &mut Context, path: &Path) -> Result<Finish, CliError> {
        let mut input: Box<dyn std::io::BufRead> = match path.to_str() {
            Some("-") => Box::new(std::io::stdin().lock()),
            _ => Box::new(BufReader::new(File::open(path).map_err(cannot(path))?)),
        };
        let mut finish = Finish::Fine;
        loop {
            let mut line = Vec::new();
            // A line without an end must not fill the memory.
            let read = (&mut input).take(SEALED_MAX as u64 + 1).read_until(b'\n', &mut line).map_err(cannot(path))?;
            if read == 0 {
                return Ok(finish);
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            if let Err(refused) = self.take(context, &line)? {
                complain(&refused.to_string());
                finish = Finish::Failed;
                if line.len() > SEALED_MAX {
                    return Ok(finish);
                }
            }
        }
    }

    async fn follow(&mut self, context: &mut Context, service: &str, count: Option<u64>) -> Result<Finish, CliError> {
        let subject = bus::root(context.config())?.subject(&Subject::Sealed(service.to_owned()));
        let log = bus::log(context).await?;
        let options = ReaderOptions { filters: vec![subject], ..ReaderOptions::default() };
        let mut reader = Reader::open(&log, 1, options).await?;
        let mut left = count.unwrap_or(u64::MAX);
        while left > 0 {
            let entries = match reader.next().await {
                Ok(entries) => entries,
                Err(error @ ReaderError::Overtaken { .. }) => {
                    complain(&error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for entry in entries {
                match self.take(context, &entry.payload)? {
                    Ok(()) => left = left.saturating_sub(1),
                    // The log is read from its beginning; what was taken before is no news.
                    Err(SealedError::Replayed { .. } | SealedError::Foreign(_)) => {}
                    Err(refused) => complain(&refused.to_string()),
                }
                if left == 0 {
                    break;
                }
            }
        }
        Ok(Finish::Fine)
    }

    /// One delivery: the secret goes out before it is noted that it was taken, so that a crash in between loses nothing.
    fn take(&mut self, context: &mut Context, payload: &[u8]) -> Result<Result<(), SealedError>, CliError> {
        let mut next = self.seen.clone();
        let (delivery, secret) = match self.opener.open(payload.trim_ascii(), &mut next) {
            Ok(opened) => opened,
            Err(refused) => return Ok(Err(refused)),
        };
        self.give(context, &delivery, &secret)?;
        let text = serde_json::to_string(&next)?;
        replace(&self.state, text.as_bytes())?;
        self.seen = next;
        Ok(Ok(()))
    }

    fn give(&self, context: &mut Context, delivery: &SealedKey, secret: &Secret) -> Result<(), CliError> {
        if let Some(path) = self.out {
            let text = Zeroizing::new(format!("{}\n", secret.expose()));
            replace(path, text.as_bytes())?;
        }
        let SealedKey { key, version, owner, issued_ms, .. } = delivery;
        match (context.json, self.out) {
            (true, Some(path)) => {
                context.out.json(&json!({ "key": key, "version": version, "owner": owner, "issued_ms": issued_ms, "out": path }))?;
            }
            (true, None) => context
                .out
                .json(&json!({ "key": key, "version": version, "owner": owner, "issued_ms": issued_ms, "secret": secret.expose() }))?,
            (false, Some(path)) => context.out.line(format!("version {version} of key {key} is in {}", path.display()))?,
            (false, None) => context.out.line(secret.expose())?,
        }
        context.out.flush()
    }
}

/// A text file that only its user may read.
fn private(path: &Path) -> Result<String, CliError> {
    let file = File::open(path).map_err(cannot(path))?;
    if file.metadata().map_err(cannot(path))?.permissions().mode() & 0o077 != 0 {
        return Err(CliError::new(format!("{} may be read by others", path.display())).advise("chmod 600 it"));
    }
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(cannot(path))?;
    Ok(text)
}

/// Puts a file in the place of another, whole, readable for its user alone.
fn replace(path: &Path, content: &[u8]) -> Result<(), CliError> {
    crate::private::replace(path, content).map_err(cannot(path))
}
