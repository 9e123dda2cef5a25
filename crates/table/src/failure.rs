//! What can go wrong with a call to the database, decided once and on numbers, never on texts: messages echo values.

use service::FailureClass;
use sqlx::mysql::MySqlDatabaseError;

/// A call to the database that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The server answered an error. Its message stays out of logs, since it may quote a record.
    #[error("the database answered error {number} ({sqlstate})")]
    Refused {
        /// The server's error number.
        number: u16,
        /// The SQL state.
        sqlstate: String,
    },
    /// The connection broke, or none could be made in time.
    #[error("the database is away")]
    Away(#[source] sqlx::Error),
    /// No answer in time; a commit may have happened.
    #[error("no answer from the database in time")]
    Unanswered,
    /// A statement is larger than the server takes (`max_allowed_packet`): fewer rows may pass, one row alone never will.
    #[error("the rows are larger than the database takes in one statement (max_allowed_packet)")]
    TooLarge,
    /// All of our own connections were in use for too long.
    #[error("all connections to the database are in use")]
    Saturated,
    /// The rows in the table are not ours to read: a column is missing or of another type.
    #[error("a row cannot be read: {0}")]
    Unreadable(String),
    /// Something that only a human can mend.
    #[error("{0}")]
    Setup(String),
}

impl TableError {
    /// The class by which callers decide.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Refused { number, .. } => class(*number),
            Self::Away(_) | Self::Unanswered => FailureClass::Transient,
            Self::Saturated => FailureClass::Saturated,
            Self::TooLarge => FailureClass::Poison,
            Self::Unreadable(_) | Self::Setup(_) => FailureClass::Fatal,
        }
    }

    /// Whether every other connection has the same trouble: the server is away, or a primary no longer.
    pub(crate) fn is_of_the_server(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Refused { number: 1290 | 1792 | 1836 | 1053 | 1079, .. })
    }
}

impl From<sqlx::Error> for TableError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => {
                let known = database.try_downcast_ref::<MySqlDatabaseError>();
                match known.map_or(0, MySqlDatabaseError::number) {
                    TOO_LARGE => Self::TooLarge,
                    number => Self::Refused { number, sqlstate: database.code().unwrap_or_default().into_owned() },
                }
            }
            sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                Self::Unreadable(error.to_string())
            }
            sqlx::Error::Configuration(_) => Self::Setup(error.to_string()),
            _ => Self::Away(error),
        }
    }
}

/// The server says so and closes the connection, so that often its answer is not seen.
const TOO_LARGE: u16 = 1153;

/// The error numbers of MySQL and MariaDB. A number that is not listed is tried again: it may pass, and a loop of
/// retries is seen in the metrics, while a wrong "poison" would move good events away.
/// 1526 is a table without a partition for a row: somebody has to make one, and the next rows need it as well.
/// 1644 is a trigger's own refusal (SIGNAL): of this row, as far as anybody can tell; where it refuses all of them, the lane's
/// brake stops.
fn class(number: u16) -> FailureClass {
    match number {
        1040 | 1203 | 1226 | 1129 | 1021 | 1114 | 1037 | 1038 | 1041 | 1206 | 1461 | 1047 | 1290 | 1792 | 1836 => {
            FailureClass::Saturated
        }
        1406 | 1264 | 1366 | 1292 | 1265 | 1048 | 1062 | 1451 | 1452 | 3819 | 4025 | 3140 | 3141 | 3144 | 3150
        | 3151 | 3157 | 1690 | 1300 | 1411 | 1118 | 3854 | 3988 | 1644 => FailureClass::Poison,
        1044 | 1045 | 1142 | 1143 | 1227 | 1049 | 1146 | 1054 | 1064 | 1136 | 1364 | 1526 => FailureClass::Fatal,
        _ => FailureClass::Transient,
    }
}
