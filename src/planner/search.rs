//! Which of the candidates are worth it: the fewest indexes, with the fewest columns, that save what can be saved.
//!
//! One index after the other: each candidate is tried beside those that were chosen, and the one that saves most is taken as
//! long as it takes the cost down to [`COST_RATIO_MAX`] of what it was before it. Where no single one helps (branches of an `OR` need
//! one each), all are tried together and those that can be left out are.

use super::catalogue::{Table, begins, quoted};
use super::{CANDIDATES_MAX, PlannedIndex, Planner, PlannerError};
use homeostat_actors::query::index::IndexCandidate;
use homeostat_actors::query::plan::{self, PlanCandidate, Statement};
use serde_json::Value;

/// An index must take the planned cost down to this share of it. A column of five even values comes to 0.71 and halves the real
/// time, one of three to 0.75 and may do nothing.
pub const COST_RATIO_MAX: f64 = 0.72;
/// …and save so much, in the planner's units (reading a page in order costs 1).
const SAVED_MIN: f64 = 40.0;
/// Two costs whose difference is a smaller share of the cost before are the same: then the shorter index is taken.
const SAME: f64 = 0.03;
/// Indexes for one statement at most.
const CHOSEN_MAX: usize = 3;

/// A candidate on a table that can have it.
struct Choice {
    index: PlanCandidate,
    table: Table,
}

/// One plan with some hypothetical indexes.
struct Tried {
    cost: f64,
    /// Which of the tried indexes it uses.
    used: Vec<bool>,
}

struct Search<'a> {
    planner: &'a mut Planner,
    statement: &'a Statement,
    types: Vec<&'static str>,
}

/// The indexes that pay for a statement.
pub(super) async fn search(
    planner: &mut Planner,
    statement: &Statement,
    offered: &[IndexCandidate],
) -> Result<Vec<PlannedIndex>, PlannerError> {
    planner.reset().await?;
    let mut search = Search { planner, statement, types: Vec::new() };
    let root = search.planner.plan(statement, &mut search.types).await?;
    let Some(before) = plan::cost(&root) else { return Ok(Vec::new()) };
    if before < SAVED_MIN {
        return Ok(Vec::new());
    }
    let choices = search.choices(&root, offered).await?;
    let (chosen, after) = search.one_by_one(&choices, before).await?;
    let (chosen, after) = if chosen.is_empty() { search.together(&choices, before).await? } else { (chosen, after) };
    let ratio = ((after / before) * 1_000.0).round() / 1_000.0;
    Ok(chosen
        .into_iter()
        .filter_map(|number| choices.get(number))
        .map(|Choice { index, table }| PlannedIndex {
            table: if table.visible { table.name.clone() } else { format!("{}.{}", table.schema, table.name) },
            columns: index.columns.clone(),
            using: "btree".to_owned(),
            cost_ratio: ratio,
            cost_before: before,
            cost_after: after,
            partitioned: table.partitioned,
        })
        .collect())
}

impl Search<'_> {
    /// What could be there and is not: candidates of the plan, then those of the text on a relation of the plan.
    async fn choices(&mut self, root: &Value, offered: &[IndexCandidate]) -> Result<Vec<Choice>, PlannerError> {
        let mut wanted = plan::candidates(root);
        for offer in offered.iter().filter(|offer| offer.using == "btree") {
            let (schema, name) = offer.table.rsplit_once('.').map_or((None, offer.table.as_str()), |(schema, name)| (Some(schema), name));
            let known = wanted.iter().find(|one| one.table == name && schema.is_none_or(|schema| schema == one.schema));
            if let Some(PlanCandidate { schema, table, .. }) = known {
                wanted.push(PlanCandidate { schema: schema.clone(), table: table.clone(), columns: offer.columns.clone() });
            }
        }
        let mut choices: Vec<Choice> = Vec::new();
        for candidate in wanted {
            let Some(table) = self.planner.table(&candidate.schema, &candidate.table).await? else { continue };
            let index = PlanCandidate { schema: table.schema.clone(), table: table.name.clone(), columns: candidate.columns };
            if !table.indexable || choices.len() >= CANDIDATES_MAX || choices.iter().any(|choice| choice.index == index) {
                continue;
            }
            let there = self.planner.indexes(&format!("{}.{}", quoted(&index.schema), quoted(&index.table)), "btree").await?;
            if !there.iter().any(|own| begins(own, &index.columns)) {
                choices.push(Choice { index, table });
            }
        }
        Ok(choices)
    }

    /// The plan with these candidates.
    async fn with(&mut self, choices: &[Choice], numbers: &[usize]) -> Result<Tried, PlannerError> {
        let indexes: Vec<&PlanCandidate> = numbers.iter().filter_map(|number| choices.get(*number)).map(|choice| &choice.index).collect();
        let names = self.planner.pretend(&indexes).await?;
        let root = self.planner.plan(self.statement, &mut self.types).await?;
        let used = plan::used_indexes(&root);
        let used = names.iter().map(|name| name.as_ref().is_some_and(|name| used.contains(name))).collect();
        Ok(Tried { cost: plan::cost(&root).unwrap_or(f64::INFINITY), used })
    }

    async fn one_by_one(&mut self, choices: &[Choice], before: f64) -> Result<(Vec<usize>, f64), PlannerError> {
        let (mut chosen, mut cost): (Vec<usize>, f64) = (Vec::new(), before);
        while chosen.len() < CHOSEN_MAX {
            let mut best: Option<(usize, f64)> = None;
            for number in (0..choices.len()).filter(|number| !chosen.contains(number)) {
                let numbers: Vec<usize> = chosen.iter().copied().chain([number]).collect();
                let tried = self.with(choices, &numbers).await?;
                if tried.used.last() != Some(&true) {
                    continue;
                }
                let better = best.is_none_or(|(other, least)| {
                    let same = (tried.cost - least).abs() <= before * SAME;
                    let columns = |number: usize| choices.get(number).map_or(usize::MAX, |choice| choice.index.columns.len());
                    if same { columns(number) < columns(other) } else { tried.cost < least }
                });
                if better {
                    best = Some((number, tried.cost));
                }
            }
            match best {
                Some((number, with)) if pays(cost, with) => {
                    chosen.push(number);
                    cost = with;
                }
                _ => break,
            }
        }
        Ok((chosen, cost))
    }

    /// All at once, and then without those that can be left out.
    async fn together(&mut self, choices: &[Choice], before: f64) -> Result<(Vec<usize>, f64), PlannerError> {
        let all: Vec<usize> = (0..choices.len()).collect();
        if all.len() < 2 {
            return Ok((Vec::new(), before));
        }
        let tried = self.with(choices, &all).await?;
        if !pays(before, tried.cost) {
            return Ok((Vec::new(), before));
        }
        let mut chosen: Vec<usize> = all.into_iter().zip(&tried.used).filter_map(|(number, used)| used.then_some(number)).collect();
        let mut cost = tried.cost;
        for number in chosen.clone() {
            let rest: Vec<usize> = chosen.iter().copied().filter(|other| *other != number).collect();
            if rest.is_empty() {
                break;
            }
            let without = self.with(choices, &rest).await?;
            if without.cost - cost <= before * SAME {
                chosen = rest;
                cost = without.cost;
            }
        }
        if chosen.len() > CHOSEN_MAX { Ok((Vec::new(), before)) } else { Ok((chosen, cost)) }
    }
}

fn pays(before: f64, with: f64) -> bool {
    with <= before * COST_RATIO_MAX && before - with >= SAVED_MIN
}
