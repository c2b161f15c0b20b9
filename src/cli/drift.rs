//! `homeostat drift …`: two files of samples compared as the drift mind does it, and baselines from history.

pub mod table;

use super::args::{DriftArgs, DriftCommand};
use super::out::{Tone, complain, count};
use super::publish::packer::Packer;
use super::{CliError, Context, Finish, bus};
use crate::clock::now_ms;
use homeostat_actors::drift::{DriftConfig, DriftCore, Effort, Evidence, GIVE_BASELINE, Given, Kind, Verdict, compare, judge};
use homeostat_schemas::event::{Order, SampleValue};
use homeostat_schemas::{Event, TraceContext, UnixMs, time};
use serde_json::{Value, json};
use std::time::Duration;
use table::{Column, Table};

/// Runs the command.
///
/// # Errors
/// A file cannot be read or holds no samples, or the bus is away.
pub async fn run(context: &mut Context, args: &DriftArgs) -> Result<Finish, CliError> {
    let config = context.config().actors.of::<DriftCore>()?.config;
    match &args.command {
        DriftCommand::Compare { baseline, current, features, check } => {
            if baseline == current && baseline.as_os_str() == "-" {
                return Err(CliError::new("standard input can be one of the two files only"));
            }
            let (mut baseline, mut current) = (Table::read(baseline)?, Table::read(current)?);
            Table::align(&mut baseline, &mut current);
            let rows = rows(baseline, current, features, &config)?;
            print(context, &rows)?;
            Ok(if *check && rows.iter().any(|row| row.verdict.is_drift()) { Finish::Found } else { Finish::Fine })
        }
        DriftCommand::Baseline { file, service, model, features, time, by, print } => {
            let table = Table::read(file)?;
            let orders = orders(&table, service, model, features, time.as_deref(), by, &config)?;
            if *print {
                for order in orders {
                    context.out.json(&Event::from(order))?;
                }
                return Ok(Finish::Fine);
            }
            give(context, orders).await
        }
    }
}

/// What is said of one feature.
struct Row {
    feature: String,
    evidence: Evidence,
    verdict: Verdict,
    /// Why there is nothing to compare, when a side has no such column.
    note: Option<&'static str>,
}

fn rows(baseline: Table, current: Table, features: &[String], config: &DriftConfig) -> Result<Vec<Row>, CliError> {
    let mut names: Vec<String> = baseline.columns.iter().map(|column| column.name.clone()).collect();
    names.extend(current.columns.iter().map(|column| column.name.clone()).filter(|name| !baseline.has(name)));
    if let Some(missing) = features.iter().find(|feature| !names.contains(feature)) {
        return Err(CliError::new(format!("neither file has a column `{missing}`")).advise(format!("there are: {}", names.join(", "))));
    }
    names.retain(|name| features.is_empty() || features.contains(name));
    let mut rows: Vec<Row> = Vec::new();
    for name in names {
        let (before, now) = (baseline.column(&name), current.column(&name));
        let kind = before.or(now).map_or(Kind::Number, Column::kind);
        let sample = |column: Option<&Column>| column.map(|column| column.sample(kind)).unwrap_or_default();
        let note = match (before, now) {
            (Some(_), None) => Some("only in the baseline"),
            (None, Some(_)) => Some("only in the current file"),
            _ => None,
        };
        if let Some(note) = note {
            complain(&format!("column `{name}` is {note}"));
        }
        let evidence = compare(kind, &mut sample(before), &mut sample(now), Effort::FULL);
        rows.push(Row { feature: name, evidence, verdict: Verdict::Insufficient, note });
    }
    let evidence: Vec<Evidence> = rows.iter().map(|row| row.evidence.clone()).collect();
    for (row, verdict) in rows.iter_mut().zip(judge(config, &evidence, None, config.q)) {
        row.verdict = verdict;
    }
    Ok(rows)
}

