//! Files of samples: CSV with a header of feature names, or one value a line.
//!
//! A first line is a header unless it is a number, or (one column) a missing value or a text that comes again further down. A
//! column is numeric when at least nine tenths of its filled cells are numbers; what is not is counted apart. Empty cells, `null`,
//! `NA` and `None` are missing; `nan`, `inf` and `-inf` are numbers that no bin takes. Lines that are wholly empty are passed over,
//! rows that are too short end in missing cells.

use crate::cli::CliError;
use crate::cli::query::open;
use homeostat_actors::drift::{Kind, Sample};
use homeostat_schemas::event::SampleValue;
use std::io::Read as _;
use std::path::Path;

/// A file of samples is at most this large.
const BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// The name of the only column of a file without a header.
pub const NAMELESS: &str = "value";

/// A file of samples, column by column.
pub struct Table {
    /// The columns in the order of the file.
    pub columns: Vec<Column>,
    /// Did a header name them?
    named: bool,
}

/// One column: all its cells, one after the other.
pub struct Column {
    /// The feature.
    pub name: String,
    text: String,
    ends: Vec<usize>,
    numbers: usize,
    filled: usize,
}

impl Table {
    /// Reads a file, or standard input.
    ///
    /// # Errors
    /// It cannot be read, is too large, or holds nothing.
    pub fn read(path: &Path) -> Result<Table, CliError> {
        let failed = |why: std::io::Error| CliError::new(format!("{} cannot be read", path.display())).because(why);
        let mut bytes = Vec::new();
        open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(
                CliError::new(format!("{} is larger than {} GiB", path.display(), BYTES_MAX >> 30)).advise("compare a sample of it")
            );
        }
        let unfit = |what: &str| {
            CliError::new(format!("{} {what}", path.display())).advise("write CSV whose header names the features, or one value a line")
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(unfit("is empty"));
        }
        if bytes.contains(&0) {
            return Err(unfit("is no text"));
        }
        Table::parse(&bytes).map_err(|why| CliError::new(format!("{} holds no samples", path.display())).because(why))
    }

    fn parse(bytes: &[u8]) -> Result<Table, csv::Error> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(bytes);
        let mut columns: Vec<Column> = Vec::new();
        let mut record = csv::ByteRecord::new();
        let mut first: Vec<String> = Vec::new();
        let mut rows = 0_usize;
        while reader.read_byte_record(&mut record)? {
            if first.is_empty() {
                first = record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
                columns = first.iter().map(|name| Column::new(name)).collect();
                continue;
            }
            rows += 1;
            for (i, column) in columns.iter_mut().enumerate() {
                column.push(&String::from_utf8_lossy(record.get(i).unwrap_or_default()));
            }
        }
        let repeated = |column: &Column| columns.len() == 1 && (missing(&column.name) || column.cells().any(|cell| cell == column.name));
        let headless = first.iter().any(|cell| number(cell).is_some()) || columns.first().is_some_and(repeated);
        if !headless {
            let mut seen = std::collections::BTreeSet::new();
            for (i, column) in columns.iter_mut().enumerate() {
                if column.name.is_empty() || !seen.insert(column.name.clone()) {
                    // Two columns of one name are two features.
                    column.name = format!("{}#{}", column.name, i + 1);
                }
            }
            return Ok(Table { columns, named: true });
        }
        let alone = columns.len() == 1;
        for (i, column) in columns.iter_mut().enumerate() {
            let mut whole = Column::new(if alone { NAMELESS } else { "" });
            if !alone {
                whole.name = format!("{NAMELESS}{}", i + 1);
            }
            whole.push(&column.name);
            whole.reserve(rows, column.text.len());
            column.cells().for_each(|cell| whole.push(cell));
            *column = whole;
        }
        Ok(Table { columns, named: false })
    }

    /// Two files of one column each are about one feature, whatever its name is.
    pub fn align(a: &mut Table, b: &mut Table) {
        if let ([a_column], [b_column]) = (a.columns.as_mut_slice(), b.columns.as_mut_slice())
            && !(a.named && b.named)
        {
            let name = if a.named { &a_column.name } else { &b_column.name };
            let name = name.clone();
            a_column.name.clone_from(&name);
            b_column.name = name;
        }
    }

    /// Is there a column of this name?
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.column(name).is_some()
    }

    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl Column {
    fn new(name: &str) -> Column {
        Column { name: name.to_owned(), text: String::new(), ends: Vec::new(), numbers: 0, filled: 0 }
    }

    fn reserve(&mut self, rows: usize, bytes: usize) {
        self.ends.reserve(rows);
        self.text.reserve(bytes);
    }

    fn push(&mut self, cell: &str) {
        self.filled += usize::from(!missing(cell));
        self.numbers += usize::from(number(cell).is_some());
        self.text.push_str(cell);
        self.ends.push(self.text.len());
    }

    /// The cells in the order of the file.
    pub fn cells(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| self.text.get(from..*to).unwrap_or_default())
    }

    /// What its values are: numbers when at least nine tenths of its filled cells are, or when none is filled.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.numbers * 10 >= self.filled * 9 { Kind::Number } else { Kind::Category }
    }

    /// Its cells as values of that kind.
    #[must_use]
    pub fn values(&self, kind: Kind) -> Vec<SampleValue> {
        let value = |cell: &str| match (missing(cell), kind, number(cell)) {
            (true, _, _) => SampleValue::Null,
            (false, Kind::Number, Some(number)) => SampleValue::Number(number),
            _ => SampleValue::Text(cell.to_owned()),
        };
        self.cells().map(value).collect()
    }

    /// Its cells as one side of a comparison.
    #[must_use]
    pub fn sample(&self, kind: Kind) -> Sample {
        let mut sample = Sample::default();
        for cell in self.cells() {
            match (missing(cell), kind, number(cell)) {
                (true, _, _) => sample.odd.missing += 1,
                (false, Kind::Number, Some(number)) => sample.number(number),
                _ => sample.level(cell),
            }
        }
        sample
    }
}

