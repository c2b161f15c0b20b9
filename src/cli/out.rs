//! Where a command's answer goes: standard output, coloured for people only.

use super::CliError;
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, Write};

/// Standard output, buffered.
pub struct Out {
    to: BufWriter<io::Stdout>,
    colour: bool,
}

/// What a word is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Ended well.
    Good,
    /// Someone should look.
    Warning,
    /// Someone should look now.
    Bad,
    /// Beside the point.
    Faint,
    /// To the point.
    Strong,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        }
    }
}

impl Out {
    /// Standard output; colours only on a terminal that has them, and not against `NO_COLOR`.
    #[must_use]
    pub fn stdout() -> Out {
        let wanted = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Out { to: BufWriter::with_capacity(64 * 1024, io::stdout()), colour: io::stdout().is_terminal() && !wanted("NO_COLOR") && !dumb }
    }

    /// One line.
    ///
    /// # Errors
    /// Nobody reads any more, or the disk is full.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.to.write_all(text.as_ref().as_bytes())?;
        self.to.write_all(b"\n")?;
        Ok(())
    }

    /// One value as a line of JSON.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer(&mut self.to, value).map_err(io::Error::from)?;
        self.to.write_all(b"\n")?;
        Ok(())
    }

    /// One value as JSON over several lines.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn pretty(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer_pretty(&mut self.to, value).map_err(io::Error::from)?;
        self.to.write_all(b"\n")?;
        Ok(())
    }

    /// What was written is seen now.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.to.flush()?)
    }

    /// A text in the colour of its tone, where there are colours.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", tone.code()) } else { text.to_owned() }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A word about the command on standard error. That nobody reads that is no reason to stop.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "homeostat: {text}");
}

/// Text of a foreign hand without what would move the cursor or change colours; a line stays a line.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A count with its noun: `1 event`, `2 events`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