fn print(context: &mut Context, rows: &[Row]) -> Result<(), CliError> {
    if context.json {
        return rows.iter().try_for_each(|row| context.out.json(&json_of(row)));
    }
    let number = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    let chance = |value: Option<f64>| value.map_or("-".to_owned(), |p| if p >= 0.001 { format!("{p:.3}") } else { format!("{p:.0e}") });
    let mut lines =
        vec![["feature", "baseline", "current", "PSI", "adjusted", "p", "K-S D", "p", "chi2 p", "odd", "verdict"].map(str::to_owned)];
    for Row { feature, evidence, verdict, .. } in rows {
        lines.push([
            super::out::plain(feature),
            evidence.n_baseline.to_string(),
            evidence.n_current.to_string(),
            number(evidence.psi.map(|psi| psi.value), 4),
            number(evidence.psi.map(|psi| psi.adjusted), 4),
            chance(evidence.psi.map(|psi| psi.p)),
            number(evidence.ks.map(|ks| ks.d), 4),
            chance(evidence.ks.map(|ks| ks.p)),
            chance(evidence.chi2.map(|chi2| chi2.p)),
            format!("{:.1} %", 100.0 * evidence.odd.current),
            verdict.name().to_owned(),
        ]);
    }
    let widths: Vec<usize> = (0..11).map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0)).collect();
    for (i, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            let space = " ".repeat(width - cell.chars().count());
            match at {
                0 => format!("{cell}{space}"),
                10 => cell.clone(),
                _ => format!("{space}{cell}"),
            }
        });
        let text = cells.collect::<Vec<_>>().join("  ");
        let tone = match rows.get(i.wrapping_sub(1)).map(|row| row.verdict) {
            None => Tone::Strong,
            Some(Verdict::None) => Tone::Good,
            Some(Verdict::Insufficient) => Tone::Faint,
            Some(Verdict::Noticeable | Verdict::Moderate) => Tone::Warning,
            Some(Verdict::Significant | Verdict::Critical) => Tone::Bad,
        };
        let text = context.out.paint(tone, text.trim_end());
        context.out.line(text)?;
    }
    Ok(())
}

fn json_of(Row { feature, evidence, verdict, note }: &Row) -> Value {
    let mut row = json!({
        "feature": feature,
        "kind": evidence.kind,
        "n_baseline": evidence.n_baseline,
        "n_current": evidence.n_current,
        "used_baseline": evidence.used.0,
        "used_current": evidence.used.1,
        "ks": evidence.ks,
        "psi": evidence.psi,
        "chi2": evidence.chi2,
        "odd": evidence.odd,
        "p": evidence.p(),
        "verdict": verdict,
    });
    if let Some(note) = note {
        row["note"] = json!(note);
    }
    row
}

/// One order a feature.
fn orders(
    table: &Table,
    service: &str,
    model: &str,
    features: &[String],
    time_column: Option<&str>,
    by: &str,
    config: &DriftConfig,
) -> Result<Vec<Order>, CliError> {
    let at = time_column.map(|name| times(table, name)).transpose()?;
    if let Some(missing) = features.iter().find(|feature| !table.has(feature)) {
        return Err(CliError::new(format!("there is no column `{missing}`")));
    }
    let wanted = |column: &&Column| Some(column.name.as_str()) != time_column && (features.is_empty() || features.contains(&column.name));
    let mut orders = Vec::new();
    for column in table.columns.iter().filter(wanted) {
        let kind = column.kind();
        let values: Vec<SampleValue> = column.values(kind);
        let Some(given) = Given::new(&column.name, &values, at.as_deref(), config) else {
            complain(&format!("column `{}` has no value to make a baseline of", column.name));
            continue;
        };
        let windows = if at.is_some() { format!(" in {} windows", given.windows()) } else { String::new() };
        complain(&format!("{}: {} values{windows}", column.name, given.values()));
        orders.push(Order {
            service: service.to_owned(),
            at_ms: now_ms(),
            action: GIVE_BASELINE.to_owned(),
            target: model.to_owned(),
            args: serde_json::to_value(&given)?,
            by: by.to_owned(),
            ..Order::default()
        });
    }
    if orders.is_empty() {
        return Err(CliError::new("there is no feature to make a baseline of"));
    }
    Ok(orders)
}

/// The time of every row.
fn times(table: &Table, name: &str) -> Result<Vec<UnixMs>, CliError> {
    let column = table.column(name).ok_or_else(|| CliError::new(format!("there is no column `{name}`")))?;
    let read = |(row, cell): (usize, &str)| {
        // Minutes without seconds are common in exports.
        time::parse(cell)
            .or_else(|error| time::parse(&format!("{cell}:00")).map_err(|_| error))
            .map_err(|why| CliError::new(format!("row {}: {why}", row + 1)))
    };
    column.cells().enumerate().map(read).collect()
}

async fn give(context: &mut Context, orders: Vec<Order>) -> Result<Finish, CliError> {
    let log = bus::log_within(context, Duration::ZERO).await?;
    let mut packer = Packer::new(bus::root(context.config())?, TraceContext::default());
    let total = orders.len() as u64;
    for order in orders {
        let feature = order.args["feature"].as_str().unwrap_or_default().to_owned();
        if !packer.push(&order.into())? {
            return Err(CliError::new(format!("the baseline of `{feature}` is larger than a message can be")));
        }
    }
    packer.close()?;
    for (message, _) in packer.take() {
        log.append(message).await?;
    }
    log.bus().close().await?;
    if context.json {
        context.out.json(&json!({ "baselines": total }))?;
    } else {
        context.out.line(format!("{} sent; `GET /api/v1/drift` shows them", count(total, "baseline")))?;
    }
    Ok(Finish::Fine)
}