fn missing(cell: &str) -> bool {
    cell.is_empty() || ["null", "na", "n/a", "none"].iter().any(|word| cell.eq_ignore_ascii_case(word))
}

fn number(cell: &str) -> Option<f64> {
    cell.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Table {
        Table::parse(text.as_bytes()).unwrap()
    }

    fn shape(table: &Table) -> Vec<(&str, Kind, usize)> {
        table.columns.iter().map(|column| (column.name.as_str(), column.kind(), column.cells().count())).collect()
    }

    #[test]
    fn a_header_is_told_from_a_value() {
        assert_eq!(shape(&read("1\n2\n\nnan\n")), [("value", Kind::Number, 3)]);
        assert_eq!(shape(&read("NA\n1\n2\n")), [("value", Kind::Number, 3)]);
        assert_eq!(shape(&read("price\n2\n3\n")), [("price", Kind::Number, 2)]);
        assert_eq!(shape(&read("GET\nPOST\nGET\n")), [("value", Kind::Category, 3)]);
        assert_eq!(shape(&read("method\nPOST\nGET\n")), [("method", Kind::Category, 2)]);
        assert_eq!(
            shape(&read("\u{feff}a,a,\r\n1,x,2\r\n3,\"y, z\"\r\n")),
            [("a", Kind::Number, 2), ("a#2", Kind::Category, 2), ("#3", Kind::Number, 2)]
        );
        assert_eq!(shape(&read("1,2\n3,4\n")), [("value1", Kind::Number, 2), ("value2", Kind::Number, 2)]);
        assert_eq!(shape(&read("")), []);
        assert_eq!(shape(&read("only_a_header\n")), [("only_a_header", Kind::Number, 0)]);
    }

    #[test]
    fn what_is_no_number_is_counted_apart() {
        let table = read("x\n1\n2\n3\n4\n5\n6\n7\n8\n9\noops\n\"\"\nNA\n-inf\ninf\nnan\n");
        let sample = table.columns[0].sample(table.columns[0].kind());
        assert_eq!((sample.numbers.len(), sample.levels.len(), sample.odd.missing), (9, 1, 2));
        assert_eq!((sample.odd.nan, sample.odd.positive_infinity, sample.odd.negative_infinity), (1, 1, 1));
    }

    #[test]
    fn two_nameless_columns_are_one_feature() {
        let (mut a, mut b) = (read("price\n1\n"), read("5\n6\n"));
        Table::align(&mut a, &mut b);
        assert_eq!(shape(&b), [("price", Kind::Number, 2)]);
    }
}
