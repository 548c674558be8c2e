//! The file that a user brings: one order per line, in the sequence in which they are sent.
//!
//! ```text
//! trader,side,price,quantity
//! 1,buy,100.25,300
//! 2,sell,100.3,50
//! ```
//!
//! * `trader`: a whole number from 1. Each trader's orders are numbered in the sequence of the
//!   file; the program that plays trader 1 sends those with a 1.
//! * `side`: `buy` or `sell`, in either case.
//! * `price`: above zero, in units of money with at most two decimals behind a point.
//! * `quantity`: a whole number from 1.
//!
//! UTF-8, fields separated by commas, with or without quotes; spaces around a field and empty
//! lines don't count. Anything else is refused with its place, before an order is sent.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use ::csv::{ByteRecord, ReaderBuilder, Trim};
use thiserror::Error;

use crate::order::{Cents, Order, OrderId, Side};

const COLUMNS: [&str; 4] = ["trader", "side", "price", "quantity"];
const TRADER: &str = "a whole number from 1 to 4294967295";
const SIDE: &str = "`buy` or `sell`";
const PRICE: &str = "an amount above zero with at most two decimals, such as 101.25";
const PRICE_TOO_HIGH: &str = "an amount of at most 184467440737095516.15";
const QUANTITY: &str = "a whole number from 1 to 4294967295";
/// Limit on the characters of a wrong value that are quoted.
const MAX_QUOTED_CHARS: usize = 40;

/// Reasons for which a file isn't a list of orders. Lines and columns count from 1.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("{}: can't be read: {error}", file.display())]
    Unreadable { file: PathBuf, error: io::Error },
    #[error(
        "{}: no orders: expected the line `trader,side,price,quantity` and a line per order",
        file.display()
    )]
    Empty { file: PathBuf },
    #[error(
        "{}: line {line}: expected the header `trader,side,price,quantity`, found `{found}`",
        file.display()
    )]
    Header {
        file: PathBuf,
        line: u64,
        found: String,
    },
    #[error(
        "{}: line {line}: expected 4 fields (trader,side,price,quantity), found {found}",
        file.display()
    )]
    FieldCount {
        file: PathBuf,
        line: u64,
        found: usize,
    },
    #[error(
        "{}: line {line}, column {column} ({}): expected {expected}, found `{found}`",
        file.display(),
        COLUMNS[column - 1]
    )]
    Field {
        file: PathBuf,
        line: u64,
        column: usize,
        expected: &'static str,
        found: String,
    },
    #[error("{}: line {line}, column {column}: not UTF-8: found `{found}`", file.display())]
    NotUtf8 {
        file: PathBuf,
        line: u64,
        column: usize,
        found: String,
    },
}

/// Reads a file of orders.
///
/// # Errors
///
/// If the file can't be read or has no orders, and at the first thing in it that isn't as described
/// above.
pub(crate) fn read(file: &Path) -> Result<Vec<Order>, ReadError> {
    let text = std::fs::read(file).map_err(|error| ReadError::Unreadable {
        file: file.to_owned(),
        error,
    })?;
    parse(file, &text)
}

fn parse(file: &Path, text: &[u8]) -> Result<Vec<Order>, ReadError> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_reader(text);
    let mut next_seq = BTreeMap::<u32, u64>::new();
    let mut orders = Vec::new();
    let mut record = ByteRecord::new();
    let mut header_read = false;
    loop {
        let more = reader
            .read_byte_record(&mut record)
            .map_err(|error| ReadError::Unreadable {
                file: file.to_owned(),
                error: error.into(),
            })?;
        if !more {
            break;
        }
        let line = Line {
            file,
            text,
            record: &record,
        };
        if header_read {
            let mut order = line.order()?;
            let seq = next_seq.entry(order.id.trader).or_default();
            order.id.seq = *seq;
            *seq += 1;
            orders.push(order);
        } else {
            line.header()?;
            header_read = true;
        }
    }
    if orders.is_empty() {
        return Err(ReadError::Empty {
            file: file.to_owned(),
        });
    }
    Ok(orders)
}

/// Writes orders in the form that [`read`] takes.
pub(crate) fn write(orders: &[Order], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", COLUMNS.join(","))?;
    for Order {
        id,
        side,
        limit,
        quantity,
    } in orders
    {
        writeln!(out, "{},{},{limit},{quantity}", id.trader, side.word())?;
    }
    Ok(())
}

/// One record and its place in the file.
struct Line<'a> {
    file: &'a Path,
    text: &'a [u8],
    record: &'a ByteRecord,
}

