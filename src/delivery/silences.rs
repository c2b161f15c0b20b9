//! Silences in Alertmanager's own words (API v2). To withhold an alert from it would look to it as if the alert had ended, and it would
//! say so; what it is told to silence stays visible there, and nobody is notified.
//!
//! A silence of Homeostat's, and the next opening of a window, is one silence there, and so is an acknowledged incident, by its labels,
//! for as long as it is open: it is not notified of again. Their comments end in a mark by which they are found again, whichever
//! process made them. What people made in Alertmanager itself is left alone.

use super::{Post, place};
use homeostat_actors::status::Said;
use homeostat_schemas::silence::{Matcher, Operator};
use homeostat_schemas::time::{parse, rfc3339};
use homeostat_schemas::{Alert, Rule, UnixMs};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The silence of an acknowledged incident ends so far ahead, and is moved on when half of that has gone: Homeostat may be away for as
/// long.
const ACKNOWLEDGED_MS: UnixMs = 2 * homeostat_schemas::time::DAY;
/// Ends that differ by less are the same.
const SAME_MS: UnixMs = 1_000;
/// Largest answer that is read.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A silence as Alertmanager should have it.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    matchers: Vec<Matcher>,
    from_ms: UnixMs,
    to_ms: UnixMs,
    /// Ends that may be earlier than `to_ms` by so much, before they are moved.
    slack_ms: UnixMs,
    by: String,
    reason: String,
}

/// One that it has.
struct There {
    id: String,
    to_ms: UnixMs,
    matchers: BTreeSet<String>,
}

/// What keeps Alertmanager's silences those of the log.
#[derive(Default)]
pub(super) struct Silences {
    /// The marks and ends of which Alertmanager is known to have heard.
    told: BTreeMap<String, (UnixMs, Vec<Matcher>)>,
    /// The member of the cluster that is told, counted on from the first.
    member: usize,
    /// Those that it will not have.
    refused: BTreeSet<String>,
}

impl Silences {
    /// Has anything changed since Alertmanager was told?
    pub(super) fn changed(&self, post: &Post, said: &Said) -> bool {
        let wanted = wanted(post, said);
        wanted.len() != self.told.len()
            || wanted.iter().any(|(mark, wanted)| {
                self.told.get(mark).is_none_or(|(to, matchers)| {
                    to.saturating_add(wanted.slack_ms.max(SAME_MS)) < wanted.to_ms
                        || *to > wanted.to_ms + SAME_MS
                        || *matchers != wanted.matchers
                })
            })
    }

    /// Makes, moves and ends silences at one member of the cluster, which tells the others: the one that answered last, or the next.
    pub(super) async fn reconcile(&mut self, post: &Post, urls: &[String], said: &Said) -> Result<(), Failure> {
        let wanted = wanted(post, said);
        let mut result = Ok(());
        for _ in urls {
            let Some(url) = urls.get(self.member % urls.len()) else { break };
            result = self.reconcile_at(post, url.trim_end_matches('/'), &wanted).await;
            if result.is_ok() {
                break;
            }
            self.member = self.member.wrapping_add(1);
        }
        result
    }

    async fn reconcile_at(&mut self, post: &Post, base: &str, wanted: &BTreeMap<String, Wanted>) -> Result<(), Failure> {
        // Nothing wanted and nothing ever made: most systems, most of the time. The first time it is looked all the same.
        let mut there = there(post, base).await?;
        self.told.clear();
        for (mark, wanted) in wanted {
            let known = there.remove(mark);
            let right = known.as_ref().is_some_and(|there| {
                there.to_ms.saturating_add(wanted.slack_ms.max(SAME_MS)) >= wanted.to_ms
                    && there.to_ms <= wanted.to_ms + SAME_MS
                    && there.matchers == wanted.matchers.iter().map(written).map(|matcher| matcher.to_string()).collect()
            });
            let mut to_ms = known.as_ref().map_or(wanted.to_ms, |there| there.to_ms);
            if !right {
                to_ms = wanted.to_ms;
                let body = body(mark, wanted, known.map(|there| there.id));
                let answer = post.client.post(format!("{base}/api/v2/silences")).header("content-type", "application/json");
                let answer = answer.body(serde_json::to_vec(&body)?).send().await?;
                let status = answer.status();
                if status.is_client_error() {
                    if self.refused.insert(mark.clone()) {
                        let why: String = answer.text().await.unwrap_or_default().chars().take(200).collect();
                        tracing::warn!(%status, why, mark, "Alertmanager does not take this silence: it will notify of what it covers");
                    }
                } else if !status.is_success() {
                    return Err(format!("{} answered {status}", place(base)).into());
                }
            }
            self.told.insert(mark.clone(), (to_ms, wanted.matchers.clone()));
        }
        self.refused.retain(|mark| self.told.contains_key(mark));
        for There { id, .. } in there.into_values() {
            let answer = post.client.delete(format!("{base}/api/v2/silence/{id}")).send().await?;
            if !answer.status().is_success() && answer.status().as_u16() != 404 {
                return Err(format!("{} answered {}", place(base), answer.status()).into());
            }
        }
        Ok(())
    }
}

