//! `homeostat replay` and `homeostat record`: what is common to their output.

use crate::cli::out::count;
use crate::replay::run::Summary;

/// What is told on standard error when a replay is over, and whether all was well.
#[must_use]
pub fn verdict(summary: &Summary) -> (String, bool) {
    use std::fmt::Write as _;
    let said = if summary.said == 1 { "1 alert or command".to_owned() } else { format!("{} alerts and commands", summary.said) };
    let mut text = format!("{}, {said}", count(summary.messages, "message"));
    let mut well = true;
    // Writing to a String cannot fail.
    if summary.bad > 0 {
        well = false;
        let _ = write!(text, "; {} could not be read:", count(summary.bad, "line"));
        for reason in &summary.reasons {
            let _ = write!(text, "\n  {reason}");
        }
    }
    for fallen in &summary.fallen {
        well = false;
        let _ = write!(text, "\n{fallen}");
    }
    if let Some(first) = summary.begins_at {
        let _ = write!(
            text,
            "\nthe log begins at {first} here: what the minds knew before is not in it, so the first findings may differ from those of the live run"
        );
    }
    if let Some(promise) = &summary.broken_promise {
        well = false;
        let _ = write!(text, "\na promise did not hold: {promise}");
    }
    if let Some(verdict) = &summary.verdict {
        if verdict.holds() {
            let _ = write!(text, "\nverified: {} recorded outputs, all the same byte for byte", verdict.same);
        } else {
            well = false;
            let _ = write!(
                text,
                "\nnot the same: {} of {} recorded outputs are; {} differ, {} are missing, {} unexplained, {} doubled, {} out of order",
                verdict.same,
                verdict.recorded,
                verdict.different,
                verdict.missing,
                verdict.unexplained,
                verdict.doubled,
                verdict.out_of_order
            );
            for told in &verdict.told {
                let _ = write!(text, "\n  {told}");
            }
        }
        if verdict.before > 0 {
            let _ = write!(text, "\n{} outputs were decided on messages before the recording and could not be compared", verdict.before);
        }
        if verdict.pending > 0 {
            let _ = write!(text, "\n{} outputs of the last messages had not been recorded yet", verdict.pending);
        }
    }
    (text, well)
}
