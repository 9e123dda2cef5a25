//! The closed set of problems: what each is called, its status, and what it says of itself.

use actix_web::http::StatusCode;
use strum::{EnumIter, IntoStaticStr};

/// Why a request was not done. Names are a promise: they are the last part of the type URI and the label `reason` of
/// `rejected_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Kind {
    MalformedJson,
    InvalidId,
    InvalidCondition,
    InvalidQuery,
    BrokenBody,
    Unauthenticated,
    Forbidden,
    CrossOriginRefused,
    UnknownEntity,
    UnknownWrite,
    NotFound,
    NoRoute,
    MethodNotAllowed,
    SlowBody,
    DeadLettered,
    PreconditionFailed,
    BodyTooLarge,
    BulkTooLarge,
    EventTooLarge,
    UnsupportedMediaType,
    UnsupportedEncoding,
    InvalidRecord,
    IdsDiffer,
    IdempotencyKeyReused,
    RateLimited,
    UnreadableRow,
    UnreadableRecord,
    InternalError,
    BodiesFull,
    Busy,
    Stopping,
    Contended,
    Full,
    ClocksDisagree,
    CacheChanged,
    CacheAway,
    CacheIncomplete,
    NoInstanceSlot,
    TopicAway,
    StoresAway,
    DatabaseAway,
    NewerSchema,
    NotThereYet,
    OutcomeUnknown,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }

    /// Its `type`.
    pub(crate) fn uri(self) -> String {
        format!("urn:write-behind:problem:{}", self.as_str())
    }

    /// What every problem of this kind is answered with.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::MalformedJson | Self::InvalidId | Self::InvalidCondition | Self::InvalidQuery | Self::BrokenBody => {
                StatusCode::BAD_REQUEST
            }
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::CrossOriginRefused => StatusCode::FORBIDDEN,
            Self::UnknownEntity | Self::UnknownWrite | Self::NotFound | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::DeadLettered => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::BodyTooLarge | Self::BulkTooLarge | Self::EventTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType | Self::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidRecord | Self::IdsDiffer | Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::UnreadableRow | Self::UnreadableRecord | Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BodiesFull
            | Self::Busy
            | Self::Stopping
            | Self::Contended
            | Self::Full
            | Self::ClocksDisagree
            | Self::CacheChanged
            | Self::CacheAway
            | Self::CacheIncomplete
            | Self::NoInstanceSlot
            | Self::TopicAway
            | Self::StoresAway
            | Self::DatabaseAway
            | Self::NewerSchema
            | Self::NotThereYet => StatusCode::SERVICE_UNAVAILABLE,
            Self::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// A short summary, the same for every problem of this kind (RFC 9457).
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::MalformedJson => "The body is not JSON",
            Self::InvalidId => "The id is not valid",
            Self::InvalidCondition => "A header of the request is not valid",
            Self::InvalidQuery => "The query of the address is not valid",
            Self::BrokenBody => "The body could not be read",
            Self::Unauthenticated => "Who asks is not known",
            Self::Forbidden => "The key does not open this",
            Self::CrossOriginRefused => "Pages of this origin may not ask this",
            Self::UnknownEntity => "Unknown entity",
            Self::UnknownWrite => "Unknown write",
            Self::NotFound | Self::NoRoute => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::SlowBody => "The body did not arrive in time",
            Self::DeadLettered => "The table refused the write",
            Self::PreconditionFailed => "The precondition does not hold",
            Self::BodyTooLarge => "Body too large",
            Self::BulkTooLarge => "Bulk too large",
            Self::EventTooLarge => "The record is too large for the topic",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::UnsupportedEncoding => "Unsupported content encoding",
            Self::InvalidRecord => "The record does not fit its schema",
            Self::IdsDiffer => "Body and path name different ids",
            Self::IdempotencyKeyReused => "The idempotency key belongs to another request",
            Self::RateLimited => "Too many requests of this caller",
            Self::UnreadableRow => "The row cannot be read",
            Self::UnreadableRecord => "The stored record cannot be read",
            Self::InternalError => "A fault of this service",
            Self::BodiesFull => "Too many bodies at once",
            Self::Busy => "Too many requests at once",
            Self::Stopping => "This instance stops",
            Self::Contended => "Others were faster",
            Self::Full => "No room for more writes",
            Self::ClocksDisagree => "Writes are stopped",
            Self::CacheChanged => "The cache has just changed",
            Self::CacheAway | Self::NoInstanceSlot => "The cache is away",
            Self::CacheIncomplete => "The cache is incomplete",
            Self::TopicAway => "The topic is away",
            Self::StoresAway => "More than the cache is away",
            Self::DatabaseAway => "The database is away",
            Self::NewerSchema => "The record is newer than this service",
            Self::NotThereYet => "Not there yet",
            Self::OutcomeUnknown => "No acknowledgement in time",
        }
    }
}