/// What the marks of this log begin with: others with the same root may tell the same Alertmanager.
fn owner(post: &Post) -> String {
    format!("{} {}", post.root.as_str(), post.log.incarnation())
}

/// Every silence that Alertmanager should have, by its mark.
fn wanted(post: &Post, said: &Said) -> BTreeMap<String, Wanted> {
    let owner = &owner(post);
    let silences = said.silences.iter().filter_map(|silence| {
        let (from_ms, to_ms) = (silence.from_ms?, silence.to_ms?);
        // A window's next opening is another one than the last.
        let mark = format!("[{owner} silence {} {}]", silence.id, if silence.window.is_some() { from_ms } else { 0 });
        let (matchers, by, reason) = (silence.matchers.clone(), silence.by.clone(), silence.reason.clone());
        Some((mark, Wanted { matchers, from_ms, to_ms, slack_ms: 0, by, reason }))
    });
    let acknowledged = said.acknowledged.iter().map(|(alert, acknowledgement)| {
        let wanted = Wanted {
            matchers: identity(alert),
            from_ms: acknowledgement.at_ms,
            to_ms: said.at_ms.saturating_add(ACKNOWLEDGED_MS),
            slack_ms: ACKNOWLEDGED_MS / 2,
            by: acknowledgement.by.clone(),
            reason: acknowledgement.reason.clone(),
        };
        (format!("[{owner} acknowledged {}]", alert.incident), wanted)
    });
    silences.chain(acknowledged).collect()
}

/// An incident by its labels, as Alertmanager knows it.
fn identity(alert: &Alert) -> Vec<Matcher> {
    let is = |name: &str, value: &str| Matcher { name: name.to_owned(), operator: Operator::Equal, value: value.to_owned() };
    let labels = alert.labels.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| is(name, value));
    // One without a label that others of its rule have is another incident than theirs.
    let absent = |name: &&&str| alert.labels.get(**name).is_none_or(String::is_empty);
    let without = Rule::by_name(&alert.rule).map_or(&[][..], |rule| rule.labels).iter().filter(absent).map(|name| is(name, ""));
    [is("rule", &alert.rule), is("service", &alert.service)].into_iter().chain(labels).chain(without).collect()
}

/// A matcher in Alertmanager's JSON.
fn written(matcher: &Matcher) -> Value {
    let name = if matcher.name == "rule" { "alertname" } else { &matcher.name };
    json!({
        "name": name,
        "value": matcher.value,
        "isRegex": matches!(matcher.operator, Operator::Matches | Operator::MatchesNot),
        "isEqual": matches!(matcher.operator, Operator::Equal | Operator::Matches),
    })
}

fn body(mark: &str, wanted: &Wanted, id: Option<String>) -> Value {
    let mut body = json!({
        "matchers": wanted.matchers.iter().map(written).collect::<Vec<_>>(),
        "startsAt": rfc3339(wanted.from_ms),
        "endsAt": rfc3339(wanted.to_ms),
        "createdBy": wanted.by,
        "comment": format!("{} {mark}", wanted.reason).trim(),
    });
    if let Some(id) = id {
        body["id"] = json!(id);
    }
    body
}

/// The silences of ours that Alertmanager has and that are not over, by their marks.
async fn there(post: &Post, base: &str) -> Result<BTreeMap<String, There>, Failure> {
    let answer = post.client.get(format!("{base}/api/v2/silences")).send().await?;
    if !answer.status().is_success() {
        return Err(format!("{} answered {}", place(base), answer.status()).into());
    }
    let bytes = answer.bytes().await?;
    if bytes.len() > ANSWER_MAX {
        return Err(format!("{} has more silences than can be read", place(base)).into());
    }
    let all: Vec<Value> = serde_json::from_slice(&bytes)?;
    let beginning = format!("[{} ", owner(post));
    let ours = all.into_iter().filter_map(|silence| {
        let comment = silence["comment"].as_str()?;
        let mark = comment[comment.rfind(&beginning)?..].to_owned();
        let over = silence["status"]["state"] == "expired";
        let matchers = silence["matchers"].as_array()?.iter().map(|matcher| {
            let is_equal = matcher["isEqual"].as_bool().unwrap_or(true);
            json!({ "name": matcher["name"], "value": matcher["value"], "isRegex": matcher["isRegex"], "isEqual": is_equal }).to_string()
        });
        let there =
            There { id: silence["id"].as_str()?.to_owned(), to_ms: parse(silence["endsAt"].as_str()?).ok()?, matchers: matchers.collect() };
        (!over && mark.ends_with(']')).then_some((mark, there))
    });
    Ok(ours.collect())
}
