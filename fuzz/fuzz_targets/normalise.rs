//! The SQL reflex over any text: it never panics, is idempotent, and its buffers do not remember the statement before.
#![no_main]

use homeostat_reflexes::sql::{Dialect, Normaliser, summary, tables};
use libfuzzer_sys::fuzz_target;

const DIALECTS: [Dialect; 4] = [Dialect::Generic, Dialect::Postgresql, Dialect::Mysql, Dialect::Sqlite];

fuzz_target!(|statement: &str| {
    let mut normaliser = Normaliser::with_key(1);
    for dialect in DIALECTS {
        let first = normaliser.normalise(statement, dialect);
        let (normal, fingerprint, params) = (first.normal.to_owned(), first.fingerprint, first.params);
        assert!(normal.len() <= 2 * statement.len() + 16);

        let second = normaliser.normalise(&normal, dialect);
        assert_eq!(second.normal, normal);
        assert_eq!(second.fingerprint, fingerprint);
        assert_eq!(second.params, None);

        let again = normaliser.normalise(statement, dialect);
        assert_eq!((again.normal, again.params), (normal.as_str(), params));

        assert!(summary(statement, dialect).chars().count() <= 255);
        assert!(tables(statement, dialect).len() <= 64);
    }
});
