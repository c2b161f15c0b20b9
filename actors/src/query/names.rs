//! Services and database systems as small numbers.

use homeostat_reflexes::sql::Dialect;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name under which everything beyond a bound is counted.
pub(super) const OTHER: &str = "__other__";

/// Names in the order in which they were first seen; number 0 is [`OTHER`].
#[derive(Serialize, Deserialize)]
pub(super) struct Names {
    names: Vec<String>,
    numbers: BTreeMap<String, u32>,
    /// The last one asked for: events come in batches of one service.
    #[serde(skip)]
    last: u32,
}

impl Default for Names {
    fn default() -> Self {
        Names { names: vec![OTHER.to_owned()], numbers: BTreeMap::new(), last: 0 }
    }
}

impl Names {
    /// The number of a name; 0 when it is new and there are `max` already.
    pub(super) fn number(&mut self, name: &str, max: usize) -> u32 {
        if self.last != 0 && self.names.get(self.last as usize).is_some_and(|last| last == name) {
            return self.last;
        }
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None if self.numbers.len() >= max => return 0,
            None => {
                let number = u32::try_from(self.names.len()).unwrap_or(0);
                self.names.push(name.to_owned());
                self.numbers.insert(name.to_owned(), number);
                number
            }
        };
        self.last = number;
        number
    }

    pub(super) fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or(OTHER, String::as_str)
    }

    /// Every name with its number, [`OTHER`] too.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, u32)> {
        self.names.iter().map(String::as_str).zip(0..)
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

/// What a database system is to the lexer and to N+1.
pub(super) fn dialect(system: Option<&str>) -> Dialect {
    system.map_or(Dialect::Generic, Dialect::from_system)
}

/// Is it a store whose single commands are so cheap that nobody joins them?
pub(super) fn is_key_value(system: &str) -> bool {
    const STORES: [&str; 9] = ["redis", "memcache", "valkey", "dragonfly", "keydb", "etcd", "hazelcast", "ignite", "rocksdb"];
    let lower = system.to_ascii_lowercase();
    STORES.iter().any(|store| lower.contains(store))
}
