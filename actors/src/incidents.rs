//! What is open now: makes every finding one message on entering and one on leaving, and gives both the same incident.
//!
//! Promises
//! - I-1 A finding (rule, service, labels) is open at most once.
//! - I-2 At most [`OPEN_MAX`] findings are open; what finds no room is counted, not raised.

use crate::core::Cx;
use homeostat_schemas::rule::Nature;
use homeostat_schemas::{Alert, Mode, Rule, Severity, State, UnixMs};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// How many findings a mind may have open.
pub const OPEN_MAX: usize = 10_000;

/// A finding, before it has an identity.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Its rule.
    pub rule: &'static Rule,
    /// The service it is about.
    pub service: String,
    /// What else makes it this finding and no other.
    pub labels: BTreeMap<String, String>,
    /// How urgent, when it is not as the rule says.
    pub severity: Option<Severity>,
    /// One line for a person.
    pub summary: String,
    /// Since when the condition holds; now, when nothing else is known.
    pub since_ms: Option<UnixMs>,
    /// The numbers behind it.
    pub evidence: BTreeMap<String, Value>,
    /// What to do, beside what the rule advises.
    pub advice: Vec<String>,
    /// What led to it.
    pub cause: Vec<String>,
    /// A trace that shows it.
    pub trace: Option<String>,
}

impl Finding {
    /// A finding of a rule about a service; the rest is filled in by the caller.
    #[must_use]
    pub fn new(rule: &'static Rule, service: &str, summary: impl Into<String>) -> Finding {
        Finding {
            rule,
            service: service.to_owned(),
            labels: BTreeMap::new(),
            severity: None,
            summary: summary.into(),
            since_ms: None,
            evidence: BTreeMap::new(),
            advice: Vec::new(),
            cause: Vec::new(),
            trace: None,
        }
    }

    /// With one more label.
    #[must_use]
    pub fn label(mut self, name: &str, value: impl Into<String>) -> Finding {
        self.labels.insert(name.to_owned(), value.into());
        self
    }

    /// With one more piece of evidence. A number that is not finite becomes `null`.
    #[must_use]
    pub fn evidence(mut self, name: &str, value: impl Into<Value>) -> Finding {
        self.evidence.insert(name.to_owned(), value.into());
        self
    }
}

/// A finding that is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Open {
    rule: String,
    service: String,
    labels: BTreeMap<String, String>,
    incident: String,
    severity: Severity,
    since_ms: UnixMs,
    last_ms: UnixMs,
    count: u64,
}

/// Every finding that a mind has open.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    open: BTreeMap<String, Open>,
    no_room: u64,
}

/// Ends every part of a key.
const END: char = '\u{1f}';
/// Begins what stands for a character that means something in a key.
const ESCAPE: char = '\u{1e}';

/// What a finding is told by, as one text. Names come from outside and may hold any character, so those that mean something here
/// are written as something else: two findings never share a key, and the keys of a rule and service share a beginning that no
/// other's have.
fn key(rule: &str, service: &str, labels: &BTreeMap<String, String>) -> String {
    let mut key = String::with_capacity(64);
    for part in [rule, service].into_iter().chain(labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()])) {
        if part.contains([END, ESCAPE]) {
            for character in part.chars() {
                match character {
                    END => key.extend([ESCAPE, 'e']),
                    ESCAPE => key.extend([ESCAPE, ESCAPE]),
                    other => key.push(other),
                }
            }
        } else {
            key.push_str(part);
        }
        key.push(END);
    }
    key
}

impl Incidents {
    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Is nothing open?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many findings found no room so far.
    #[must_use]
    pub fn no_room(&self) -> u64 {
        self.no_room
    }

    /// Is this finding open?
    #[must_use]
    pub fn is_open(&self, rule: &Rule, service: &str, labels: &BTreeMap<String, String>) -> bool {
        self.open.contains_key(&key(rule.name, service, labels))
    }

