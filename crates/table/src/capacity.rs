//! What a column can hold, and whether that is enough: what `migrate` may change, and what it must refuse. Pure.

/// What a column holds, read from a type as we write it or as the server says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capacity {
    /// Signed, so many bytes.
    Integer(u8),
    Unsigned(u8),
    Float,
    Double,
    /// So many characters; trailing blanks are lost.
    Char(u64),
    /// So many characters.
    Text(u64),
    /// Exactly so many bytes.
    Fixed(u64),
    /// At most so many bytes.
    Bytes(u64),
    Decimal(u64, u64),
    Date,
    /// So many fractional digits.
    Time(u64),
    DateTime(u64),
    Json,
    Other,
}

/// What is to be done about a column that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds whatever its field may have.
    Enough,
    /// It must hold more; every value in it stays what it is, or becomes what Avro's own promotion makes of it.
    Widen,
    /// What stands in it means something else.
    Foreign,
}

/// Compares the type of a column that was found with the one that its field needs.
pub(crate) fn compare(found: &str, wanted: &str) -> Verdict {
    use Capacity::{Bytes, Char, Date, DateTime, Decimal, Double, Fixed, Float, Integer, Json, Text, Time, Unsigned};
    let enough = |is: bool| if is { Verdict::Enough } else { Verdict::Widen };
    match (parse(found), parse(wanted)) {
        (Integer(has), Integer(needs)) | (Unsigned(has), Unsigned(needs)) => enough(has >= needs),
        (Integer(_), Float | Double) | (Float, Double) => Verdict::Widen,
        (Float | Double, Float) | (Double, Double) | (Date, Date) => Verdict::Enough,
        (Char(has) | Text(has), Char(needs)) | (Text(has), Text(needs)) => enough(has >= needs),
        (Char(_), Text(_)) => Verdict::Widen,
        (Bytes(has), Bytes(needs) | Fixed(needs)) => enough(has >= needs),
        (Fixed(has), Fixed(needs)) if has == needs => Verdict::Enough,
        (Decimal(has, scale), Decimal(needs, wanted)) if scale == wanted => enough(has >= needs),
        (Time(has), Time(needs)) | (DateTime(has), DateTime(needs)) => enough(has >= needs),
        // MariaDB's JSON is a longtext.
        (Json, Json) | (Text(LONG_TEXT), Json) => Verdict::Enough,
        _ => Verdict::Foreign,
    }
}

const LONG_TEXT: u64 = u32::MAX as u64 / 4;

/// `varchar(20) character set ascii null`, `int(11)`, `decimal(10,2)`, …
fn parse(text: &str) -> Capacity {
    let text = text.to_ascii_lowercase();
    let name: &str = text.split(['(', ' ']).next().unwrap_or_default();
    let inside = text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inside, _)| inside);
    let mut numbers = inside.split(',').map(|number| number.trim().parse().unwrap_or(0));
    let (first, second): (u64, u64) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let integer = |bytes| if text.contains("unsigned") { Capacity::Unsigned(bytes) } else { Capacity::Integer(bytes) };
    match name {
        "boolean" | "tinyint" => integer(1),
        "smallint" => integer(2),
        "mediumint" => integer(3),
        "int" => integer(4),
        "bigint" => integer(8),
        "float" if inside.is_empty() => Capacity::Float,
        "double" if inside.is_empty() => Capacity::Double,
        "char" => Capacity::Char(first),
        "varchar" => Capacity::Text(first),
        // A character takes up to four bytes.
        "tinytext" => Capacity::Text(255 / 4),
        "text" => Capacity::Text(65_535 / 4),
        "mediumtext" => Capacity::Text(16_777_215 / 4),
        "longtext" => Capacity::Text(LONG_TEXT),
        "binary" => Capacity::Fixed(first),
        "varbinary" => Capacity::Bytes(first),
        "tinyblob" => Capacity::Bytes(255),
        "blob" => Capacity::Bytes(65_535),
        "mediumblob" => Capacity::Bytes(16_777_215),
        "longblob" => Capacity::Bytes(u64::from(u32::MAX)),
        "decimal" => Capacity::Decimal(first, second),
        "date" => Capacity::Date,
        "time" => Capacity::Time(first),
        "datetime" => Capacity::DateTime(first),
        "json" => Capacity::Json,
        _ => Capacity::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_grows_with_its_field_and_never_shrinks() {
        for (less, more) in [
            ("varchar(10)", "VARCHAR(20) CHARACTER SET utf8mb4 NULL"),
            ("varchar(10)", "MEDIUMTEXT NULL"),
            ("text", "MEDIUMTEXT NULL"),
            ("varbinary(10)", "MEDIUMBLOB NULL"),
            ("datetime", "DATETIME(6) NULL"),
            ("time(3)", "TIME(6) NULL"),
            ("decimal(10,2)", "DECIMAL(12,2) NULL"),
            ("int(11)", "BIGINT NULL"),
            ("int", "FLOAT NULL"),
            ("bigint(20)", "DOUBLE NULL"),
            ("float", "DOUBLE NULL"),
        ] {
            assert_eq!(compare(less, more), Verdict::Widen, "{less} for {more}");
            assert_ne!(compare(more, less), Verdict::Widen, "{more} would shrink to {less}");
        }
    }

    #[test]
    fn a_type_is_the_same_as_the_server_says_it() {
        for (found, wanted) in [
            ("tinyint(1)", "BOOLEAN NOT NULL DEFAULT FALSE"),
            ("int(11)", "INT NULL"),
            ("bigint(20) unsigned", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
            ("bigint unsigned", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
            ("longtext", "JSON NULL"),
            ("json", "JSON NULL"),
            ("decimal(65,30)", "DECIMAL(65,30) NULL"),
            ("char(36)", "CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL"),
            ("binary(16)", "BINARY(16) NULL"),
            ("datetime(3)", "DATETIME(3) NULL"),
        ] {
            assert_eq!(compare(found, wanted), Verdict::Enough, "{found} for {wanted}");
        }
    }

    #[test]
    fn what_means_something_else_is_foreign() {
        for (found, wanted) in [
            ("varchar(20)", "JSON NULL"),
            ("int(11)", "JSON NULL"),
            ("int(11)", "VARCHAR(20) NULL"),
            ("varchar(20)", "INT NULL"),
            ("int(10) unsigned", "INT NULL"),
            ("double", "BIGINT NULL"),
            ("decimal(10,3)", "DECIMAL(10,2) NULL"),
            ("binary(16)", "BINARY(12) NULL"),
            ("binary(16)", "MEDIUMBLOB NULL"),
            ("timestamp", "DATETIME(6) NULL"),
            ("float(7,4)", "FLOAT NULL"),
            ("enum('a','b')", "VARCHAR(255) NULL"),
        ] {
            assert_eq!(compare(found, wanted), Verdict::Foreign, "{found} for {wanted}");
        }
    }
}
