//! The HTTP client, with the API key that ingest may ask for and the authority that its certificate may come from.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Arg, ArgMatches, value_parser};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, ClientBuilder, StatusCode};

/// Where key and authority come from.
pub(crate) fn flags() -> [Arg; 3] {
    let path = |name: &'static str, env: &'static str| {
        Arg::new(name).long(name).env(env).value_name("FILE").value_parser(value_parser!(PathBuf))
    };
    [
        Arg::new("api-key")
            .long("api-key")
            .env("API_KEY")
            .hide_env_values(true)
            .conflicts_with("api-key-file")
            .help("The API key, where ingest asks for one; others may see it on a command line, so rather in API_KEY"),
        path("api-key-file", "API_KEY_FILE").help("The file with the API key alone"),
        path("ca", "CA_FILE").help("The authorities of https:// as PEM, where they are not the usual ones"),
    ]
}

/// What it takes to be let in. `Debug` hides the key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    authorization: Option<HeaderValue>,
    authorities: Vec<Certificate>,
}

impl Access {
    /// As the command line says.
    ///
    /// # Errors
    /// A file cannot be read, the key is no text for a header, or the authorities are no PEM.
    pub(crate) fn of(matches: &ArgMatches) -> anyhow::Result<Self> {
        let key = match (matches.get_one::<String>("api-key"), matches.get_one::<PathBuf>("api-key-file")) {
            (Some(key), _) => Some(key.clone()),
            (None, Some(path)) => {
                Some(std::fs::read_to_string(path).with_context(|| format!("--api-key-file {}", path.display()))?)
            }
            (None, None) => None,
        };
        let authorities = match matches.get_one::<PathBuf>("ca") {
            Some(path) => authorities(path).with_context(|| format!("--ca {}", path.display()))?,
            None => Vec::new(),
        };
        Ok(Self { authorization: key.map(|key| bearer(&key)).transpose()?, authorities })
    }

    /// A client that shows the key with every request, and trusts those authorities, too.
    pub(crate) fn client(&self) -> ClientBuilder {
        let headers: HeaderMap = self.authorization.iter().map(|value| (AUTHORIZATION, value.clone())).collect();
        let client = reqwest::Client::builder().default_headers(headers);
        self.authorities.iter().cloned().fold(client, ClientBuilder::add_root_certificate)
    }
}

/// What is to be done about an answer that is about the key.
pub(crate) fn remedy(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => " (--api-key-file FILE, or API_KEY; `ingest api-key` makes a key)",
        _ => "",
    }
}

fn bearer(key: &str) -> anyhow::Result<HeaderValue> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", key.trim())).context("--api-key: no text for a header")?;
    value.set_sensitive(true);
    Ok(value)
}

fn authorities(path: &PathBuf) -> anyhow::Result<Vec<Certificate>> {
    let authorities = Certificate::from_pem_bundle(&std::fs::read(path)?)?;
    anyhow::ensure!(!authorities.is_empty(), "it holds no certificate in PEM form");
    Ok(authorities)
}
