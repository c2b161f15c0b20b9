//! `homeostat completions SHELL` and the man page: both from the one definition of the command line.

use super::args::{Cli, CompletionsArgs};
use super::{CliError, Finish, Out};
use clap::CommandFactory as _;
use std::io::Write as _;

/// Prints the completions of a shell.
///
/// # Errors
/// Nobody reads any more.
pub fn completions(out: &mut Out, args: &CompletionsArgs) -> Result<Finish, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "homeostat", &mut script);
    out.write_all(&script)?;
    out.flush()?;
    Ok(Finish::Fine)
}

/// Prints the man page: the program, then every command.
///
/// # Errors
/// Nobody reads any more.
pub fn man(out: &mut Out) -> Result<Finish, CliError> {
    let mut page = Vec::new();
    let command = Cli::command();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let sub = sub.clone().bin_name(format!("homeostat {}", sub.get_name()));
        let man = clap_mangen::Man::new(sub);
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    out.write_all(&page)?;
    out.flush()?;
    Ok(Finish::Fine)
}