impl Line<'_> {
    fn header(&self) -> Result<(), ReadError> {
        if self.record.iter().eq(COLUMNS.map(str::as_bytes)) {
            return Ok(());
        }
        for column in 0..self.record.len() {
            self.field(column)?;
        }
        let found: Vec<_> = self.record.iter().map(String::from_utf8_lossy).collect();
        Err(ReadError::Header {
            file: self.file.to_owned(),
            line: self.number(),
            found: quoted(&found.join(",")),
        })
    }

    /// The order, still without its number.
    fn order(&self) -> Result<Order, ReadError> {
        if self.record.len() != COLUMNS.len() {
            return Err(ReadError::FieldCount {
                file: self.file.to_owned(),
                line: self.number(),
                found: self.record.len(),
            });
        }
        let trader = self.value(0, TRADER, whole)?.get();
        let side = self.value(1, SIDE, side)?;
        let limit = price(self.field(2)?).map_err(|expected| self.error(2, expected))?;
        let quantity = self.value(3, QUANTITY, whole)?;
        Ok(Order {
            id: OrderId { trader, seq: 0 },
            side,
            limit,
            quantity,
        })
    }

    fn value<T>(
        &self,
        index: usize,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ReadError> {
        parse(self.field(index)?).ok_or_else(|| self.error(index, expected))
    }

    fn field(&self, index: usize) -> Result<&str, ReadError> {
        std::str::from_utf8(&self.record[index]).map_err(|_| ReadError::NotUtf8 {
            file: self.file.to_owned(),
            line: self.number(),
            column: index + 1,
            found: quoted(&String::from_utf8_lossy(&self.record[index])),
        })
    }

    fn error(&self, index: usize, expected: &'static str) -> ReadError {
        ReadError::Field {
            file: self.file.to_owned(),
            line: self.number(),
            column: index + 1,
            expected,
            found: quoted(&String::from_utf8_lossy(&self.record[index])),
        }
    }

    /// Counted in the text itself: the reader's own count starts a record at the end of the one
    /// before, which is off after empty lines and two-byte line ends.
    fn number(&self) -> u64 {
        let start = self.record.position().map_or(0, ::csv::Position::byte);
        let start = usize::try_from(start)
            .unwrap_or(usize::MAX)
            .min(self.text.len());
        let blank = self.text[start..]
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'));
        let start = start + blank.count();
        self.text[..start]
            .iter()
            .fold(1, |line, byte| line + u64::from(*byte == b'\n'))
    }
}

fn whole(text: &str) -> Option<NonZeroU32> {
    all_digits(text).then(|| text.parse().ok()).flatten()
}

fn side(text: &str) -> Option<Side> {
    [Side::Buy, Side::Sell]
        .into_iter()
        .find(|side| text.eq_ignore_ascii_case(side.word()))
}

