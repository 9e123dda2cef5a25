//! The files of a TLS connection, read and looked at before anything connects: a driver would only fail at its first
//! connection, and say less.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The settings that name them, each with its flag.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// The authorities that a server's certificate must come from.
    pub authority: (&'static str, Option<&'a PathBuf>),
    /// Our own certificate.
    pub certificate: (&'static str, Option<&'a PathBuf>),
    /// Its key.
    pub key: (&'static str, Option<&'a PathBuf>),
}

/// What stands in the files, in PEM form.
#[derive(Clone, Default)]
pub struct Material {
    /// The authorities.
    pub authority: Option<Vec<u8>>,
    /// Our own certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive()
    }
}

impl Files<'_> {
    /// The flag of one that is given, if any is.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        let all = [self.authority, self.certificate, self.key];
        all.into_iter().find_map(|(flag, path)| path.map(|_| flag))
    }

    /// Reads them.
    ///
    /// # Errors
    /// Everything that is wrong with them, each naming its flag.
    pub fn read(&self) -> Result<Material, Vec<String>> {
        let mut faults = Vec::new();
        let authority = one(self.authority, authorities, &mut faults);
        let certificate = one(self.certificate, certificates, &mut faults);
        let key = one(self.key, key, &mut faults);
        for ((flag, given), (other, absent)) in [(self.certificate, self.key), (self.key, self.certificate)] {
            if given.is_some() && absent.is_none() {
                faults.push(format!("{flag} is given without {other}: give both or none"));
            }
        }
        if faults.is_empty() { Ok(Material { authority, identity: certificate.zip(key) }) } else { Err(faults) }
    }
}

fn one(
    (flag, path): (&str, Option<&PathBuf>),
    check: fn(&[u8]) -> Result<(), &'static str>,
    faults: &mut Vec<String>,
) -> Option<Vec<u8>> {
    let path: &Path = path?;
    match std::fs::read(path) {
        Ok(text) => match check(&text) {
            Ok(()) => return Some(text),
            Err(reason) => faults.push(format!("{flag}: {} {reason}", path.display())),
        },
        Err(error) => faults.push(format!("{flag}: cannot read {}: {error}", path.display())),
    }
    None
}

fn certificates(pem: &[u8]) -> Result<(), &'static str> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    if all.is_ok_and(|all| !all.is_empty()) { Ok(()) } else { Err("holds no certificate in PEM form") }
}

fn authorities(pem: &[u8]) -> Result<(), &'static str> {
    certificates(pem)?;
    let mut store = RootCertStore::empty();
    let taken = CertificateDer::pem_slice_iter(pem).flatten().all(|certificate| store.add(certificate).is_ok());
    if taken { Ok(()) } else { Err("holds a certificate that cannot be read") }
}

fn key(pem: &[u8]) -> Result<(), &'static str> {
    PrivateKeyDer::from_pem_slice(pem).map(|_| ()).map_err(|_| "holds no private key in PEM form")
}
