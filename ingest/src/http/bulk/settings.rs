//! The bounds of many records in one request.

use service::settings::Findings;

/// The settings of bulk writes and of reads of many records.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Bulk")]
pub struct BulkSettings {
    /// Most bulk requests at one time; past it 503.
    #[arg(long, env = "BULKS_MOST", default_value = "16")]
    pub bulks_most: usize,

    /// Most lines of one bulk that are being written at one time; the next ones wait.
    #[arg(long, env = "BULK_LINES_MOST", default_value = "256")]
    pub bulk_lines_most: usize,

    /// Most bytes of all lines of one bulk together, inflated; the line that passes it is answered 413, and none behind it is read.
    #[arg(long, env = "BULK_BYTES_MOST", default_value = "1073741824")]
    pub bulk_bytes_most: u64,

    /// Most ids of one read of many records, `GET /{entity}?ids=`; past it 400.
    #[arg(long, env = "IDS_MOST", default_value = "100")]
    pub ids_most: usize,
}

impl BulkSettings {
    /// What is wrong, each naming its flag.
    #[must_use]
    pub fn findings(&self, body_bytes_most: usize) -> Findings {
        let mut found = Findings::default();
        found.at_least_one([
            ("--bulks-most", self.bulks_most),
            ("--bulk-lines-most", self.bulk_lines_most),
            ("--ids-most", self.ids_most),
        ]);
        found.demand(self.bulk_bytes_most > body_bytes_most as u64, || {
            "--bulk-bytes-most must be more than --body-bytes-most: the longest line would never fit".to_owned()
        });
        found
    }

    /// Lines that are being written at one time, of all bulks.
    #[must_use]
    pub fn lines_at_once(&self) -> usize {
        self.bulks_most.saturating_mul(self.bulk_lines_most)
    }
}