/// The price, or what was expected in its place.
fn price(text: &str) -> Result<Cents, &'static str> {
    let (units, hundredths) = match text.split_once('.') {
        None => (text, 0),
        Some((units, decimals)) if all_digits(decimals) => match decimals.as_bytes() {
            [tenths] => (units, (tenths - b'0') * 10),
            [tenths, hundredths] => (units, (tenths - b'0') * 10 + (hundredths - b'0')),
            _ => return Err(PRICE),
        },
        Some(_) => return Err(PRICE),
    };
    if !all_digits(units) {
        return Err(PRICE);
    }
    // Digits alone fail to parse only if they are too many.
    let cents = units
        .parse::<u64>()
        .ok()
        .and_then(|units| units.checked_mul(100)?.checked_add(hundredths.into()))
        .ok_or(PRICE_TOO_HIGH)?;
    Cents::new(cents).ok_or(PRICE)
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Text from the file, fit for one line of a message.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for character in text.chars().take(MAX_QUOTED_CHARS) {
        if character.is_control() {
            quoted.extend(character.escape_default());
        } else {
            quoted.push(character);
        }
    }
    if text.chars().nth(MAX_QUOTED_CHARS).is_some() {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: impl AsRef<[u8]>) -> Result<Vec<Order>, String> {
        parse(Path::new("my.csv"), text.as_ref()).map_err(|error| error.to_string())
    }

    fn refused(text: impl AsRef<[u8]>) -> String {
        parsed(text).expect_err("the file is refused")
    }

    /// The message for a file whose third line is this.
    fn refused_line(line: &str) -> String {
        refused(format!("trader,side,price,quantity\n1,buy,1,1\n{line}\n"))
    }

    #[test]
    fn orders_are_numbered_by_trader() {
        let orders =
            parsed("trader,side,price,quantity\n1,buy,100.25,300\n2,sell,100.3,50\n1,Sell,7,1\n")
                .unwrap();
        let told: Vec<_> = orders
            .iter()
            .map(|order| {
                let Order {
                    id,
                    side,
                    limit,
                    quantity,
                } = order;
                (id.trader, id.seq, side.word(), limit.get(), quantity.get())
            })
            .collect();
        assert_eq!(
            told,
            [
                (1, 0, "buy", 10_025, 300),
                (2, 0, "sell", 10_030, 50),
                (1, 1, "sell", 700, 1)
            ]
        );
    }

    #[test]
    fn spaces_quotes_empty_lines_and_foreign_line_ends_do_not_matter() {
        let orders = parsed(
            "\u{feff}trader, side ,price,quantity\r\n\r\n\"1\" ,buy, 0.01 ,\"3\"\r\n\r\n2,sell,1.5,4",
        );
        assert_eq!(orders.unwrap().len(), 2);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let orders = crate::sample::orders(3, 500);
        let mut text = Vec::new();
        write(&orders, &mut text).unwrap();
        assert_eq!(parsed(text).unwrap(), orders);
    }

    #[test]
    fn a_file_without_orders_is_refused() {
        let expected = "my.csv: no orders: expected the line `trader,side,price,quantity` \
                        and a line per order";
        assert_eq!(refused(""), expected);
        assert_eq!(refused("\n\n"), expected);
        assert_eq!(refused("trader,side,price,quantity\n"), expected);
    }

    #[test]
    fn another_header_is_refused() {
        let expected = |found| {
            format!(
                "my.csv: line 1: expected the header `trader,side,price,quantity`, found `{found}`"
            )
        };
        assert_eq!(refused("1,buy,100.25,300\n"), expected("1,buy,100.25,300"));
        assert_eq!(
            refused("trader;side;price;quantity\n"),
            expected("trader;side;price;quantity")
        );
    }

    #[test]
    fn wrong_values_are_refused_with_their_place() {
        let at = |column: &str, expected: &str, found: &str| {
            format!("my.csv: line 3, column {column}: expected {expected}, found `{found}`")
        };
        for found in ["0", "-1", "+1", "1.0", "x", "", "4294967296"] {
            let text = refused_line(&format!("{found},buy,1,1"));
            assert_eq!(text, at("1 (trader)", TRADER, found));
            let text = refused_line(&format!("1,buy,1,{found}"));
            assert_eq!(text, at("4 (quantity)", QUANTITY, found));
        }
        for found in ["b", "bid", ""] {
            let text = refused_line(&format!("1,{found},1,1"));
            assert_eq!(text, at("2 (side)", SIDE, found));
        }
        let wrong = [
            "0", "0.00", "-1", "+1", "1.", ".5", ".", "", "1.234", "1e3", "NaN", "1.+5", "€5",
        ];
        for found in wrong {
            let text = refused_line(&format!("1,buy,{found},1"));
            assert_eq!(text, at("3 (price)", PRICE, found));
        }
        for found in ["184467440737095516.16", "99999999999999999999"] {
            let text = refused_line(&format!("1,buy,{found},1"));
            assert_eq!(text, at("3 (price)", PRICE_TOO_HIGH, found));
        }
        assert!(parsed("trader,side,price,quantity\n1,buy,184467440737095516.15,1").is_ok());
    }

    #[test]
    fn a_wrong_number_of_fields_is_refused() {
        let expected = |found| {
            format!("my.csv: line 3: expected 4 fields (trader,side,price,quantity), found {found}")
        };
        assert_eq!(refused_line("1,buy,1"), expected(3));
        assert_eq!(refused_line("1,buy,1,1,"), expected(5));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(
            refused(b"trader,side,price,quantity\n1,b\xffy,1,1\n"),
            "my.csv: line 2, column 2: not UTF-8: found `b\u{fffd}y`"
        );
        assert_eq!(
            refused(b"\xff\xfet\0r\0"),
            "my.csv: line 1, column 1: not UTF-8: found `\u{fffd}\u{fffd}t\\u{0}r\\u{0}`"
        );
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them() {
        let place = |text: &str| {
            refused(text)
                .split(',')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(
            place("trader,side,price,quantity\r\n1,buy,1,1\r\n1,bought,1,1\r\n"),
            "my.csv: line 3"
        );
        assert_eq!(
            place("\ntrader,side,price,quantity\n\n\n1,buy,1,1\n\n1,bought,1,1"),
            "my.csv: line 7"
        );
    }

    #[test]
    fn long_and_odd_values_stay_on_one_line() {
        let text = refused_line(&format!("1,\"a\nb{}\",1,1", "x".repeat(1000)));
        assert!(
            text.ends_with(&format!("found `a\\nb{}…`", "x".repeat(37))),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("none.csv");
        let text = read(&file).unwrap_err().to_string();
        assert!(
            text.starts_with(&format!("{}: can't be read: ", file.display())),
            "{text}"
        );
    }
}
