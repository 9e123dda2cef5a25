//! The HTTP client, with the API key that ingest may ask for.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Arg, ArgMatches, value_parser};
use reqwest::ClientBuilder;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

/// Where the key comes from.
pub(crate) fn key_flags() -> [Arg; 2] {
    [
        Arg::new("api-key")
            .long("api-key")
            .env("API_KEY")
            .hide_env_values(true)
            .conflicts_with("api-key-file")
            .help("The API key, where ingest asks for one; others may see it on a command line, so rather in API_KEY"),
        Arg::new("api-key-file")
            .long("api-key-file")
            .env("API_KEY_FILE")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("The file with the API key alone"),
    ]
}

/// How the key is shown to ingest. `Debug` hides it.
///
/// # Errors
/// The file cannot be read, or the key is no text for a header.
pub(crate) fn authorization(matches: &ArgMatches) -> anyhow::Result<Option<HeaderValue>> {
    let key = match (matches.get_one::<String>("api-key"), matches.get_one::<PathBuf>("api-key-file")) {
        (Some(key), _) => key.clone(),
        (None, Some(path)) => {
            std::fs::read_to_string(path).with_context(|| format!("--api-key-file {}", path.display()))?
        }
        (None, None) => return Ok(None),
    };
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", key.trim())).context("--api-key: no text for a header")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A client that shows it with every request.
pub(crate) fn builder(authorization: Option<HeaderValue>) -> ClientBuilder {
    let headers: HeaderMap = authorization.into_iter().map(|value| (AUTHORIZATION, value)).collect();
    reqwest::Client::builder().default_headers(headers)
}
