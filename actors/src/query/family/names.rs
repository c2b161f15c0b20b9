//! Names that mean nothing: what a session calls its prepared statements, cursors and savepoints, and the dates in the
//! names of sharded tables.

/// Takes the names that a session invents out of a statement. Gives back what frames the statement that is to be parsed
/// (with `?` instead of the name) and that statement: `prepare ? as ` and `select …`. The second is empty when nothing is
/// left to parse, and the first is empty for every other statement.
pub(super) fn session_names(normal: &str) -> (String, &str) {
    let words: Vec<&str> = normal.split(' ').take(4).collect();
    match words.as_slice() {
        ["deallocate", ..] => (String::from("deallocate ?"), ""),
        ["close", _] => (String::from("close ?"), ""),
        ["savepoint", _] => (String::from("savepoint ?"), ""),
        ["release", ..] => (String::from("release ?"), ""),
        ["rollback", "to", ..] | ["rollback", "work", "to", ..] => (String::from("rollback to ?"), ""),
        ["fetch" | "move", ..] if !normal.contains('(') => (format!("{} ?", words.first().unwrap_or(&"")), ""),
        ["execute", ..] => (String::from("execute ?"), ""),
        ["prepare", "transaction", ..] => (String::new(), normal),
        ["prepare", ..] => inner(normal, " as ", "prepare ? as "),
        ["declare", _, ..] if normal.contains(" for ") && normal.contains(" cursor ") => inner(normal, " for ", "declare ? cursor for "),
        _ => (String::new(), normal),
    }
}

fn inner<'n>(normal: &'n str, mark: &str, frame: &str) -> (String, &'n str) {
    match normal.split_once(mark) {
        Some((_, statement)) => (frame.to_owned(), statement),
        None => (String::new(), normal),
    }
}

/// A table's name with every date in it written `#`: `events_20210301`, `t_2021_03_01_x`, `logs_202103`, `p2021m03`. A
/// number that is no date stays.
pub(super) fn without_dates(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut plain = String::with_capacity(name.len());
    let mut at = 0;
    while let Some(rest) = name.get(at..) {
        let Some(first) = rest.chars().next() else { break };
        let after_digit = at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        match date_len(rest.as_bytes()) {
            Some(len) if !after_digit => {
                plain.push('#');
                at += len;
            }
            _ => {
                plain.push(first);
                at += first.len_utf8();
            }
        }
    }
    plain
}

/// The length of the date at the start of `text`, if one is there: year, month and perhaps day, together or set apart.
fn date_len(text: &[u8]) -> Option<usize> {
    let number = |from: usize, len: usize, low: u32, high: u32| {
        let digits = text.get(from..from + len)?;
        let value = digits.iter().try_fold(0u32, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))?;
        (low..=high).contains(&value).then_some(from + len)
    };
    let gap = |at: usize| at + usize::from(matches!(text.get(at), Some(b'_' | b'-' | b'm' | b'd' | b'w')));
    let ends = |at: usize| !text.get(at).is_some_and(u8::is_ascii_digit);
    let year = number(0, 4, 1990, 2099)?;
    let month = number(gap(year), 2, 1, 12)?;
    if let Some(day) = number(gap(month), 2, 1, 31).filter(|day| ends(*day)) {
        // An hour may follow.
        return Some(number(gap(day), 2, 0, 23).filter(|hour| ends(*hour) && gap(day) > day).unwrap_or(day));
    }
    ends(month).then_some(month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dates_leave_a_table_name() {
        let names = [
            ("t_20210301_x", "t_#_x"),
            ("t_2021_03_01", "t_#"),
            ("logs_202103", "logs_#"),
            ("p2021m03", "p#"),
            ("events_20210301_13", "events_#"),
            ("t_1", "t_1"),
            ("foo_2_3", "foo_2_3"),
            ("covid19", "covid19"),
            ("t_20211301", "t_20211301"),
            ("t_120210301", "t_120210301"),
            ("orders_2021", "orders_2021"),
            ("größe_20210301", "größe_#"),
        ];
        for (name, expected) in names {
            assert_eq!(without_dates(name), expected);
        }
    }
}
