//! Logs of any text, in every format: reading them never panics, no execution is counted twice or lost however the log is cut, and
//! nothing that is kept is anything but a normal form.
#![no_main]

use homeostat_actors::query::QueryConfig;
use homeostat_actors::query::digest::{Digest, DigestOptions, DigestReport, LogFormat, Seams};
use libfuzzer_sys::fuzz_target;

const FORMATS: [LogFormat; 4] = [LogFormat::PostgresqlStderr, LogFormat::PostgresqlCsv, LogFormat::PostgresqlJson, LogFormat::MysqlSlow];
const OPTIONS: DigestOptions = DigestOptions { shapes_max: 50, statement_max_bytes: 4_096, slow_us: 100_000, many_rows: 1_000 };

fn digest(format: LogFormat, blocks: &[&[u8]]) -> DigestReport {
    let (mut seams, mut digest) = (Seams::new(OPTIONS.slow_us), Digest::new(format, OPTIONS));
    for (number, block) in (0..).zip(blocks) {
        let seam = digest.block(block);
        seams.take(number, seam);
    }
    seams.finish(&mut digest);
    digest.report("log", &QueryConfig::default())
}

fuzz_target!(|log: &[u8]| {
    let _ = LogFormat::detect(log);
    for format in FORMATS {
        let whole = digest(format, &[log]);
        assert!(whole.queries.len() <= OPTIONS.shapes_max + 1);
        assert_eq!(whole.queries.iter().map(|query| query.row.calls).sum::<u64>(), whole.totals.calls);
        if let Some(at) = format.last_entry(log) {
            assert!(at > 0 && at <= log.len());
            let cut = digest(format, &[&log[..at], &log[at..]]);
            // Invalid text becomes other text on either side of a cut; what is text stays the same.
            if std::str::from_utf8(log).is_ok() {
                assert_eq!(cut.totals.calls, whole.totals.calls, "{format:?}");
                assert_eq!(cut.totals.errors, whole.totals.errors, "{format:?}");
            }
        }
    }
});
