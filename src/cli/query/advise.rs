//! `homeostat query advise`: what could be better about a statement, and with a database to ask, which indexes its planner would use.

use super::each_line;
use crate::cli::out::complain;
use crate::cli::{CliError, Context, Finish};
use crate::planner::{PlannedIndex, Planner, PlannerConfig, PlannerError};
use homeostat_actors::query::advice::{self, Advice, AdviceKind};
use homeostat_actors::query::family::analyse;
use homeostat_actors::query::index::to_verify;
use homeostat_actors::query::{AdviceStats, advise};
use homeostat_reflexes::sql::{Dialect, Normaliser, UnknownDialect};
use serde::Deserialize;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// How long all questions about one statement may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Rows of a `LIMIT` about which nothing is known.
const LIMIT_ROWS: u64 = 100;

/// One line that is asked.
#[derive(Deserialize)]
struct Asked {
    sql: String,
    #[serde(default)]
    dialect: Option<String>,
    #[serde(default)]
    stats: Option<AdviceStats>,
}

/// Runs the command.
///
/// # Errors
/// The input cannot be read, nobody reads the answer, or the database that was named cannot be asked.
pub async fn run(context: &mut Context, file: &Path, postgres: Option<&str>) -> Result<Finish, CliError> {
    let mut config = context.config().planner.clone();
    if let Some(url) = postgres {
        config = PlannerConfig { url: Some(url.to_owned()), password_file: None, ..config };
    }
    if config.url.is_none() {
        return each_line(context, file, async |line| {
            let (asked, dialect) = read(line, Dialect::Generic)?;
            Ok(json!({ "advice": advise(&asked.sql, dialect, asked.stats.as_ref()) }))
        })
        .await;
    }
    let connected = Planner::connect(&config).await;
    let mut planner = Some(connected.map_err(|why| CliError::new("the planner cannot be asked").because(why))?);
    let mut normaliser = Normaliser::new();
    let finish = each_line(context, file, async |line| {
        let (asked, dialect) = read(line, Dialect::Postgresql)?;
        let mut advice = advise(&asked.sql, dialect, asked.stats.as_ref());
        if dialect != Dialect::Postgresql {
            return Ok(json!({ "advice": advice }));
        }
        if planner.is_none() {
            planner = Planner::connect(&config).await.ok();
        }
        let found = match &mut planner {
            Some(planner) => ask(planner, &mut normaliser, &asked).await,
            None => Err(PlannerError::Away("no connection".to_owned())),
        };
        // An index that no planner was asked about is none here: this answer is to be relied on.
        let had_indexes = advice.iter().any(|advice| advice.kind == AdviceKind::Index);
        advice.retain(|advice| advice.kind != AdviceKind::Index);
        match found {
            Ok(indexes) => {
                advice.splice(0..0, indexes.into_iter().map(verified));
                Ok(json!({ "advice": advice }))
            }
            // Nothing that an index could help.
            Err(PlannerError::NoStatement) if !had_indexes => Ok(json!({ "advice": advice })),
            Err(why) => {
                if !why.is_of_the_statement() {
                    // Whatever state the connection is in, the next statement gets another one.
                    planner = None;
                }
                complain(&format!("no index could be verified: {why}"));
                Ok(json!({ "advice": advice, "planner": why.to_string() }))
            }
        }
    })
    .await;
    if let Some(planner) = planner {
        planner.close().await;
    }
    finish
}

fn read(line: &[u8], otherwise: Dialect) -> Result<(Asked, Dialect), String> {
    let asked: Asked = serde_json::from_slice(line).map_err(|why| format!("not {{sql, dialect, stats}}: {why}"))?;
    let dialect = asked.dialect.as_deref().map_or(Ok(otherwise), str::parse).map_err(|why: UnknownDialect| why.to_string())?;
    Ok((asked, dialect))
}

async fn ask(planner: &mut Planner, normaliser: &mut Normaliser, asked: &Asked) -> Result<Vec<PlannedIndex>, PlannerError> {
    let seen = normaliser.normalise(&asked.sql, Dialect::Postgresql);
    if seen.shape.is_unterminated() {
        return Err(PlannerError::NoStatement);
    }
    let offered = to_verify(&analyse(seen.normal, Dialect::Postgresql), Dialect::Postgresql);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a number of rows
    let rows = asked.stats.as_ref().and_then(|stats| stats.rows_p95).map_or(LIMIT_ROWS, |rows| rows.clamp(1.0, 1e9) as u64);
    tokio::time::timeout(DEADLINE, planner.advise(seen.normal, rows, &offered)).await.map_err(|_| PlannerError::Late)?
}

fn verified(index: PlannedIndex) -> Advice {
    advice::planned(index.candidate(), Dialect::Postgresql, index.cost_ratio, index.partitioned)
}
