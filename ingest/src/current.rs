//! What a patch is merged into (PROTOCOL R9): the newest content of a record, known to be the newest, or a refusal. Whether it
//! still is the newest when the merge is written, the write's own precondition tells.

use cache::Cached;
use record::RecordId;
use service::FailureClass;
use table::EntityTable;

use crate::intent::Refusal;
use crate::read::{self, Brought, ReadError};
use crate::write::WritePath;

impl WritePath {
    /// The record in the cache, else its row, which goes there (R12): only what is there can be compared with. `None`: there is none.
    ///
    /// # Cancellation
    /// Harmless.
    pub(crate) async fn current(&self, table: &EntityTable, id: &RecordId) -> Result<Option<Cached>, Refusal> {
        match self.bring(table, id).await? {
            Brought::Here(cached) => Ok(Some(cached)),
            Brought::Nowhere(Some(_)) => Ok(None),
            Brought::Nowhere(None) | Brought::Unleased(_) => Err(Refusal::Incomplete),
        }
    }

    /// R12, for a precondition: the row into the cache; or the lease under which there is none, with which the script
    /// believes that the record is nowhere for as long as no write and no settle has taken it away.
    pub(crate) async fn bring(&self, table: &EntityTable, id: &RecordId) -> Result<Brought, Refusal> {
        match read::bring(&self.cache, table, id).await {
            Ok(Brought::Unleased(FailureClass::Saturated)) => Err(Refusal::Full),
            Ok(Brought::Unleased(_)) | Err(ReadError::Cache(_)) => Err(Refusal::CacheAway),
            Ok(brought) => Ok(brought),
            Err(error) => {
                tracing::debug!(%error, "a precondition's row");
                Err(Refusal::RowUnknown)
            }
        }
    }
}