    /// The labels of every open finding of this rule about this service.
    #[must_use]
    pub fn open_labels(&self, rule: &Rule, service: &str) -> Vec<BTreeMap<String, String>> {
        let prefix = key(rule.name, service, &BTreeMap::new());
        self.open.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)).map(|(_, open)| open.labels.clone()).collect()
    }

    /// The finding holds: raises it unless it is open already. True when it was raised.
    ///
    /// A rule that is off raises nothing. An open finding whose severity grew is raised again under the same incident.
    pub fn fire<C>(&mut self, finding: Finding, cx: &mut Cx<'_, C>) -> bool {
        self.raise(finding, false, cx)
    }

    /// The finding still holds and has become more: raises it again under the same incident. True when it was raised.
    pub fn remind<C>(&mut self, finding: Finding, cx: &mut Cx<'_, C>) -> bool {
        self.raise(finding, true, cx)
    }

    fn raise<C>(&mut self, finding: Finding, again: bool, cx: &mut Cx<'_, C>) -> bool {
        if cx.mode(finding.rule.name) == Mode::Off {
            return false;
        }
        let key = key(finding.rule.name, &finding.service, &finding.labels);
        let severity = finding.severity.unwrap_or(finding.rule.severity);
        if let Some(open) = self.open.get_mut(&key) {
            open.last_ms = cx.now;
            open.count = open.count.saturating_add(1);
            if severity <= open.severity && !again {
                return false;
            }
            open.severity = severity.max(open.severity);
        } else if self.open.len() >= OPEN_MAX {
            self.no_room = self.no_room.saturating_add(1);
            return false;
        }
        let identity = cx.next_identity().to_string();
        let open = self.open.entry(key).or_insert_with_key(|key| Open {
            rule: finding.rule.name.to_owned(),
            service: finding.service.clone(),
            labels: finding.labels.clone(),
            incident: format!("{:016x}", xxh3_64([key.as_bytes(), identity.as_bytes()].concat().as_slice())),
            severity,
            since_ms: finding.since_ms.unwrap_or(cx.now),
            last_ms: cx.now,
            count: 1,
        });
        let mut advice = vec![finding.rule.advice.to_owned()];
        advice.extend(finding.advice);
        cx.alert(Alert {
            incident: open.incident.clone(),
            rule: finding.rule.name.to_owned(),
            severity: open.severity,
            state: State::Firing,
            service: finding.service,
            labels: finding.labels,
            summary: finding.summary,
            since_ms: open.since_ms,
            evidence: finding.evidence,
            advice,
            cause: finding.cause,
            trace: finding.trace,
            ..Alert::default()
        });
        true
    }

    /// The finding no longer holds: resolves it if it is open. True when it was.
    ///
    /// Of `finding`, the identity, the summary, the evidence and the trace are used.
    pub fn resolve<C>(&mut self, finding: Finding, cx: &mut Cx<'_, C>) -> bool {
        let Some(open) = self.open.remove(&key(finding.rule.name, &finding.service, &finding.labels)) else { return false };
        resolve(open, finding.summary, finding.evidence, finding.trace, cx);
        true
    }

    /// Ends what ends by itself: occurrences that have been quiet, and findings of rules that were switched off.
    pub fn sweep<C>(&mut self, cx: &mut Cx<'_, C>) {
        let over = |open: &Open, cx: &Cx<'_, C>| {
            if cx.mode(&open.rule) == Mode::Off {
                return Some("the rule was switched off".to_owned());
            }
            match Rule::by_name(&open.rule)?.nature {
                Nature::Occurrence { quiet_ms } if cx.now.saturating_sub(open.last_ms) >= quiet_ms => {
                    let times = if open.count == 1 { "once".to_owned() } else { format!("{} times", open.count) };
                    Some(format!("quiet for {} min, seen {times}", quiet_ms / 60_000))
                }
                _ => None,
            }
        };
        let ended: Vec<(String, String)> = self.open.iter().filter_map(|(key, open)| Some((key.clone(), over(open, cx)?))).collect();
        for (key, summary) in ended {
            if let Some(open) = self.open.remove(&key) {
                resolve(open, summary, BTreeMap::new(), None, cx);
            }
        }
    }

    /// I-2 broken?
    #[must_use]
    pub fn broken_promise(&self) -> Option<&'static str> {
        (self.open.len() > OPEN_MAX).then_some("I-2")
    }
}

fn resolve<C>(open: Open, summary: String, evidence: BTreeMap<String, Value>, trace: Option<String>, cx: &mut Cx<'_, C>) {
    cx.alert(Alert {
        incident: open.incident,
        rule: open.rule,
        severity: open.severity,
        state: State::Resolved,
        service: open.service,
        labels: open.labels,
        summary,
        since_ms: open.since_ms,
        evidence,
        trace,
        ..Alert::default()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_schemas::rule::{QUERY_DUPLICATE, QUERY_SLOW};
    use proptest::prelude::*;

    type Parts = (String, String, BTreeMap<String, String>);

    /// Names of few characters, most of which mean something in a key.
    fn parts() -> impl Strategy<Value = Parts> {
        let name = || "[ae\u{1e}\u{1f}]{0,4}";
        (name(), name(), prop::collection::btree_map(name(), name(), 0..3))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

        #[test]
        fn two_findings_share_a_key_only_if_they_are_one(a in parts(), b in parts()) {
            prop_assert_eq!(key(&a.0, &a.1, &a.2) == key(&b.0, &b.1, &b.2), a == b);
        }

        #[test]
        fn a_key_begins_like_those_of_its_rule_and_service_only(a in parts(), b in parts()) {
            let begins = key(&a.0, &a.1, &a.2).starts_with(&key(&b.0, &b.1, &BTreeMap::new()));
            prop_assert_eq!(begins, (&a.0, &a.1) == (&b.0, &b.1));
        }
    }

    #[test]
    fn plain_names_stand_in_a_key_as_they_are() {
        let labels = BTreeMap::from([("kind".to_owned(), "index".to_owned())]);
        assert_eq!(key(QUERY_SLOW.name, "shop", &labels), "query.slow\u{1f}shop\u{1f}kind\u{1f}index\u{1f}");
        assert_ne!(key(QUERY_SLOW.name, "shop", &labels), key(QUERY_DUPLICATE.name, "shop", &labels));
    }
}
